"""Upkeep of a collection: keeps derived data in step with the images.

Following the source:
    follow.py     sync run: embed, delete, and extend derived data
    watching.py   a sync run for each batch of changes in a folder
    growing.py    extends clusterings and indexes of a collection that has grown a little
    renew.py      recreates clusterings and indexes with their recorded settings
    fold.py       folds changes of a served collection into the next generation

Files:
    compact.py    merges small parts
    grouping.py   groups of parts that can be merged
    merging.py    merges the parts of a group
    purge.py      rewrites tables without deleted images
"""
