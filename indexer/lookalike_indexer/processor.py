"""What the processor can do, as Linux tells."""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def flags(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """The features that the processor names; none where the system does not tell."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return frozenset()
    lines = (line.partition(":") for line in text.splitlines() if line.startswith("flags"))
    return frozenset(flag for _, _, listed in lines for flag in listed.split())
