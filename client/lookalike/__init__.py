"""Python client of a Lookalike server: image similarity search, cluster membership and experiments.

>>> import lookalike
>>> with lookalike.Client(address) as client:
...     near = client.search(key="dogs/01.jpg", k=3)
...     home = client.membership(key="dogs/01.jpg")
>>> near.labels, home[0].cluster
(('dogs', 'dogs', 'dogs'), 0)

`lookalike.aio` has the same client for asyncio. `lookalike.open` opens a collection's folder
and needs no running server.

Modules, in the order of a call (private names; import everything from `lookalike`):

    _sync, aio                          the clients: they send calls, retry, and split large requests
    _sync_methods, _sync_experiments    the public methods; scripts/generate_async.py generates
                                        _aio_methods and _aio_experiments from them
    _local                              `open`: a client with a private server process
    _arguments, _hints                  types of arguments; advice on unknown argument names
    _environment, _address, _channel    settings: environment, address, TLS, token, channel arguments
    _proxy, _forks, _aio_channels       HTTP proxies, forked processes, one channel for each event loop
    local_secret                        secret that authorizes local administrators of a local server
    _images, _pillow, _png              encode images that a caller passes
    _queries, _examples                 validate queries and feedback
    _filters, _image_terms              filters as Python expressions
    _calls, _experiment_calls           build requests and choose the parser of the reply
    _update_calls                       the same for changes of the collection
    _batches, _joining                  split a request into calls, join their results
    _attempts, _request, _status        retries, request ids and traces, gRPC status to errors
    _errors                             the exceptions
    pieces, _aio_pieces                 messages that are sent in pieces
    wire                                tensors to numpy arrays and back
    _replies, _experiment_replies       replies to results
    _paging                             pages of lists
    _columns, _metrics, _served         parts of all results
    _neighbors, _memberships, _graph    results of searches, of cluster membership, of the neighbor graph
    _collection, _labels, _attributes   results about the collection and its images
    _experiments, _changes, _server     results of experiments, of changes, and server information
    _notebook                           notebook display, pandas and pyarrow tables
    v1                                  generated protobuf messages
    cli, explorer                       the command line and the web page
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str

    from lookalike import aio as aio
    from lookalike._attributes import Attributes
    from lookalike._changes import Deleted, Described, Folded, Upserted
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
    from lookalike._graph import GraphList, GraphLists
    from lookalike._image_terms import cluster, distance, predicted, probability
    from lookalike._labels import Label, Labels
    from lookalike._local import LocalClient, open  # noqa: A004
    from lookalike._memberships import Cluster, Clusters, Member, Members, Membership, Memberships, MembershipsBatch
    from lookalike._neighbors import Neighbor, Neighbors, NeighborsBatch
    from lookalike._paging import AsyncPager, Page, Pager
    from lookalike._request import request_id, traceparent
    from lookalike._served import Plan, Served, Timings
    from lookalike._server import Limits, ServedCollection, ServerInfo
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
    "Deleted",
    "Described",
    "Experiment",
    "FailedPreconditionError",
    "Filter",
    "Folded",
    "GenerationChangedError",
    "GraphList",
    "GraphLists",
    "Index",
    "InvalidArgumentError",
    "Label",
    "Labels",
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
    "Plan",
    "ProtocolError",
    "RecallPoint",
    "Restored",
    "Served",
    "ServedCollection",
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
    "Upserted",
    "aio",
    "cluster",
    "column",
    "distance",
    "open",
    "predicted",
    "probability",
    "request_id",
    "traceparent",
]

# The module of each public name. The first use of a name imports its module: a command that uses none of them
# starts without numpy and gRPC.
_MODULES = {
    "lookalike._attributes": "Attributes",
    "lookalike._changes": "Deleted Described Folded Restored Upserted",
    "lookalike._channel": "TLS",
    "lookalike._collection": (
        "Attribute Clustering Collection Index RecallPoint Space StoredImage StoredImages Thumbnails"
    ),
    "lookalike._errors": (
        "AuthenticationError CallCancelledError ClosedError DataLossError DeadlineExceededError "
        "FailedPreconditionError GenerationChangedError InvalidArgumentError LookalikeError "
        "MessageTooLargeError NotFoundError OverloadedError ProtocolError ServerError UnavailableError "
        "UnimplementedError"
    ),
    "lookalike._experiments": "Attribution Experiment StoredResult Table",
    "lookalike._filters": "Column Filter column",
    "lookalike._image_terms": "cluster distance predicted probability",
    "lookalike._graph": "GraphList GraphLists",
    "lookalike._labels": "Label Labels",
    "lookalike._local": "LocalClient open",
    "lookalike._memberships": "Cluster Clusters Member Members Membership Memberships MembershipsBatch",
    "lookalike._neighbors": "Neighbor Neighbors NeighborsBatch",
    "lookalike._paging": "AsyncPager Page Pager",
    "lookalike._request": "request_id traceparent",
    "lookalike._served": "Plan Served Timings",
    "lookalike._server": "Limits ServedCollection ServerInfo",
    "lookalike._sync": "Client",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("lookalike")
    if name == "aio":
        return importlib.import_module("lookalike.aio")
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
