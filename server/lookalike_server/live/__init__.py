"""Changes to a served collection: their log, and views of a generation with changes.

changes.py      kinds of changes, and their records in the log
log_writer.py   appends to the log
committer.py    commits groups of changes
state.py        applies changes to a generation
snapshot.py     view: a generation with changes, as a Snapshot
columns.py      columns of a view
spaces.py       spaces of a view
clusterings.py  clusterings of a view
filters.py      filters of a view
overlay.py      values that differ from the generation's
grown.py        arrays that grow while readers hold them
graph.py        graph of new vectors
collection.py   entry point: replays, follows, and accepts changes
captured.py     changes of a view in the indexer's form
folding.py      makes changes part of a new generation
"""
