"""Reading a state dict from a file, and fitting it to a network."""

from __future__ import annotations

import hashlib
import pickle  # nosec B403
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from lookalike_indexer.errors import WeightsError
from lookalike_indexer.models.architecture import build, head_weight

State = dict[str, torch.Tensor]
# Early DenseNet checkpoints have dots inside of module names.
_DENSE = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..+)")
_AUXILIARY = re.compile(r"(aux\d|AuxLogits)\.")


def digest(path: Path) -> str:
    """The SHA-256 of a file; WeightsError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"The weights file {path} cannot be read: {error.strerror}.") from error


def read_state(path: Path) -> State:
    """The tensors of a state dict that torch.save wrote, loaded without running any code of the file.

    A dict that holds it under "state_dict" or "model" is unpacked, and the
    prefix "module." of data-parallel training removed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the file's age
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"The weights file {path} is not a plain state dict that torch.save wrote (weights_only=True refused it)."
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise WeightsError(f"The weights file {path} holds no state dict: a mapping from names to tensors.")
    return {_name(str(name)): value for name, value in loaded.items()}


def fitted(arch: str, state: State, source: str) -> tuple[torch.nn.Module, int]:
    """A network with these weights, and its number of classes, which the head's weight tells.

    WeightsError, naming some of the keys, when the state is not one of this network.
    """
    state = {name: value for name, value in state.items() if not _AUXILIARY.match(name)}
    with torch.random.fork_rng(devices=[]):
        # The random start is overwritten whole; it must only not disturb the caller's generator.
        module = build(arch, 1000, transform_input=True)
        head = state.get(head_weight(module))
        if head is not None and head.ndim >= 2 and head.shape[0] != 1000:
            module = build(arch, int(head.shape[0]), transform_input=True)
    wanted = module.state_dict()
    # Old files lack these counters, which only training reads.
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
            f"{source} does not fit the model {arch}, its tensors are: {', '.join(counts)}; "
            "name the --model that it was trained as."
        )
    module.load_state_dict(state, strict=False)
    if not all(bool(torch.isfinite(value).all()) for value in module.state_dict().values()):
        raise WeightsError(f"{source} has weights that are not finite numbers; get the file again.")
    return module, int(wanted[head_weight(module)].shape[0])


def _name(name: str) -> str:
    name = name.removeprefix("module.")
    match = _DENSE.fullmatch(name)
    return match[1] + match[2] if match else name
