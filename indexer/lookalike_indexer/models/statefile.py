"""Reader of a state dict from a file, and its fit to a network."""

from __future__ import annotations

import argparse
import hashlib
import pickle  # nosec B403
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from lookalike_indexer.errors import WeightsError
from lookalike_indexer.models import open_clip_models
from lookalike_indexer.models.architecture import build, head_weight, image_size_of

State = dict[str, torch.Tensor]
# Early DenseNet checkpoints have dots inside of module names.
_DENSE = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..+)")
_AUXILIARY = re.compile(r"(aux\d|AuxLogits)\.")
# Counters that are used only in training: of batch norms, and of averaged weights.
_COUNTERS = re.compile(r"(^|\.)(num_batches_tracked|n_averaged)$")
# Keys under which training scripts save a state dict beside other data.
_WRAPPERS = ("state_dict", "model", "model_state_dict")
# Name prefixes of DataParallel, Lightning and other wrappers, torch.compile and self-supervised training.
_PREFIXES = ("module.", "model.", "_orig_mod.", "backbone.", "net.")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file. Raise WeightsError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"The weights file {path} cannot be read: {error.strerror}.") from error


def read_state(path: Path) -> State:
    """Return the tensors of a state dict in a file of torch.save or of safetensors, loaded without running any code of
    it.

    A dict that holds the state dict under one of `_WRAPPERS` is unpacked. Prefixes such as "module.", which wrappers of
    networks add to the names, are removed. Raise WeightsError if the file cannot be read, or holds no state dict.
    """
    loaded = _safetensors(path) if _is_safetensors(path) else _torch(path)
    wrapper = next((name for name in _WRAPPERS if _holds_mapping(loaded, name)), None)
    while wrapper is not None:
        loaded = loaded[wrapper]
        wrapper = next((name for name in _WRAPPERS if _holds_mapping(loaded, name)), None)
    if (
        not isinstance(loaded, Mapping)
        or not loaded
        or not all(isinstance(value, torch.Tensor) for value in loaded.values())
    ):
        raise WeightsError(
            f"The weights file {path} has no state dict, which maps names to tensors; save model.state_dict()."
        )
    state = {str(name): value for name, value in loaded.items() if not _COUNTERS.search(str(name))}
    return {_name(name): value for name, value in _without_prefix(state).items()}


def _torch(path: Path) -> Any:
    try:
        # Training scripts, including torchvision's, save their arguments beside the state dict. A Namespace is plain
        # data: its constructor runs no code of the file.
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # about the file's age
            return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"The weights file {path} is not a plain state dict that torch.save wrote (weights_only=True refused it); "
            "save it again with torch.save(model.state_dict(), FILE), or as safetensors."
        ) from error


def _is_safetensors(path: Path) -> bool:
    """Return whether a file is safetensors, by its name or by its first bytes: the header's length, then JSON."""
    if path.suffix.lower() == ".safetensors":
        return True
    try:
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError as error:
        raise WeightsError(f"The weights file {path} cannot be read: {error.strerror}.") from error


def _safetensors(path: Path) -> State:
    try:
        return safetensors.torch.load_file(path)
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise WeightsError(
            f"The weights file {path} is not a readable safetensors file ({error}); get the file again."
        ) from error


def _holds_mapping(loaded: Any, name: str) -> bool:
    return isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping)


def _without_prefix(state: State) -> State:
    """Return the state without the prefixes that most of its names have.

    A name without the prefix stays unchanged: it does not belong to the network, and the error message must show it.
    """
    while True:
        for prefix in _PREFIXES:
            shared = sum(name.startswith(prefix) for name in state)
            shorter = {name.removeprefix(prefix): value for name, value in state.items()}
            if 2 * shared > len(state) and len(shorter) == len(state):
                state = shorter
                break
        else:
            return state


def fitted(arch: str, state: State, source: str) -> tuple[torch.nn.Module, int]:
    """Return a network with these weights, and its number of classes, from the shape of the head's weight.

    A state without the classifier's last layer gives 0 classes: the network embeds, and its head, with one class and
    all zeros, is meaningless. WeightsError, with some of the keys: the state does not belong to this network.
    """
    if open_clip_models.is_open_clip(arch):
        with torch.random.fork_rng(devices=[]):
            tower = open_clip_models.build(arch)
        _load(tower, open_clip_models.converted(tower, state), arch, source)
        return tower, 0
    state = {name: value for name, value in state.items() if not _AUXILIARY.match(name)}
    size = image_size_of(arch, state)
    with torch.random.fork_rng(devices=[]):
        # The random initialization is completely overwritten; it must only leave the caller's generator alone.
        module = build(arch, 1000, transform_input=True, image_size=size)
        head = state.get(head_weight(module))
        headless = not any(name.startswith(_layer(head_weight(module))) for name in state)
        classes = 1 if headless else int(head.shape[0]) if head is not None and head.ndim >= 2 else 1000
        if classes != 1000:
            module = build(arch, classes, transform_input=True, image_size=size)
    wanted = module.state_dict()
    if headless:
        inside = _layer(head_weight(module))
        state |= {name: torch.zeros_like(value) for name, value in wanted.items() if name.startswith(inside)}
    _load(module, state, arch, source)
    return module, 0 if headless else int(wanted[head_weight(module)].shape[0])


def _load(module: torch.nn.Module, state: State, arch: str, source: str) -> None:
    """Load weights into a network; WeightsError, with some of the tensors: they do not belong to this network."""
    wanted = module.state_dict()
    # Old files lack these counters, which are used only in training.
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in wanted]
    differing = [name for name in wanted if name in state and wanted[name].shape != state[name].shape]
    if missing or unexpected or differing:
        counts = [
            f"{len(names)} {what} (such as {names[0]})"
            for names, what in ((missing, "missing"), (unexpected, "unexpected"), (differing, "of another shape"))
            if names
        ]
        raise WeightsError(
            f"{source} does not fit the model {arch}; its tensors are: {', '.join(counts)}. "
            "Give the --model that it was trained as."
        )
    module.load_state_dict(state, strict=False)
    if not all(bool(torch.isfinite(value).all()) for value in module.state_dict().values()):
        raise WeightsError(f"{source} has weights that are not finite numbers; get the file again.")


def _layer(weight: str) -> str:
    """Return the common prefix of all tensor names of the layer that has this weight."""
    return weight.rpartition(".")[0] + "."


def _name(name: str) -> str:
    match = _DENSE.fullmatch(name)
    return match[1] + match[2] if match else name
