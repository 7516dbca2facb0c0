"""Watchdog thread that kills a process without a heartbeat, or one that answers too late."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess

# Intervals of the heartbeat, and of the checks.
_BEAT_S = 0.25
_LOOK_S = 0.25


def beat(beats: ctypes.c_ulonglong) -> None:
    """Start a thread that increments a counter in shared memory while this process's interpreter runs."""

    def count() -> None:
        while True:
            beats.value += 1
            time.sleep(_BEAT_S)

    threading.Thread(target=count, name="pulse", daemon=True).start()


class Watchdog:
    """Watches one process, whose `beat` increments `beats`, and kills it when it has hung.

    Time is counted in checks, not by the clock: if this process was suspended, the other is not to
    blame. Before the kill, the watchdog's thread calls `on_hang` with the reason.
    """

    def __init__(
        self, process: SpawnProcess, beats: ctypes.c_ulonglong, silence_s: float, on_hang: Callable[[str], None]
    ) -> None:
        self._process = process
        self._beats = beats
        self._silence_s = silence_s
        self._on_hang = on_hang
        self._lock = threading.Lock()
        self._silent_s = self._taken_s = 0.0
        self._silence_allowed_s = silence_s
        self._limit_s: float | None = None
        # Why it was killed; "" if it was not.
        self.verdict = ""
        # True if it sent heartbeats but answered too late.
        self.late = False
        threading.Thread(target=self._watch, name=f"watchdog/{process.name}", daemon=True).start()

    @property
    def suspects(self) -> bool:
        """True if the process has been silent for half of the time after which it is killed."""
        return self._silent_s > self._silence_allowed_s / 2

    @contextmanager
    def within(self, limit_s: float, silence_s: float | None = None) -> Iterator[None]:
        """For the block, allow the process `limit_s` seconds in total, and `silence_s` without a heartbeat."""
        with self._lock:
            self._taken_s = 0.0
            self._limit_s, self._silence_allowed_s = limit_s, silence_s or self._silence_s
        try:
            yield
        finally:
            with self._lock:
                self._limit_s, self._silence_allowed_s = None, self._silence_s

    def _watch(self) -> None:
        seen = self._beats.value
        while not wait([self._process.sentinel], _LOOK_S):
            now = self._beats.value
            with self._lock:
                self._silent_s = 0.0 if now != seen else self._silent_s + _LOOK_S
                self._taken_s += _LOOK_S
                seen = now
                self.verdict = self._judged()
            if self.verdict:
                self._on_hang(self.verdict)
                # Callers that wait for the process read the verdict once it has ended.
                self._process.kill()
                return

    def _judged(self) -> str:
        if self._silent_s > self._silence_allowed_s:
            return f"sent no heartbeat for {self._silence_allowed_s:g} s"
        if self._limit_s is not None and self._taken_s > self._limit_s:
            self.late = True
            return f"took longer than {self._limit_s:g} s"
        return ""
