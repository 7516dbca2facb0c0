"""The page's colors have the contrast that WCAG 2.2 AA requires, in the light and the dark theme."""

import re

import pytest

from lookalike.explorer.app import STATIC

TEXT, CONTROL = 4.5, 3.0
# Text on its backgrounds, and edges of controls; as tokens of tokens.css.
PAIRS = [
    *((letters, ground, TEXT) for letters in ("text", "muted", "warn", "accent") for ground in ("ground", "surface")),
    ("text", "well", TEXT),
    ("muted", "well", TEXT),
    ("accent-text", "accent", TEXT),
    ("accent", "accent-soft", TEXT),
    ("warn", "warn-soft", TEXT),
    *(("text", f"heat-{step}", TEXT) for step in range(3)),
    ("accent-text", "heat-3", TEXT),
    ("control-line", "surface", CONTROL),
    ("control-line", "ground", CONTROL),
    ("accent", "ground", CONTROL),
]


def themes() -> dict[str, dict[str, str]]:
    """Return the colors of each theme by name."""
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part))
        for part in (STATIC / "css" / "tokens.css").read_text().split("@media (prefers-color-scheme: dark)")
    )
    return {"light": light, "dark": {**light, **dark}}


def luminance(color: str) -> float:
    """Return the relative luminance of #rrggbb, by WCAG's formula."""
    channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    darker, lighter = sorted((luminance(first), luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def test_black_on_white_has_the_highest_contrast():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("letters", "ground", "least"), PAIRS)
def test_letters_can_be_read_on_their_ground(theme, letters, ground, least):
    colors = themes()[theme]
    assert contrast(colors[letters], colors[ground]) >= least


def test_dark_theme_changes_every_color():
    light, dark = themes().values()
    assert luminance(light["ground"]) > 0.8
    assert luminance(dark["ground"]) < 0.02
    assert {name for name in light if light[name] == dark[name]} == set()


def test_other_style_sheets_take_their_colors_from_there():
    for sheet in (STATIC / "css").glob("*.css"):
        if sheet.name != "tokens.css":
            # The second circle of the logo has the same color in both themes.
            assert set(re.findall(r"#[0-9a-f]{3,8}\b", sheet.read_text())) <= {"#d9812e"}, sheet.name
