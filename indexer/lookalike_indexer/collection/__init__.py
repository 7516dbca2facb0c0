"""A collection on disk: its layout, tables, manifest and generations. Imports neither torch nor faiss.

Storage:
    location.py          opens a collection by its path or URL
    storage.py           files of a collection on a local disk; the interface of all storage
    objects/             the same on an object store
    layout.py            paths of a collection's files
    ahead.py             read-ahead in threads

Formats:
    schema.py            columns of each table
    parts.py             writing and reading a part of a table
    row_groups.py        row groups of a Parquet file
    arrow_numbers.py     arrays of numbers from and to Arrow
    manifest.py          dataclasses of a generation's manifest
    encoding.py          a manifest as JSON with a checksum
    upgrade.py           reading of older formats
    consistency.py       checks of a manifest
    canonical.py         canonical JSON
    typed_json.py        thread-safe JSON decoding
    spec.py              identity of an embedding space
    settings_digest.py   digest of the inputs of a clustering or an index
    strategy.py          names of the clustering strategies
    limits.py            size limits of an image
    rejects.py           kinds of rejected files
    checkpoint_names.py  names of checkpoints
    uris.py, uri_column.py   absolute URIs of images, one or a column
    uploaded_images.py   uploaded images that the collection stores
    index_ids.py         image ids of an index's rows

Reading:
    reader.py            reader of one generation
    current.py           default clustering and index of a space
    default_space.py     default space
    metrics.py           metric of a space
    description.py       description of a generation as plain data
    export.py            export of embeddings
    commands.py          command lines for messages

Changing:
    lock.py              writer lock
    hold.py              read holds on generations
    generations.py       listing, reading and publishing of generations
    changelog.py         write-ahead log of a served collection
    tombstones.py        ids of deleted images
    deletion.py          deletion of images
    removal.py           removal of spaces, clusterings, indexes and other entries
    garbage.py           removal of unreferenced files
"""
