"""Train a ResNet-18 from scratch on a folder of classes and write its checkpoints, as in docs/experiments.md.

    python scripts/training_checkpoints.py things checkpoints

`things` has a folder of images for each class. After 0, 3, 10, 25 and 60 steps the state dict is written as
`checkpoints/stepN.pth`, for `lookalike evolution --checkpoints 'checkpoints/step*.pth'`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image

SIDE = 96
BATCH = 32
RATE = 0.002
STEPS = (0, 3, 10, 25, 60)


def photographs(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Load all images of a folder of classes, (n, 3, SIDE, SIDE), and the number of each image's class, (n,)."""
    files = [(number, file) for number, each in enumerate(sorted(folder.iterdir())) for file in sorted(each.iterdir())]
    pixels = [np.asarray(Image.open(file).convert("RGB").resize((SIDE, SIDE)), np.float32) for _, file in files]
    scaled = (np.stack(pixels).transpose(0, 3, 1, 2) / 255 - 0.45) / 0.225
    return torch.from_numpy(scaled), torch.tensor([number for number, _ in files])


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a ResNet-18 and write its checkpoints.")
    parser.add_argument("photographs", type=Path, help="a folder with a folder for each class")
    parser.add_argument("out", type=Path, help="the folder for the checkpoints")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    images, classes = photographs(options.photographs)
    network = torchvision.models.resnet18(weights=None)
    optimizer = torch.optim.AdamW(network.parameters(), RATE)
    drawn = torch.Generator().manual_seed(0)
    network.train()
    for step in range(STEPS[-1] + 1):
        if step in STEPS:
            torch.save(network.state_dict(), options.out / f"step{step}.pth")
        rows = torch.randperm(len(images), generator=drawn)[:BATCH]
        loss = torch.nn.functional.cross_entropy(network(images[rows]), classes[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"Wrote step{', step'.join(map(str, STEPS))} into {options.out}")


if __name__ == "__main__":
    main()
