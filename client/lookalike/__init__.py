"""The client of a Lookalike server: which images look like this one, and which cluster is it in?

>>> import lookalike
>>> with lookalike.Client(address) as client:
...     near = client.search(key="dogs/01.jpg", k=3)
...     home = client.clusters(key="dogs/01.jpg")
>>> near.labels, home[0].cluster
(('dogs', 'dogs', 'dogs'), 0)

`lookalike.aio` has the same client for asyncio, and `lookalike.open` gives that of a
folder, which needs no server of one's own.
"""

from __future__ import annotations

from lookalike import aio as aio
from lookalike._attributes import Attributes
from lookalike._channel import TLS
from lookalike._collection import (
    Attribute,
    Clustering,
    Collection,
    Index,
    RecallPoint,
    Space,
    StoredImage,
    StoredImages,
    Thumbnails,
)
from lookalike._errors import (
    AuthenticationError,
    CallCancelledError,
    ClosedError,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    GenerationChangedError,
    InvalidArgumentError,
    LookalikeError,
    MessageTooLargeError,
    NotFoundError,
    OverloadedError,
    ProtocolError,
    ServerError,
    UnavailableError,
    UnimplementedError,
)
from lookalike._experiments import Attribution, Experiment, StoredResult, Table
from lookalike._filters import Column, Filter, column
from lookalike._image_terms import cluster, distance, predicted, probability
from lookalike._local import LocalClient, open  # noqa: A004
from lookalike._memberships import Cluster, Clusters, Member, Members, Membership, Memberships, MembershipsBatch
from lookalike._neighbors import Neighbor, Neighbors, NeighborsBatch
from lookalike._paging import AsyncPager, Page, Pager
from lookalike._request import request_id
from lookalike._served import Served, Timings
from lookalike._server import Limits, ServerInfo
from lookalike._sync import Client

__all__ = [
    "TLS",
    "AsyncPager",
    "Attribute",
    "Attributes",
    "Attribution",
    "AuthenticationError",
    "CallCancelledError",
    "Client",
    "ClosedError",
    "Cluster",
    "Clustering",
    "Clusters",
    "Collection",
    "Column",
    "DataLossError",
    "DeadlineExceededError",
    "Experiment",
    "FailedPreconditionError",
    "Filter",
    "GenerationChangedError",
    "Index",
    "InvalidArgumentError",
    "Limits",
    "LocalClient",
    "LookalikeError",
    "Member",
    "Members",
    "Membership",
    "Memberships",
    "MembershipsBatch",
    "MessageTooLargeError",
    "Neighbor",
    "Neighbors",
    "NeighborsBatch",
    "NotFoundError",
    "OverloadedError",
    "Page",
    "Pager",
    "ProtocolError",
    "RecallPoint",
    "Served",
    "ServerError",
    "ServerInfo",
    "Space",
    "StoredImage",
    "StoredImages",
    "StoredResult",
    "Table",
    "Thumbnails",
    "Timings",
    "UnavailableError",
    "UnimplementedError",
    "aio",
    "cluster",
    "column",
    "distance",
    "open",
    "predicted",
    "probability",
    "request_id",
]

# Tracebacks name an error as its users do: lookalike.NotFoundError.
for _name in __all__:
    if _name.endswith("Error"):
        globals()[_name].__module__ = __name__
