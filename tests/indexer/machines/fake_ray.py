"""Fake of the part of Ray that the driver of a cluster needs, in this process."""

from __future__ import annotations

from lookalike_indexer.machines.machines import Machines
from lookalike_indexer.machines.session_worker import SessionWorker


def machines_without_ray(monkeypatch, addresses, losses=0, at=1):
    """Return machines at some addresses. `losses` workers are lost, each when it would return its item `at`, from 0."""
    monkeypatch.setattr(Machines, "_place", lambda *_: {})
    monkeypatch.setattr("lookalike_indexer.machines.machines._LOOK_EVERY_S", 0.0)
    return Machines(_FakeRay(addresses, losses, at), "10.0.0.1:6379")


class _GoneError(Exception):
    pass


class _LateError(_GoneError):
    pass


class _FakeRay:
    """The part of Ray that `Machines` needs: workers are real, in this process, and their calls run immediately.

    `losses` is the number of workers that are lost, each when it would return its item or answer number `at`, from 0.
    """

    class exceptions:  # noqa: N801
        RayError = _GoneError
        GetTimeoutError = _LateError

    def __init__(self, addresses, losses=0, at=1):
        self.addresses, self.losses, self.at = addresses, losses, at

    def nodes(self):
        return [
            {"Alive": True, "NodeID": name, "NodeManagerAddress": name, "Resources": {"CPU": 2.0}}
            for name in self.addresses
        ]

    def put(self, value):
        return value

    def get(self, value, timeout=None):
        if isinstance(value, _GoneError):
            raise value
        return value

    def kill(self, actor):
        pass

    def wait(self, streams, num_returns, timeout, fetch_local):
        # The worker with the fewest results, so that all take turns.
        return sorted(streams, key=lambda stream: stream.told)[:1], []

    def remote(self, kind):
        if kind is SessionWorker:
            return _Call(lambda *arguments: _SessionActor(self, kind(*arguments)))
        if isinstance(kind, type):
            return _Call(lambda *arguments: _Actor(self, kind(*arguments)))
        return _Call(kind)


class _Call:
    def __init__(self, call):
        self.remote = call

    def options(self, **_):
        return self


class _Actor:
    def __init__(self, ray, worker):
        self.feed, self.end = _Call(worker.feed), _Call(worker.end)
        self.work = _Call(lambda make: _Stream(ray, worker.work(make)))


class _SessionActor:
    def __init__(self, ray, worker):
        self._ray, self._worker, self._answered, self._gone = ray, worker, 0, False
        self.ready, self.answer = _Call(worker.ready), _Call(self._answer)

    def _answer(self, request):
        if self._answered == self._ray.at and self._ray.losses:
            self._ray.losses -= 1
            self._gone = True
        if self._gone:
            return _GoneError("the worker died")
        self._answered += 1
        return self._worker.answer(request)


class _Stream:
    def __init__(self, ray, reports):
        self._ray, self._reports, self.told, self._done = ray, reports, 0, 0

    def __next__(self):
        self.told += 1
        report = next(self._reports)
        if report.done and self._done == self._ray.at and self._ray.losses:
            self._ray.losses -= 1
            return _GoneError("the worker died")
        self._done += report.done
        return report
