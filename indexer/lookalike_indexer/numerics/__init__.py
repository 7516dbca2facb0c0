"""Arithmetic whose results do not depend on the number of threads, the processor's kernels, or the batch."""
