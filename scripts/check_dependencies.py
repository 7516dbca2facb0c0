"""Check the pinned releases for known vulnerabilities with pip-audit, and report what could not be checked.

pip-audit queries a service for every pinned package by name, so this is not part of `make lint`:
run `make audit` where such queries are allowed. It takes a minute at most.

Exit code 1: a release has a vulnerability that a later release fixes. Exit code 0: none
has, or some or all were not checked; the last line says which.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SECONDS = 60
ROOT = Path(__file__).resolve().parent.parent
# The file has hashes for everything, so nothing is installed or resolved.
COMMAND = [
    "-m", "pip_audit", "--requirement", "requirements.txt", "--disable-pip", "--require-hashes", "--timeout", "15",
    "--progress-spinner", "off", "--format", "json",
]  # fmt: skip


def main() -> int:
    status, lines = asked([sys.executable, *COMMAND], SECONDS)
    print("\n".join(lines))
    return status


def asked(command: list[str], seconds: float) -> tuple[int, list[str]]:
    """Run pip-audit with a timeout; return the exit code and the lines to print."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        return 0, [f"pip-audit: NOT CHECKED, it had no answer within {seconds:g} s."]
    return verdict(done.stdout, done.stderr)


def verdict(report: str, complaints: str) -> tuple[int, list[str]]:
    """Return the exit code and the lines to print for pip-audit's JSON report and its error output.

    pip-audit's own exit code and summary are not reliable: it reports that nothing was found,
    and exits with 0, even if it could look up nothing.
    """
    try:
        dependencies = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = (complaints.strip().splitlines() or ["it gave no reason"])[-1][:200]
        return 0, [f"pip-audit: NOT CHECKED, no database of weaknesses could be asked ({reason})."]
    checked = [one for one in dependencies if "vulns" in one]
    if not checked:
        return 0, [f"pip-audit: NOT CHECKED, none of {len(dependencies)} pinned releases could be looked up."]
    weak = [one for one in checked if one["vulns"]]
    mended = [one for one in weak if any(found.get("fix_versions") for found in one["vulns"])]
    left = [one["name"] for one in dependencies if "vulns" not in one]
    last = f"pip-audit: {len(weak) or 'none'} of {len(checked)} pinned releases known to be weak"
    if weak:
        last += f", {len(mended) or 'none'} of them mended by a later one"
    if left:
        last += f"; NOT CHECKED: {', '.join(left)}"
    return int(bool(mended)), [*map(_named, weak), f"{last}."]


def _named(weak: dict[str, Any]) -> str:
    """Format a vulnerable release, with the releases that fix each vulnerability."""
    found = [
        f"{one['id']} (mended in {', '.join(one['fix_versions'])})"
        if one.get("fix_versions")
        else f"{one['id']} (not mended)"
        for one in weak["vulns"]
    ]
    return f"{weak['name']} {weak['version']}: {', '.join(found)}"


if __name__ == "__main__":
    sys.exit(main())
