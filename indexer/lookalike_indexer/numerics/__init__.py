"""Arithmetic whose results do not depend on the number of threads, the CPU's kernels, or the batch.

    grid.py            vectors on a fixed-point grid, whose products are exact
    single_thread.py   numeric libraries limited to one thread
    variation.py       detection of vectors that are equal up to rounding

Each module is independent of the others.
"""
