"""Check the language of documents, docstrings, help texts, errors and comments; CONTRIBUTING.md has the rules.

    python scripts/check_language.py            exit code 1 if a rule is broken
    python scripts/check_language.py --fix      correct misspellings that have one correction
    python scripts/check_language.py --shares   print the shares of long and of passive sentences

A page or a package may have a few sentences of more than 25 words, and a third of passive ones. A docstring or a
comment must not begin with a relative clause, such as "What waits". Names in code, and of files, are American too,
except those that version 0.1.0 published. The word lists are scripts/language/words.toml,
proselint's and codespell's.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from language.checks import MOST_WORDS, Finding, headless, identifiers, measured, phrases, spelling, too_long
from language.prose import Prose, comments, errors, of_markdown, of_python

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("client/lookalike", "indexer/lookalike_indexer", "server/lookalike_server")
# Of these folders only comments are checked.
MORE_CODE = ("benchmarks/lookalike_benchmarks", "scripts", "tests")
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")

MOST_LONG = 0.07
MOST_PASSIVE = 0.35
# Shares are not checked for fewer sentences.
FEWEST = 15


def collected() -> dict[str, list[Prose]]:
    """Return the prose of each page and of each package, by name."""
    pages = [*sorted((ROOT / "docs").rglob("*.md")), *(ROOT / name for name in DOCUMENTS)]
    found = {str(page.relative_to(ROOT)): [of_markdown(page)] for page in pages}
    for package in PACKAGES:
        found[package], found[f"{package}, errors"] = [], []
        for file in _modules(package):
            found[package] += of_python(file)
            found[f"{package}, errors"] += errors(file)
    return found


def _modules(package: str) -> list[Path]:
    return [file for file in sorted((ROOT / package).rglob("*.py")) if "_pb2" not in file.name]


def shares(collection: dict[str, list[Prose]], told: bool) -> Iterable[str]:
    """Yield a problem for each page and package with too many long or passive sentences."""
    for name, texts in collection.items():
        measure = measured(texts)
        if not measure.sentences:
            continue
        long, passive = len(measure.long) / measure.sentences, measure.passive / measure.sentences
        if told:
            print(f"{name:40} {measure.sentences:5} sentences, long {long:5.1%}, passive {passive:5.1%}")
        if long > MOST_LONG and len(measure.long) > 1 and measure.sentences >= FEWEST:
            yield f"{name}: {long:.1%} of the sentences have more than {MOST_WORDS} words, at most {MOST_LONG:.0%}:"
            yield from (f"  {_place(finding)}" for finding in measure.long)
        if passive > MOST_PASSIVE and measure.sentences >= FEWEST:
            yield f"{name}: {passive:.1%} of the sentences are passive, at most {MOST_PASSIVE:.0%}; name the actors"


def _place(finding: Finding) -> str:
    return f"{finding.path.relative_to(ROOT)}:{finding.line}: {finding.message}"


def correct(findings: Iterable[Finding]) -> None:
    """Correct each misspelled word that has one correction, except in code."""
    for finding in findings:
        word, _, better = finding.message.partition(" ==> ")
        if "," in better:
            continue
        lines = finding.path.read_text(encoding="utf-8").split("\n")
        row = finding.line - 1
        parts = re.split(r"(`[^`]*`)", lines[row])
        parts[::2] = [re.sub(rf"\b{word}\b", better, part) for part in parts[::2]]
        lines[row] = "".join(parts)
        finding.path.write_text("\n".join(lines), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the language of documents, docstrings and help texts.")
    parser.add_argument("--fix", action="store_true", help="correct the spelling")
    parser.add_argument("--shares", action="store_true", help="print the shares of long and passive sentences")
    options = parser.parse_args()
    collection = collected()
    texts = [text for each in collection.values() for text in each]
    texts += [text for package in (*PACKAGES, *MORE_CODE) for file in _modules(package) for text in comments(file)]
    if options.fix:
        correct(spelling(texts))
        return 0
    pages = [text for name, each in collection.items() if not name.startswith(PACKAGES) for text in each]
    problems = [_place(finding) for text in pages for finding in too_long(text)]
    problems += [_place(finding) for finding in phrases(texts)]
    code = [text for text in texts if text.path.suffix == ".py"]
    problems += [_place(finding) for text in code for finding in headless(text)]
    problems += [_place(finding) for finding in spelling(texts)]
    scripts = sorted((ROOT / "client/lookalike/explorer/static/js").rglob("*.js"))
    files = [*(file for package in (*PACKAGES, *MORE_CODE) for file in _modules(package)), *scripts]
    problems += [_place(finding) for file in files for finding in identifiers(file)]
    problems += shares(collection, options.shares)
    print("\n".join(problems), end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
