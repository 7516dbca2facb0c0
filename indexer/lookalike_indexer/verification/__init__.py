"""Verification that a collection is unchanged, with remedies for damaged files.

    verify_stage.py      runs the checks in order
    examination.py       state of a verification: settings, checks, damages
    files.py             existence, size and digest of every file
    tables.py            schemas and row counts
    join.py              ids of each part in all tables
    uploaded_images.py   uploaded images
    clusterings.py       assignments
    indexes.py           indexes
    embeddings.py        embeddings, by embedding images again
    changes.py           change log
    deleted.py           remains of a deleted image
    remedies.py          remedy for each kind of file
    report.py            report as plain data

`verify_stage.py` is the entry point; `deleted.py` is separate.
"""
