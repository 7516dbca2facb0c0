"""Properties of the CPU, as reported by Linux."""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def vendor(cpuinfo: Path = CPUINFO) -> str:
    """Return the vendor of the CPU, such as GenuineIntel; "" if the system does not report it."""
    return next(iter(_values("vendor_id", cpuinfo)), "")


def flags(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """Return the feature flags of the CPU; none if the system does not report them."""
    return frozenset(flag for listed in _values("flags", cpuinfo) for flag in listed.split())


def _values(name: str, cpuinfo: Path) -> list[str]:
    """Return each CPU's value of a field."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return []
    lines = (line.partition(":") for line in text.splitlines())
    return [value.strip() for said, _, value in lines if said.strip() == name]
