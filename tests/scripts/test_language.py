"""scripts/check_language.py: what counts as prose, and what each rule finds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(scope="module", autouse=True)
def scripts() -> Iterator[None]:
    sys.path.insert(0, str(SCRIPTS))
    yield
    sys.path.remove(str(SCRIPTS))


def prose(tmp_path: Path, text: str, name: str = "page.md"):
    from language.prose import of_markdown, of_python

    path = tmp_path / name
    path.write_text(text)
    return [of_markdown(path)] if name.endswith(".md") else list(of_python(path))


PAGE = """# Title

A sentence with `code that is long` and [a link](https://example.org/a/b). Another one.

    indented code. It has sentences. Three of them.

```python
fenced = "code. Of sentences."
```

| a table. | with. Sentences. |

- An item.
- Another item
  in two lines.
"""


def test_comments_and_errors_are_prose_too(tmp_path):
    from language.prose import comments, errors

    file = tmp_path / "module.py"
    file.write_text(
        "def f(x):\n"
        "    # A first line\n"
        "    # and a second.\n"
        "    y = 1  # noqa: X1\n"
        "    z = 2  # Behind code.\n"
        "    raise ValueError(f'The value {x} is none.') from None\n"
    )
    assert [(one.line, " ".join(one.text.split())) for one in comments(file)] == [
        (2, "A first line and a second."),
        (5, "Behind code."),
    ]
    assert [(one.line, one.text) for one in errors(file)] == [(6, "The value x is none.")]


def test_code_tables_and_addresses_are_no_prose(tmp_path: Path) -> None:
    from language.prose import sentences

    [page] = prose(tmp_path, PAGE)
    found = [sentence for _, sentence in sentences(page.text)]
    assert found[1:] == [
        "A sentence with xxxxxxxxxxxxxxxxxxx and a link .",
        "Another one.",
        "An item.",
        "Another item in two lines.",
    ]
    lines = [page.line_of(offset) for offset, _ in sentences(page.text)]
    assert lines == [1, 3, 3, 13, 14]


def test_docstrings_and_help_texts_are_prose(tmp_path: Path) -> None:
    source = '''"""A module."""
import click

@click.option("--k", help="The number of neighbors.")
def command(k):
    """Search.

    >>> command(3)
    3

        a drawing. With words.
    """
    return "A string. Of no interest."
'''
    found = [(" ".join(text.text.split()), text.line) for text in prose(tmp_path, source, "module.py")]
    assert sorted(found) == [("A module.", 1), ("Search.", 6), ("The number of neighbors.", 4)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("The port cannot be\nlistened on here.", "Write 'cannot be bound' instead of 'cannot be listened on'."),
        ("Who would wait for longer is told.", "name the actor"),
        ("We do this in order to win.", "Write 'to' instead of 'in order to'."),
        ("This is simply true.", "leave it out"),
    ],
)
def test_phrase_of_the_word_list_is_found_with_what_to_write(tmp_path: Path, text: str, message: str) -> None:
    from language.checks import phrases

    [finding] = phrases(prose(tmp_path, f"# Title\n\n{text}\n"))
    assert message in str(finding)
    assert finding.line == 3


def test_british_and_misspelled_words_are_found_and_corrected(tmp_path: Path) -> None:
    import check_language
    from language.checks import spelling

    page = prose(tmp_path, "# Title\n\nThe neighbours of `neighbours` are cancelled, and teh colours.\n")
    found = list(spelling(page))
    assert {finding.message for finding in found} == {"neighbours ==> neighbors", "teh ==> the", "colours ==> colors"}
    check_language.correct(found)
    assert "The neighbors of `neighbours` are cancelled, and the colors." in (tmp_path / "page.md").read_text()


@pytest.mark.parametrize(
    ("name", "code", "names"),
    [
        (
            "module.py",
            "def f(readColours, neighbours):\n    return NORMALISED  # grey\n",
            {"readColours", "NORMALISED"},
        ),
        ("page.js", "const relabel = reLabelled(color);\n", {"reLabelled"}),
        ("grey_map.py", "cancelled = CallCancelledError\n", {"grey_map"}),
    ],
)
def test_identifiers_with_british_words_are_found(tmp_path: Path, name: str, code: str, names: set[str]) -> None:
    from language.checks import identifiers

    file = tmp_path / name
    file.write_text(code)
    messages = [finding.message for finding in identifiers(file)]
    assert {message.partition("the name ")[2].partition(":")[0] for message in messages} == names


def test_long_and_passive_sentences_are_counted(tmp_path: Path) -> None:
    from language.checks import measured, too_long

    long = "word " * 26 + "end."
    text = f"# Title\n\nA {long}\n\nThe file is written by the server. The server writes it. {'Much ' * 45}.\n"
    page = prose(tmp_path, text)
    measure = measured(page)
    assert (measure.sentences, len(measure.long), measure.passive) == (5, 2, 1)
    assert [finding.line for finding in measure.long] == [3, 5]
    assert len(list(too_long(page[0]))) == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("What waits for a worker.", True),
        ("Whether anything waits.", True),
        ("What does a part hold?", False),
        ("Where no map exists, the page names the command.", False),
        ("Requests that wait. What they cost.", False),
        ("Whatsoever is a word of its own.", False),
    ],
)
def test_docstring_that_begins_with_a_relative_clause_is_found(tmp_path, text, found):
    from language.checks import headless

    [docstring] = prose(tmp_path, f'"""{text}"""\n', "module.py")
    assert [one.line for one in headless(docstring)] == ([1] if found else [])
