"""Projection to principal components, with the same bits in any batch.

The embeddings of images have far fewer directions than dimensions, so that distances between their first components
find candidates at a fraction of the cost. The components are those of the covariance (Jolliffe, Principal Component
Analysis, 2002); the vectors are not centered, because the mean cancels out of Euclidean distances.

A float32 product rounds differently for each batch shape. Here the factors are rounded first: vectors to multiples of
2^-12 of their length, components to multiples of 2^-11. All sums then stay below 2^24 multiples of 2^-23, which float32
represents exactly, in any order of summation and on any CPU. The error of this rounding is smaller than that of an
index's codes.
"""

from __future__ import annotations

import faiss
import numpy as np

from lookalike_indexer.arrays import Float32
from lookalike_indexer.vectors import rowwise

_VECTOR_BITS = 12
_COMPONENT_BITS = 11
_UNIT_SCALE = np.float32(1 << _VECTOR_BITS)
# Lengths just above a power of two count as that power: unit vectors have length 1 up to rounding.
_ALMOST = 1 - 2**-10
# Below the length 2^-100 the multiples do not shrink further, so that float32 can represent them.
_LEAST_EXPONENT = -100
_BLOCK = 4096
# More vectors hardly change the components, and a covariance of 2048 dimensions takes a second for each 4,000.
TRAINED_ON = 16_384


def projectable(vectors: Float32, unit: bool = False) -> Float32:
    """Return vectors (n, dim), each rounded so that its product with components is exact.

    No coordinate changes by more than 2^-12 of the vector's length. `unit`: all vectors have length 1 up to rounding,
    or are zero. The result is the same without it, in five times the time.
    """
    if unit:
        rounded: Float32 = vectors * _UNIT_SCALE
        np.rint(rounded, out=rounded)
        rounded /= _UNIT_SCALE
        return rounded
    exponents = np.frexp(np.sqrt(rowwise.squared_norms(vectors)) * _ALMOST)[1]
    exponents = np.maximum(exponents, _LEAST_EXPONENT)[:, None]
    rounded = vectors * np.ldexp(np.float32(1), _VECTOR_BITS - exponents)
    np.rint(rounded, out=rounded)
    rounded *= np.ldexp(np.float32(1), exponents - _VECTOR_BITS)
    return rounded


def train_components(sample: Float32, components: int) -> Float32:
    """Return the first principal components (components, dim) of a sample (n, dim), n >= components <= dim, rounded.

    The largest element of each is positive.
    """
    dim = sample.shape[1]
    mean = np.mean(sample, axis=0, dtype=np.float64)
    covariance = np.zeros((dim, dim))
    for start in range(0, len(sample), _BLOCK):
        centered = sample[start : start + _BLOCK] - mean
        covariance += centered.T @ centered
    directions = np.linalg.eigh(covariance)[1][:, ::-1][:, :components].T
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(components), largest])
    scaled = np.rint(np.ldexp(directions * signs[:, None], _COMPONENT_BITS))
    rounded: Float32 = np.ldexp(scaled, -_COMPONENT_BITS).astype(np.float32)
    return rounded


def transform(components: Float32) -> faiss.LinearTransform:
    """Return the projection (dim) -> (components) as a faiss transform."""
    linear = faiss.LinearTransform(components.shape[1], components.shape[0], False)
    faiss.copy_array_to_vector(np.ascontiguousarray(components).ravel(), linear.A)
    linear.is_trained = True
    return linear
