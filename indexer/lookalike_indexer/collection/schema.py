"""Schemas of the tables.

Embeddings are fixed-size lists, which DuckDB, pandas and plain pyarrow read natively. Their pages are neither
compressed nor dictionary-encoded: floating point noise does not compress, and decoding would cost more than reading.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

# Metadata keys of a part: the fingerprint of its embedding space, its arithmetic, and the digest of the images that it
# covers.
FINGERPRINT = b"lookalike.fingerprint"
COMPUTE = b"lookalike.compute"
ABOUT = b"lookalike.about"

# The time of images that did not come from the source, so that their absence from the source is no deletion.
NOT_OF_SOURCE = -1

SOURCE = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("uri", pa.string(), nullable=False),
        # Of the file that holds the image, at the last listing; the time is NOT_OF_SOURCE if the image is not from the
        # source.
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("modified_ns", pa.int64(), nullable=False),
        # The label from the source itself; `label` may come from a labels file.
        pa.field("source_label", pa.string()),
        # The digest of the file's present content if it differs from what was embedded.
        pa.field("changed_sha256", pa.string()),
    ]
)

IMAGES = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("format", pa.string(), nullable=False),
        # After EXIF orientation has been applied.
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        # Of the encoded image that was embedded, in hexadecimal; null in parts of older releases.
        pa.field("sha256", pa.string()),
    ]
)

REJECTS = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        # One of rejects.KINDS; null in parts of older releases.
        pa.field("kind", pa.string()),
        # Of the rejected file: if its size or time changes, it is tried again.
        pa.field("bytes", pa.int64()),
        pa.field("modified_ns", pa.int64()),
    ]
)

# The image of each row of an index.
INDEX_IDS = pa.schema([pa.field("id", pa.int64(), nullable=False)])

# Deleted images. Their rows stay in the parts of the other tables until those are rewritten.
TOMBSTONES = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        # One of tombstones.REASONS.
        pa.field("reason", pa.string(), nullable=False),
        # The first generation that leaves the image out, and the sequence of the change in the change log; 0 without
        # one.
        pa.field("generation", pa.int64(), nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),
    ]
)

ASSIGNMENTS = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("cluster", pa.int32(), nullable=False),
        # Euclidean distance to the centroid, and how much farther the next centroid is.
        pa.field("distance", pa.float32(), nullable=False),
        pa.field("margin", pa.float32(), nullable=False),
    ]
)


# The tables of format 1, which a collection keeps when it grows.
SOURCE_1 = pa.schema(list(SOURCE)[:6])
IMAGES_1 = pa.schema(list(IMAGES)[:8])
REJECTS_1 = pa.schema(list(REJECTS)[:4])

# Columns that parts of earlier formats may lack; they are read as null.
ADDED = {
    "source_label": pa.string(),
    "changed_sha256": pa.string(),
    "sha256": pa.string(),
    "kind": pa.string(),
    "bytes": pa.int64(),
    "modified_ns": pa.int64(),
}


def embeddings(dim: int, dtype: str) -> pa.Schema:
    """Return the schema with columns id and embedding: a list of `dim` values of `dtype` ("float16" or "float32")."""
    value = pa.float16() if dtype == "float16" else pa.float32()
    # Values of a list are never null; declaring that spares readers the check.
    vector = pa.list_(pa.field("element", value, nullable=False), dim)
    return pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("embedding", vector, nullable=False)])


def predictions(top: int) -> pa.Schema:
    """Return the schema of the id and the `top` most probable classes, most probable first."""
    return pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            pa.field("class_index", pa.list_(pa.int32(), top), nullable=False),
            pa.field("class_name", pa.list_(pa.string(), top), nullable=False),
            pa.field("probability", pa.list_(pa.float32(), top), nullable=False),
        ]
    )


def graph(k: int) -> pa.Schema:
    """Return the schema with columns id, neighbor (ids of the `k` nearest other images, nearest first) and distance."""
    ids = pa.list_(pa.field("element", pa.int64(), nullable=False), k)
    distances = pa.list_(pa.field("element", pa.float32(), nullable=False), k)
    return pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            pa.field("neighbor", ids, nullable=False),
            pa.field("distance", distances, nullable=False),
        ]
    )


def whitening(dim: int) -> pa.Schema:
    """Return the schema of a whitening: one row for each retained component; see `clustering.whitening`."""
    return pa.schema(
        [
            pa.field("direction", pa.list_(pa.field("element", pa.float64(), nullable=False), dim), nullable=False),
            pa.field("offset", pa.float64(), nullable=False),
            pa.field("deviation", pa.float64(), nullable=False),
        ]
    )


def centroids(dim: int) -> pa.Schema:
    """Return the schema with columns cluster and centroid, one row for each cluster in order."""
    vector = pa.list_(pa.field("element", pa.float32(), nullable=False), dim)
    return pa.schema(
        [
            pa.field("cluster", pa.int32(), nullable=False),
            pa.field("centroid", vector, nullable=False),
        ]
    )


# Rows per row group in tables without vectors.
ROW_GROUP = 1 << 16

# The supported attribute types, by name. Timestamps are in UTC.
ATTRIBUTE_TYPES = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us"),
    "list<string>": pa.list_(pa.string()),
}


def attributes(columns: Iterable[tuple[str, str]]) -> pa.Schema:
    """Return the schema of an attribute table: the id and the columns, each given as name and type name."""
    fields = [pa.field(name, ATTRIBUTE_TYPES[kind]) for name, kind in columns]
    return pa.schema([pa.field("id", pa.int64(), nullable=False), *fields])


def writer_options(schema: pa.Schema) -> dict[str, Any]:
    """Return the options of `pyarrow.parquet.write_table` for a table of this schema."""
    how: dict[str, Any]
    wide = any(name in schema.names for name in ("embedding", "centroid"))
    if wide:
        # 256 rows of 2048 float32 are 2 MiB: one stored vector is read without reading its whole part, and a scan still
        # reads large pieces.
        how = {"compression": "none", "use_dictionary": False, "write_statistics": False, "row_group_size": 256}
    elif schema.names == INDEX_IDS.names:
        # The ids mostly ascend without gaps, so their differences compress to almost nothing.
        how = {"compression": "zstd", "use_dictionary": False, "column_encoding": {"id": "DELTA_BINARY_PACKED"}}
    else:
        how = {"compression": "zstd", "row_group_size": ROW_GROUP}
    # Readers that support it detect a damaged page; see parts.open_part.
    return {**how, "write_page_checksum": True}
