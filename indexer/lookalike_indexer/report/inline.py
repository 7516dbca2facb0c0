"""Drawings as data URIs of limited size."""

from __future__ import annotations

import base64
import io

from matplotlib.figure import Figure
from PIL import Image

from lookalike_indexer.charts.figures import png

Picture = Image.Image | Figure
# Wider than most windows; montages of images as WebP, which is a fifth of PNG.
_WIDEST = 1400
_QUALITY = 80


def inlined(picture: Picture) -> str:
    """Return a drawing as a data URI: charts as PNG, montages as WebP, at most 1,400 pixels wide."""
    if isinstance(picture, Figure):
        return f"data:image/png;base64,{base64.b64encode(png(picture, dpi=90)).decode()}"
    if picture.width > _WIDEST:
        picture = picture.resize((_WIDEST, round(picture.height * _WIDEST / picture.width)), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.convert("RGB").save(out, "WEBP", quality=_QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
