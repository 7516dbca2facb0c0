"""Ask pip-audit whether a pinned release has a known weakness. Says clearly what could not be asked.

It asks for every pinned package by name, so it is not a part of `make lint`:
run `make audit` where such questions are welcome.

Exit code 0: none has, or some or all were not checked, which the last line tells.
Exit code 1: some have.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The file has hashes for everything: nothing is installed or resolved anew.
COMMAND = [
    "-m", "pip_audit", "--requirement", "requirements.txt", "--disable-pip", "--require-hashes", "--timeout", "15",
    "--progress-spinner", "off", "--format", "json",
]  # fmt: skip


def main() -> int:
    done = subprocess.run([sys.executable, *COMMAND], cwd=ROOT, capture_output=True, text=True, check=False)
    status, lines = verdict(done.stdout, done.stderr)
    print("\n".join(lines))
    return status


def verdict(report: str, complaints: str) -> tuple[int, list[str]]:
    """The exit code and what to print, from pip-audit's report in JSON and what it complained of.

    Its own last words are not to be trusted: it says that nothing was found,
    and exits with 0, also when it could look up nothing.
    """
    try:
        dependencies = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = (complaints.strip().splitlines() or ["it gave no reason"])[-1][:200]
        return 0, [f"pip-audit: NOT CHECKED, no database of weaknesses could be asked ({reason})."]
    checked = [one for one in dependencies if "vulns" in one]
    weak = [
        f"{one['name']} {one['version']}: {', '.join(found['id'] for found in one['vulns'])}"
        for one in checked
        if one["vulns"]
    ]
    if weak:
        return 1, [*weak, f"pip-audit: {len(weak)} of {len(checked)} pinned releases have known weaknesses."]
    if not checked:
        return 0, [f"pip-audit: NOT CHECKED, none of {len(dependencies)} pinned releases could be looked up."]
    if len(checked) < len(dependencies):
        left = [one["name"] for one in dependencies if "vulns" not in one]
        return 0, [
            f"pip-audit: {len(checked)} of {len(dependencies)} pinned releases have no known weakness; "
            f"NOT CHECKED: {', '.join(left)}."
        ]
    return 0, [f"pip-audit: none of {len(checked)} pinned releases has a known weakness."]


if __name__ == "__main__":
    sys.exit(main())
