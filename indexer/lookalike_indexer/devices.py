"""Selection of GPUs for a command."""

from __future__ import annotations

from lookalike_indexer.errors import DeviceError, UsageError


def parse_gpus(text: str, there: int) -> list[int]:
    """Return the GPU numbers in `--gpus`: "all", or numbers separated by commas; "" for none.

    `there` is the number of GPUs that the library that uses them can see. Raise UsageError for any other text. Raise
    DeviceError for a GPU that does not exist.
    """
    text = text.strip()
    if not text:
        return []
    if text == "all":
        if there == 0:
            raise DeviceError(
                "--gpus all: no GPU was found here; `lookalike doctor` says why. Leave --gpus out to use the CPU."
            )
        return list(range(there))
    try:
        wanted = [int(number) for number in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--gpus {text!r} is neither 'all' nor GPU numbers separated by commas, like 0,1.") from error
    if len(set(wanted)) != len(wanted) or min(wanted) < 0:
        raise UsageError(f"--gpus {text!r} must name each GPU once, from 0 up.")
    missing = [number for number in wanted if number >= there]
    if missing:
        found = {0: "no GPU was found here", 1: "only GPU 0 is there"}.get(there, f"there are GPUs 0 to {there - 1}")
        raise DeviceError(f"--gpus {text}: {found}; `lookalike doctor` tells more.")
    return wanted
