"""Kinds of fault: how one of each is drawn, and injected in a child."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.operations import CHANGES, Fault, Operations

ERRORS = {
    # Errors of failing operations, as the system may report them.
    "write": (errno.ENOSPC, errno.EIO),
    "create": (errno.ENOSPC, errno.EMFILE),
    "fsync": (errno.EIO, errno.ENOSPC),
    "replace": (errno.EIO, errno.ENOSPC),
    "link": (errno.EIO, errno.EPERM),
    "mkdir": (errno.ENOSPC,),
    "unlink": (errno.EIO, errno.EROFS),
    "rmdir": (errno.EIO,),
    "read": (errno.EIO,),
    "scandir": (errno.EIO,),
}
KILLS = ("kill at an operation", "kill at a moment")
REAL = ("a limit on file sizes", "a disk that is full", "a full temporary folder")
KINDS = (*KILLS, *(f"{operation} fails" for operation in ERRORS), "everything fails from then on", *REAL)
NEEDS_ROOT = ("a disk that is full", "a full temporary folder")


@dataclass(frozen=True)
class Usual:
    """An undisturbed run: its operations in order, its duration, and the sizes of its files."""

    operations: list[str]
    seconds: float
    sizes: list[int]


@dataclass(frozen=True)
class Injected:
    """One fault; `where` describes it in words."""

    kind: str
    where: str
    fault: Fault | None = None
    kill_after: float | None = None
    largest_file: int | None = None
    disk: int | None = None
    full_temporary: bool = False


def draw(kind: str, usual: Usual, random: random.Random) -> Injected | None:
    """Draw a fault of a kind in a run like the usual one; None if it cannot happen in such a run."""
    if kind == "kill at an operation":
        at, after = random.randrange(len(usual.operations)), random.random() < 0.5
        moment = "after" if after else "before"
        return Injected(kind, f"{moment} operation {at}, {usual.operations[at]}", Fault(at, after=after))
    if kind == "kill at a moment":
        moment = random.random() * usual.seconds
        return Injected(kind, f"after {moment:.3f} s", kill_after=moment)
    if kind == "a limit on file sizes":
        limit = random.randrange(max([2, *usual.sizes]) - 1) + 1
        return Injected(kind, f"{limit} bytes", largest_file=limit)
    if kind == "a disk that is full":
        room = random.randrange(1, max(2, sum(usual.sizes)))
        return Injected(kind, f"after {room} bytes", disk=room)
    if kind == "a full temporary folder":
        return Injected(kind, "all the time", full_temporary=True)
    if kind == "everything fails from then on":
        at = random.choice([at for at, name in enumerate(usual.operations) if name in CHANGES])
        number = random.choice((errno.ENOSPC, errno.EIO, errno.EROFS))
        return Injected(
            kind, f"operation {at}, {usual.operations[at]}, {errno.errorcode[number]}", Fault(at, number, lasting=True)
        )
    operation = kind.removesuffix(" fails")
    places = [at for at, name in enumerate(usual.operations) if name == operation]
    if not places:
        return None
    at, number = random.choice(places), random.choice(ERRORS[operation])
    return Injected(kind, f"operation {at}, {errno.errorcode[number]}", Fault(at, number))


def bring_about(injected: Injected, root: Path, temporary: Path, seed: int) -> Operations:
    """Inject the fault in the child before it runs its command."""
    operations = Operations(root, injected.fault, seed)
    operations.install()
    if injected.largest_file is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (injected.largest_file, injected.largest_file))
    if injected.full_temporary:
        os.environ["TMPDIR"] = str(temporary)
        tempfile.tempdir = None
    return operations


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Mount a disk with a number of bytes on an empty folder while the block runs. Needs root."""
    folder.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def enlarge(folder: Path) -> None:
    """Make room on a small disk."""
    _mount("-o", "remount,size=64m", str(folder))


def may_mount(scratch: Path) -> bool:
    """Return True if this process may mount disks."""
    try:
        with small_disk(scratch, 1 << 16):
            return True
    except (subprocess.CalledProcessError, FileNotFoundError):
        return False


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
