"""Files of a clustering: centroids with their training figures, a whitening, and assignments part by part."""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Int64
from lookalike_indexer.clustering.assign import AssignedVectors
from lookalike_indexer.clustering.trained_centroids import Trained
from lookalike_indexer.clustering.whitening import Whitening
from lookalike_indexer.collection import schema
from lookalike_indexer.collection.parts import check_columns, open_part, read_part, write_part
from lookalike_indexer.collection.reader import matrix
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.collection.typed_json import TypedJson
from lookalike_indexer.errors import DataLossError

# The training figures are in the metadata of the centroids' file. A run that continues after a kill finds the
# manifest's values there.
_TRAINING = b"lookalike.training"


class _Training(msgspec.Struct, frozen=True):
    inertia: list[float]


_TRAINING_JSON = TypedJson(_Training)


def write_centroids(storage: Storage, path: str, trained: Trained) -> None:
    """Write the centroids table with the inertia of each iteration in its metadata."""
    k, dim = trained.centroids.shape
    table_schema = schema.centroids(dim)
    table = pa.table(
        [
            pa.array(np.arange(k, dtype=np.int32)),
            pa.FixedSizeListArray.from_arrays(
                pa.array(trained.centroids.ravel()), type=table_schema.field("centroid").type
            ),
        ],
        schema=table_schema,
    )
    metadata = {_TRAINING: msgspec.json.encode(_Training(trained.inertia))}
    write_part(storage, path, table.replace_schema_metadata(metadata))


def read_centroids(storage: Storage, path: str) -> Trained:
    """Return the centroids and their inertia. Raise DataLossError if the file is not such a table."""
    with open_part(storage, path) as part:
        metadata = part.schema_arrow.metadata or {}
        if _TRAINING not in metadata:
            raise DataLossError(f"{storage.shown(path)} is not a table of centroids; delete it and cluster again.")
        training = _TRAINING_JSON.decode(metadata[_TRAINING])
        return Trained(matrix(part.read(["centroid"]).column("centroid")), training.inertia)


def write_whitening(storage: Storage, path: str, whitening: Whitening) -> None:
    """Write a whitening, one row for each component."""
    table_schema = schema.whitening(whitening.directions.shape[1])
    directions = pa.FixedSizeListArray.from_arrays(
        pa.array(whitening.directions.ravel()), type=table_schema.field("direction").type
    )
    columns = [directions, pa.array(whitening.offsets), pa.array(whitening.deviations)]
    write_part(storage, path, pa.table(columns, schema=table_schema))


def read_whitening(storage: Storage, path: str) -> Whitening:
    """Return the whitening that was written; DataLossError when the file is not such a table."""
    names = ["direction", "offset", "deviation"]
    with open_part(storage, path) as part:
        check_columns(part, names)
        table = part.read(names).combine_chunks()
    offsets, deviations = (table.column(name).to_numpy() for name in names[1:])
    directions = table.column("direction").combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    return Whitening(directions, offsets, deviations)


def write_assignments(storage: Storage, path: str, ids: Int64, assigned: AssignedVectors) -> None:
    """Write one part of assignments, in the order of the space's rows."""
    columns = [ids, assigned.clusters, assigned.distances, assigned.margins]
    write_part(storage, path, pa.table([pa.array(column) for column in columns], schema=schema.ASSIGNMENTS))


def read_clusters(storage: Storage, path: str) -> tuple[Int64, np.ndarray[tuple[int, ...], np.dtype[np.int32]]]:
    """Return the id and the cluster of each row of a part."""
    table = read_part(storage, path, ["id", "cluster"])
    return table.column("id").to_numpy(), table.column("cluster").to_numpy()
