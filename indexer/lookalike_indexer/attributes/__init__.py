"""Attribute tables: data that users attach to the images of a collection, joined by key.

    table.py           opens a user's table and determines its columns
    csv_table.py       reader of CSV
    json_table.py      reader of JSON lines
    parquet_table.py   reader of Parquet
    inference.py       types of text columns
    types.py           supported types, and their conversion
    images.py          images that a table is joined with
    buckets.py         external sort of the rows into the order of the images
    attach.py          joins a table with the images, and writes it
    labels.py          label corrections of a table
    summary.py         summary of each column

The modules are in the order in which `lookalike attach` uses them.
"""
