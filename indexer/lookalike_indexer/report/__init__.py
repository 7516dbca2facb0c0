"""Report of all experiments over a collection, as one self-contained HTML page.

    make.py         makes the report
    plans.py        chapters in order
    context.py      data and examples that chapters share
    chapter.py      a chapter as texts, tables and drawings
    of_images.py, of_classes.py, of_spaces.py, of_sets.py   contents of the chapters
    inline.py       drawings as data URIs
    page.py         chapters to HTML

`make.py` is the entry point.
"""
