"""Import of existing embeddings as a space of a collection, with or without images.

    vectors.py        reader of vector files
    vector_keys.py    keys and labels of the vectors
    images.py         images of a source, without a network
    import_stage.py   the import stage

`import_stage.py` is the entry point.
"""
