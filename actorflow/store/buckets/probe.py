"""The probe: try whether a backend really creates exclusively, since some say so and don't.

A trial proves nothing about what was not tried. But servers that ignore the
condition, and clients that look first and write then, are found by it.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from actorflow.errors import StoreError, StoreUnavailable, UnsafeStore
from actorflow.store.backend import Missing
from actorflow.store.keys import PROBE

if TYPE_CHECKING:
    from actorflow.store.backend import Backend

ROUNDS = 20
RACERS = 16
_SIZE = 16 * 1024  # bytes: large enough for a torn file to be seen


def probe(backend: Backend, where: str, *, rounds: int = ROUNDS, racers: int = RACERS) -> None:
    """Put, race, list and delete under a name of its own, and leave nothing behind.

    Raises:
        UnsafeStore: naming what failed.
    """
    trial = _Trial(backend, where)
    try:
        trial.create_twice()
        trial.race(rounds, racers)
        trial.list_and_delete()
    except StoreError:
        with suppress(StoreError):  # what was found out is the news, not that it can't be cleaned up
            trial.clean()
        raise
    trial.clean()


class _Trial:
    def __init__(self, backend: Backend, where: str) -> None:
        self._backend = backend
        self._where = where
        self._prefix = f"{PROBE}{os.urandom(8).hex()}/"
        self._keys: list[str] = []
        self._there: dict[str, bytes] = {}

    def create_twice(self) -> None:
        """One after the other, also without content, as markers are."""
        for first, second in ((b"first", b"second"), (b"first", b""), (b"", b"second"), (b"", b"")):
            key = self._key()
            if not self._backend.put_new(key, first) and self._read(key) != first:
                raise self._unsafe("a free key was said to be taken")
            if self._backend.put_new(key, second):
                raise self._unsafe("it created one key twice, as if it had not been there")
            if self._read(key) != first:
                raise self._unsafe("it said that a key was taken, and replaced what was there")
            self._there[key] = first

    def race(self, rounds: int, racers: int) -> None:
        """Many at once for one key, again and again."""
        barrier = threading.Barrier(racers)
        drafts = [bytes([number]) * _SIZE for number in range(racers)]

        def run(key: str, data: bytes) -> bool | StoreUnavailable:
            barrier.wait()
            try:
                won = self._backend.put_new(key, data)
            except StoreUnavailable as error:  # busy, or unclear: what is there afterwards tells
                return error
            if data in (drafts[0], drafts[-1]):  # who comes early and who comes late; all would cost too much
                self._read_whole(key)
            return won

        with ThreadPoolExecutor(racers) as pool:
            for _ in range(rounds):
                key = self._key()
                won = list(pool.map(run, [key] * racers, drafts))
                told = [outcome for outcome in won if not isinstance(outcome, StoreUnavailable)]
                if not told:
                    raise StoreUnavailable(self._where, f"it was too busy to be tried: {won[0]}")
                there = self._read(key)
                winners = [data for data, outcome in zip(drafts, won, strict=True) if outcome is True]
                if len(winners) > 1:
                    raise self._unsafe(f"{len(winners)} of {racers} who raced for one key were told that they have it")
                if there not in (winners or drafts):
                    raise self._unsafe("who was told to have a key reads what another one wrote")
                self._there[key] = there

    def list_and_delete(self) -> None:
        """What is there is listed and can be read, what is deleted is gone."""
        if self._backend.list(self._prefix) != sorted(self._there):
            raise self._unsafe("its listing does not show just what is there")
        for key, data in self._there.items():
            if self._read(key) != data:
                raise self._unsafe("what was there changed")
        gone = next(iter(self._there))
        self._backend.delete([gone])
        try:
            self._backend.get(gone)
        except Missing:
            pass
        else:
            raise self._unsafe("what was deleted can still be read")
        del self._there[gone]
        if self._backend.list(self._prefix) != sorted(self._there):
            raise self._unsafe("its listing still shows what was deleted")

    def clean(self) -> None:
        """Remove what the trial made."""
        self._backend.delete(self._keys)

    def _key(self) -> str:
        self._keys.append(f"{self._prefix}{len(self._keys):04d}")
        return self._keys[-1]

    def _read(self, key: str) -> bytes:
        try:
            return self._backend.get(key)
        except Missing:
            raise self._unsafe("what was just created can't be read") from None

    def _read_whole(self, key: str) -> None:
        data = self._read(key)
        if len(data) != _SIZE or data.count(data[:1]) != _SIZE:
            raise self._unsafe("half of what is being created can be read")

    def _unsafe(self, what: str) -> UnsafeStore:
        return UnsafeStore(self._where, f"two processes could own one run there: {what}; use another store")
