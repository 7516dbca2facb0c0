"""Embedding: from the source's listing to embeddings, part by part; and embedding of single queries.

Settings and plan:
    settings.py            settings of an embedding run
    defaults.py            settings that a run takes from the collection
    transforms.py          choice of the preprocessing transforms
    resolve.py             from settings to a plan: weights, layers, spaces, calibration
    plan.py                plan of a model, shared by all processes of a run
    class_names_file.py    the file of `--class-names`
    class_name_choice.py   choice of a model's class names
    classes.py             class names of a model

A run:
    embed_stage.py         the embedding stage
    inventory.py           existing files of each part, and the rows still to embed
    distributor.py         interface that embeds the parts of a run
    processes.py           distributor over several devices of this machine
    over_machines.py       distributor over the machines of a cluster
    runner.py              embeds missing parts on one device
    part.py                embeds one part: a table in, tables out
    requests.py            requests to decoding workers, and the rows of their results
    device_decoder.py      JPEG decoding on a GPU
    part_store.py          writes the files of a part
    relabel.py             changed keys, labels and URIs of embedded images
    assemble.py            draft of the next generation from the files of all parts
    checkpoints.py         embeds and clusters the checkpoints of a model

Queries:
    query.py               embeds new images and texts
    query_text.py          a text query
    embedding_result.py    result of embedding images and texts
    stored_network.py      the network of a collection's model
"""
