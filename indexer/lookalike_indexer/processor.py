"""What the processor can do, as Linux tells."""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def vendor(cpuinfo: Path = CPUINFO) -> str:
    """Who made the processor, such as GenuineIntel; "" where the system does not tell."""
    return next(iter(_values("vendor_id", cpuinfo)), "")


def flags(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """The features that the processor names; none where the system does not tell."""
    return frozenset(flag for listed in _values("flags", cpuinfo) for flag in listed.split())


def _values(name: str, cpuinfo: Path) -> list[str]:
    """What each processor says under a name."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return []
    lines = (line.partition(":") for line in text.splitlines())
    return [value.strip() for said, _, value in lines if said.strip() == name]
