"""Pages, links and quoted sentences of the documentation exist. `make docs` builds the site and checks the rest."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from lookalike.cli._catalog import ANALYSES, SECTIONS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
OUTSIDE = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES = sorted(DOCS.rglob("*.md")) + OUTSIDE
# Generated with each build of the site.
MADE = {"index.md", "architecture.md", "changelog.md", "contributing.md", "security.md"}
MADE |= {"reference/cli.md", "reference/proto.md"}
FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def scripts() -> Iterator[None]:
    sys.path.insert(0, str(ROOT / "scripts"))
    yield
    sys.path.remove(str(ROOT / "scripts"))


def navigation(entry: object) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, dict | list):
        for each in entry.values() if isinstance(entry, dict) else entry:
            yield from navigation(each)


def test_every_page_is_in_the_navigation_once() -> None:
    listed = list(navigation(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    there = {str(path.relative_to(DOCS)) for pattern in ("*.md", "*.ipynb") for path in DOCS.rglob(pattern)}
    assert sorted(listed) == sorted(there | MADE)


def headings(page: Path) -> set[str]:
    """Return the anchors of a page, as the site and the forge make them from headings."""
    text = FENCED.sub("", page.read_text())
    titles = re.findall(r"^#{1,6} (.+)$", text, flags=re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in titles)
    return {re.sub(r"[^\w\- ]", "", title.replace("`", "")).strip().lower().replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = FENCED.sub("", page.read_text())
    for target, anchor in re.findall(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        path = (page.parent / target).resolve() if target else page
        made = page.is_relative_to(DOCS) and str(path.relative_to(DOCS)) in MADE if path.is_relative_to(DOCS) else False
        assert path.exists() or made, target
        if anchor and path.suffix == ".md" and path.exists():
            assert anchor in headings(path), f"{target}#{anchor}"


def test_sentences_on_the_troubleshooting_page_exist_in_the_code() -> None:
    sources = "\n".join(
        path.read_text()
        for package in ("client/lookalike", "indexer/lookalike_indexer", "server/lookalike_server")
        for path in (ROOT / package).rglob("*.py")
    )
    # A sentence may be written in several strings.
    sources = re.sub(r'"\s*\n\s*f?"', "", sources)
    quoted = re.findall(r"^### `(.+)`$", (DOCS / "howto/troubleshooting.md").read_text(), flags=re.MULTILINE)
    assert len(quoted) > 15
    assert [sentence for sentence in quoted if sentence not in sources] == []


def test_reference_of_the_command_line_has_every_command_and_option() -> None:
    import document_commands

    from lookalike.cli._commands import commands

    page = document_commands.page()
    named = [name for section in SECTIONS.values() for name in section if name not in ("analyze", "bench")]
    for spelled in [*named, *(f"analyze {name}" for name in ANALYSES)]:
        assert f"\n## lookalike {spelled}\n" in page
        command = commands.get_command(click.Context(commands), spelled.rpartition(" ")[2])
        assert command is not None
        section = page.partition(f"\n## lookalike {spelled}\n")[2].partition("\n## ")[0]
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.opts[-1] in section, f"{spelled} {parameter.opts}"


def test_reference_of_the_wire_has_every_method_and_field() -> None:
    import document_proto

    from lookalike.v1 import search_pb2, server_pb2

    page = document_proto.page()
    for file in (search_pb2.DESCRIPTOR, server_pb2.DESCRIPTOR):
        for service in file.services_by_name.values():
            assert all(f"**{method.name}** (" in page for method in service.methods)
        for message in file.message_types_by_name.values():
            assert all(f"| `{field.name}` = {field.number} |" in page for field in message.fields)
    # The comment of SearchRequest.k.
    assert "The number of neighbors of each query, from 1 to Limits.max_k." in page


def test_links_out_of_the_docs_become_names() -> None:
    from pathlib import PurePosixPath

    import docs_site

    text = "[unit](../deploy/lookalike.service), [map](../ARCHITECTURE.md#query), ![x](images/a.png), [y](z.md)"
    made = docs_site.rewritten(text, PurePosixPath("docs/howto.md"), PurePosixPath("howto.md"))
    assert made == ("unit (`deploy/lookalike.service`), [map](architecture.md#query), ![x](images/a.png), [y](z.md)")
    inside = docs_site.rewritten("[a](docs/b.md)", PurePosixPath("README.md"), PurePosixPath("index.md"))
    assert inside == "[a](b.md)"


def test_examples_of_docstrings_are_code() -> None:
    import docs_examples

    made = docs_examples.fenced("A.\n\n>>> f(\n...     1)\n2\n\nB.")
    assert made == "A.\n\n```pycon\n>>> f(\n...     1)\n2\n```\n\nB."


def test_notebooks_keep_their_output() -> None:
    for path in DOCS.rglob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        assert any(cell.get("outputs") for cell in cells), path.name


def typed(page: Path) -> Iterator[list[str]]:
    """Return the command lines of lookalike in a page's code, as words."""
    text = page.read_text().replace("\\\n", " ")
    lines = re.findall(r"^(?: {4,}|\t)(lookalike .*)$", text, flags=re.MULTILINE)
    for block in re.findall(r"^```(?:sh|bash|console)?\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        lines += re.findall(r"^(lookalike .*)$", block, flags=re.MULTILINE)
    for line in lines:
        if " -> " in line:  # a drawing
            continue
        lexer = shlex.shlex(line.replace("...", ""), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        yield list(itertools.takewhile(lambda word: not set(word) <= set("|&;<>"), lexer))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_the_pages_have_the_options_that_they_use(page: Path) -> None:
    from lookalike.cli._commands import commands

    for words in typed(page):
        rest = words[2:] if words[1] == "analyze" else words[1:]
        if not rest or rest[0].startswith("-"):
            continue
        command = commands.get_command(click.Context(commands), rest[0])
        assert command is not None, " ".join(words)
        known = {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}
        known |= set(command.get_help_option_names(click.Context(command)))
        used = {word.partition("=")[0] for word in rest[1:] if word.startswith("--") and word != "--"}
        assert used <= known, f"{' '.join(words)}: {used - known}"
