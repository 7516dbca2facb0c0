"""Display of results in notebooks, and their conversion to tables of pandas and pyarrow.

    frames.py     conversion to pandas and pyarrow tables
    thumbnails.py   thumbnails, fetched when a notebook shows a result
    html.py       HTML fragments
    shown.py      fragments that all results share: image strips and the footer

The results' own `_repr_html_` methods use them.
"""
