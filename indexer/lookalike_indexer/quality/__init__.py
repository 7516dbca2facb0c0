"""Quality of images: measures of the pixels and derived flags, stored as attributes.

    measures.py        measures of one image
    flags.py           flags, with their thresholds
    measure_pool.py    measuring in worker processes
    quality_stage.py   the quality stage

`quality_stage.py` is the entry point.
"""
