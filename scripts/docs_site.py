"""mkdocs hooks: pages that are generated from other files, and links to files that are not pages.

README.md, ARCHITECTURE.md, CHANGELOG.md, CONTRIBUTING.md and SECURITY.md are pages of the site. The references of the
command line and of gRPC are generated from the commands and from proto/.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent

# Pages outside docs/.
OUTSIDE = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#|mailto:)([^)#\s]+)(#[^)\s]+)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    for source, page in OUTSIDE.items():
        text = rewritten((ROOT / source).read_text(encoding="utf-8"), PurePosixPath(source), PurePosixPath(page))
        files.append(File.generated(config, page, content=text))
    for page, text in references():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite the links of a page of docs/ that lead out of docs/."""
    if page.file.generated_by is not None or page.file.src_uri.endswith(".ipynb"):
        return markdown
    place = PurePosixPath("docs") / page.file.src_uri
    return rewritten(markdown, place, PurePosixPath(page.file.src_uri))


def references() -> Iterator[tuple[str, str]]:
    """Yield the reference pages, which every build generates."""
    sys.path.insert(0, str(ROOT / "scripts"))  # mkdocs takes out what a hook adds while it is loaded
    import document_commands
    import document_proto

    yield "reference/cli.md", document_commands.page()
    yield "reference/proto.md", document_proto.page()


def rewritten(text: str, source: PurePosixPath, page: PurePosixPath) -> str:
    """Return the text with the site's links; a link to a file that is not a page becomes the file's name."""

    def link(found: re.Match[str]) -> str:
        picture, words, target, anchor = found.groups()
        path = _normal(source.parent / target)
        if path in OUTSIDE:
            inside: str | None = OUTSIDE[path]
        else:
            inside = path.removeprefix("docs/") if path.startswith("docs/") else None
        if inside is None:
            return words if words.strip("`") == path else f"{words} (`{path}`)"
        return f"{picture}[{words}]({_relative(inside, page.parent)}{anchor or ''})"

    return LINK.sub(link, text)


def _normal(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _relative(path: str, folder: PurePosixPath) -> str:
    return "../" * len(folder.parts) + path
