"""The indexer's commands. A module imports torch, faiss and pyarrow only when its command runs.

Make and extend a collection:
    index.py               lookalike index: embed, cluster and build an index, as one generation
    embed.py               lookalike embed
    cluster.py             lookalike cluster
    build.py               lookalike build
    graph.py               lookalike graph: the nearest neighbors of each image
    watch.py               lookalike watch: index again when files change
    attach.py              lookalike attach: attributes from a table
    import_vectors.py      lookalike import: existing embeddings
    quality.py             lookalike quality: dark, blurry and otherwise poor images

Examine a collection:
    choose_k.py            lookalike choose-k
    classes.py             lookalike classes
    compare.py             lookalike compare
    dendrogram.py          lookalike dendrogram
    duplicates.py          lookalike duplicates
    evolution.py           lookalike evolution
    explain.py             lookalike explain
    explain_output.py      results and drawings of explain
    interpret.py           lookalike interpret
    label_issues.py        lookalike label-issues
    leaks.py               lookalike leaks
    map2d.py               lookalike map
    matrix.py              lookalike matrix
    mistakes.py            lookalike mistakes
    oddballs.py            lookalike oddballs
    report.py              lookalike report: all experiments as one page
    sample.py              lookalike sample
    show.py                lookalike show
    split.py               lookalike split

Maintain a collection:
    compact.py             lookalike compact
    gc.py                  lookalike gc
    rejects.py             lookalike rejects
    relocate.py            lookalike relocate
    remove.py              lookalike remove
    set_defaults.py        lookalike set
    verify.py              lookalike verify
    doctor.py              lookalike doctor: GPUs, weights and libraries

Files for other programs:
    export.py              lookalike export: the embeddings
    parts.py               lookalike parts: the Parquet files of a table
    sort.py                lookalike sort: image files in folders by cluster or label

Functions for the client's commands, which also accept a folder:
    describe.py            for lookalike info
    images.py              for lookalike images
    results.py             for lookalike results

Shared by commands:
    collection_command.py  the collection as an option or the first argument
    embed_options.py       options and settings of embedding
    cluster_options.py     options and settings of clustering
    build_options.py       options and settings of an index
    sync_options.py        options and output of index --sync
    machines_option.py     --ray
    experiment_options.py  options, printed output and storage of experiments
    near_options.py        --max-distance
    subjects.py            the images that explain and show get as arguments
    bytes.py               option types for sizes
    out_folder.py          the folder of --out
    progress.py            progress on standard error
    errors.py              the indexer's errors as click's
"""
