"""Checks of a cluster machine's software and folders, with sentences for failures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

from lookalike_indexer.errors import IndexerError, MismatchError, NotFoundError

# Packages whose releases affect the bytes that a worker writes.
_DECISIVE = ("lookalike", "torch", "faiss", "numpy", "pyarrow", "pillow")
_DISTRIBUTIONS = {"faiss": ("faiss-gpu", "faiss-cpu")}


def probing(folders: Sequence[str]) -> Callable[[], dict[str, Any]]:
    """Return a function that describes the machine where it runs; `folders` are paths that must exist.

    Ray sends it by value: the machine may lack lookalike.
    """
    packages, distributions = _DECISIVE, _DISTRIBUTIONS

    def probe() -> dict[str, Any]:
        import importlib.util
        import os
        from importlib import metadata

        found: dict[str, str] = {}
        for package in packages:
            for name in distributions.get(package, (package,)):
                try:
                    found[package] = metadata.version(name)
                    break
                except metadata.PackageNotFoundError:
                    continue
        return {
            "versions": found,
            "lookalike": importlib.util.find_spec("lookalike_indexer") is not None,
            "missing": [folder for folder in folders if not os.path.exists(folder)],  # noqa: PTH110
            "processors": len(os.sched_getaffinity(0)),
        }

    return probe


def own_versions() -> dict[str, str]:
    """Return the releases of this process, in the form that `probing` returns for a machine."""
    found: dict[str, str] = {}
    for package in _DECISIVE:
        for name in _DISTRIBUTIONS.get(package, (package,)):
            try:
                found[package] = metadata.version(name)
                break
            except metadata.PackageNotFoundError:
                continue
    return found


def checked(machine: str, found: Mapping[str, Any], here: Mapping[str, str]) -> None:
    """Check a machine.

    Raise IndexerError if it lacks Lookalike or torch. Raise MismatchError if it has another release. Raise
    NotFoundError if it does not see a folder.
    """
    lacking = [name for name in here if name not in found["versions"]]
    if not found["lookalike"] and "lookalike" not in lacking:
        lacking.append("lookalike")
    if lacking:
        raise IndexerError(
            f"The machine {machine} of the Ray cluster lacks {' and '.join(lacking)}; install the same packages "
            f"there: pip install 'lookalike[indexer,ray]=={here.get('lookalike', '')}'."
        )
    other = [
        f"{name} {found['versions'][name]} instead of {version}"
        for name, version in here.items()
        if found["versions"][name] != version
    ]
    if other:
        raise MismatchError(
            f"The machine {machine} of the Ray cluster has {', '.join(other)}, so its embeddings could differ; install "
            "the same releases on every machine."
        )
    if found["missing"]:
        raise NotFoundError(
            f"The machine {machine} of the Ray cluster does not see {', '.join(found['missing'])}; put images and "
            "collection into a folder that all machines share, or on an object store."
        )
