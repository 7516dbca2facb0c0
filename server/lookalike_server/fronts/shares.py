"""Generations that the engine process shares with fronts, and their two-step swap; see front_generations.py."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lookalike_server.fronts.frames import Frames, Kind, as_bytes
from lookalike_server.fronts.shared_generation import described
from lookalike_server.generation.current import Current
from lookalike_server.generation.snapshot import Snapshot
from lookalike_server.generation.spaces import Space
from lookalike_server.observe.audit import RecallAudit

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Share:
    """A shared generation. `users` are the fronts that have it; `declined` are those that could not map it."""

    number: int
    collection: CollectionShares
    snapshot: Snapshot
    body: bytes
    users: set[Frames] = field(default_factory=set)
    declined: set[Frames] = field(default_factory=set)
    let_go: Callable[[], None] = lambda: None

    @functools.cached_property
    def spaces(self) -> list[Space]:
        """Spaces of the generation, in the order of its manifest."""
        return [self.snapshot.spaces[name] for name in self.snapshot.reader.manifest.spaces]

    @property
    def is_current(self) -> bool:
        """True if calls may be answered from it, that is, no later change exists.

        That includes changes in the next generation, which fronts are about to serve.
        """
        current = self.collection.current
        newest = current.newest
        return current.view_of(self.snapshot) in (None, self.snapshot) and (newest is None or newest is newest.base)


class Shares:
    """All shared generations of one engine process."""

    def __init__(self, links: Iterable[Frames]) -> None:
        self._links = links
        self._numbers = itertools.count(1)
        self.by_number: dict[int, Share] = {}
        self._collections: list[CollectionShares] = []
        # Pending waits for answers of fronts.
        self._waits: list[_Wait] = []

    def collection(
        self, current: Current, hidden: Callable[[], Iterable[str]], audit: RecallAudit | None
    ) -> CollectionShares:
        """Create the shares of the server's next collection, served by `current`.

        `hidden` is as in SharedGeneration.
        """
        one = CollectionShares(self, len(self._collections), current, hidden, audit)
        self._collections.append(one)
        return one

    def greet(self, link: Frames) -> None:
        """Send the served generations to a new front."""
        newest = [one.newest for one in self._collections]
        there = [number for number, share in enumerate(newest) if share is not None]
        link.send(Kind.GREETED, 0, b"".join(map(as_bytes, there)))
        for share in newest:
            if share is not None:
                link.send(Kind.SHARE, share.number, share.body)

    def received(self, link: Frames, kind: int, number: int) -> None:
        """Handle what a front reports about a generation."""
        share = self.by_number.get(number)
        if kind == Kind.RELEASED and share is not None:
            share.users.discard(link)
            self._check_share(share)
        elif kind == Kind.ADOPTED:
            self._adopted(link, share, number)
        elif kind == Kind.DECLINED and share is not None:
            share.declined.add(link)
        for wait in list(self._waits):
            if wait.number == number and kind in wait.kinds:
                wait.heard(link)

    def _adopted(self, link: Frames, share: Share | None, number: int) -> None:
        if share is None or share not in (share.collection.newest, share.collection.coming):
            # Another one has replaced it while the front mapped it.
            link.send(Kind.DROP, number)
            return
        share.users.add(link)
        if share is share.collection.newest:
            # The front connected after the generation was served.
            link.send(Kind.SERVE, number, as_bytes(share.collection.number))

    def lost(self, link: Frames) -> None:
        """Release what a front used that has disconnected."""
        for share in list(self.by_number.values()):
            share.users.discard(link)
            self._check_share(share)
        for wait in list(self._waits):
            wait.heard(link)

    async def send(self, kind: Kind, number: int, body: bytes, *kinds: Kind) -> None:
        """Send a frame to all fronts, and wait until each has answered with one of `kinds` or has disconnected."""
        links = set(self._links)
        if not links:
            return
        wait = _Wait(number, frozenset(kinds), links)
        self._waits.append(wait)
        try:
            for link in links.copy():
                link.send(kind, number, body)
            await wait.all_heard.wait()
        finally:
            self._waits.remove(wait)

    def open(self, collection: CollectionShares, snapshot: Snapshot) -> Share | None:
        """Share a generation. Return None if it cannot be shared."""
        shared = described(collection.number, snapshot, list(collection.hidden()))
        if shared is None:
            return None
        number = next(self._numbers)
        share = self.by_number[number] = Share(number, collection, snapshot, shared.encoded())
        return share

    def send_late(self, share: Share) -> None:
        """Send a generation to the fronts that connected while others were told of it."""
        for link in set(self._links) - share.users - share.declined:
            link.send(Kind.SHARE, share.number, share.body)

    def close(self, share: Share) -> None:
        """Drop a share once no front uses it."""
        self._check_share(share)

    def _check_share(self, share: Share) -> None:
        in_use = share.users or share in (share.collection.newest, share.collection.coming)
        if not in_use and self.by_number.pop(share.number, None) is not None:
            share.let_go()


class CollectionShares:
    """Shared generations of one collection; the Sharing of its Reloader."""

    def __init__(
        self,
        shares: Shares,
        number: int,
        current: Current,
        hidden: Callable[[], Iterable[str]],
        audit: RecallAudit | None,
    ) -> None:
        self._shares = shares
        self.number = number
        self.current = current
        self.hidden = hidden
        self.audit = audit
        self.newest: Share | None = None
        self.coming: Share | None = None

    async def prepare(self, snapshot: Snapshot) -> None:
        """Let all fronts map a generation that will be served."""
        share = self.coming = self._shares.open(self, snapshot)
        if share is not None:
            await self._shares.send(Kind.SHARE, share.number, share.body, Kind.ADOPTED, Kind.DECLINED)

    async def serve(self) -> None:
        """Let all fronts serve the prepared generation, which is served here from now on, and release the old one."""
        earlier, share, self.coming = self.newest, self.coming, None
        self.newest = share
        if share is not None:
            share.let_go = self.current.hold()
        number = 0 if share is None else share.number
        await self._shares.send(Kind.SERVE, number, as_bytes(self.number), Kind.SERVING)
        if share is not None:
            self._shares.send_late(share)
        if earlier is not None:
            self._shares.close(earlier)

    async def withdraw(self) -> None:
        """Let fronts drop a prepared generation that will not be served."""
        share, self.coming = self.coming, None
        if share is not None:
            for link in list(share.users):
                link.send(Kind.DROP, share.number)
            self._shares.close(share)


@dataclass(eq=False)
class _Wait:
    """Wait for the answers of fronts about one generation."""

    number: int
    kinds: frozenset[Kind]
    left: set[Frames]
    all_heard: asyncio.Event = field(default_factory=asyncio.Event)

    def heard(self, link: Frames) -> None:
        self.left.discard(link)
        if not self.left:
            self.all_heard.set()
