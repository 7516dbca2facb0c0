"""Sources of images, and the listing of a source that the collection keeps.

Kinds of source:
    open.py              opens the source that a path or URL refers to
    row.py               interface of a source, and one image of it
    directory.py         a directory of image files
    objects.py           a prefix of an object store
    listfile.py          a text file of paths
    parquet.py           a Parquet file of encoded images
    parquet_columns.py   choice of the columns of a Parquet file
    archive.py           a tar or zip file
    archive_files.py     members of tar and zip files
    shards.py            a folder of Parquet, tar and zip files
    image_files.py       detection of image files
    exclusion.py         gitignore patterns of excluded paths

Reading of images:
    fetch.py             bytes of one image, by its URI
    container.py         URIs and interface of files that hold many images
    parquet_rows.py      images of a Parquet file, by key
    digests.py           SHA-256 of an image now, and of what was embedded

Listing:
    listing.py           updates the listing, and assigns ids
    known.py             the listing before the run
    keytable.py          compact lookup table of keys
    labels.py            a labels file
    renames.py           detection of renamed files
    revisions.py         changed rows of the listing
    sync.py              settings and counts of a run that follows the source
    relocate.py          moves the collection to the source's new location
"""
