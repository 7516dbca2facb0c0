from __future__ import annotations

from lookalike_indexer.text import aligned, cell, columns, printable


def test_names_cannot_move_the_cursor_or_break_the_line():
    assert printable("a\x1b[31mb\n c\udc80") == "a\\x1b[31mb c\\udc80"


def test_tables_are_aligned_by_what_a_terminal_shows():
    text = aligned(["name", "n", "share"], [["日本", 7, 0.25], ["x", None, float("nan")]])
    assert text.splitlines() == ["name  n  share", "日本  7  0.250", "x     -      -"]
    assert columns("日本") == 4


def test_cells():
    assert [cell(value) for value in (None, True, -0.0, [1, 2], "a\tb")] == ["-", "yes", "0.000", "1, 2", "a b"]
