"""Routing of calls: the collection that a request names chooses the servicer."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor

from lookalike_server.common import call_record as record
from lookalike_server.transport.collection_names import CollectionNames
from lookalike_server.transport.interceptors import Call


def routed(
    service: ServiceDescriptor,
    names: CollectionNames,
    servicers: Mapping[str, Any],
    whole: Mapping[str, Call],
) -> Any:
    """Return a servicer that forwards each method to one of `servicers`, by the name of the collection.

    The methods in `whole`, by name, are about the whole server.
    """
    methods = {
        method.name: _routed(method.name, names, servicers) for method in service.methods if method.name not in whole
    }
    return SimpleNamespace(**methods, **{name: call for name, call in whole.items() if name in service.methods_by_name})


def _routed(method: str, names: CollectionNames, servicers: Mapping[str, Any]) -> Call:
    calls = {name: getattr(servicer, method) for name, servicer in servicers.items()}

    async def call(request: Any, context: Any) -> Any:
        return await calls[names.resolve(request.collection)](request, context)

    async def noted(request: Any, context: Any) -> Any:
        name = names.resolve(request.collection)
        known = record.current()
        if known is not None:
            known.collection = name
        return await calls[name](request, context)

    return call if len(calls) == 1 else noted
