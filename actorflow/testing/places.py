"""Where a lifetime is lived: in a backend, or in a folder with the log of local disks; each time in an empty one."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING

from actorflow.store.crashpoints import listening
from actorflow.store.keys import HOSTS, checkpoint_seq, encode_id, log_prefix
from actorflow.store.store import open_store
from actorflow.testing.crashing import CrashingBackend, Operation

if TYPE_CHECKING:
    import os
    from collections.abc import Generator
    from contextlib import AbstractContextManager

    from actorflow.store.backend import Backend
    from actorflow.store.store import Store
    from actorflow.testing.crashing import Process


class Place(ABC):
    """The store of one lifetime."""

    @abstractmethod
    def given_to(self, process: Process) -> AbstractContextManager[Backend | str]:
        """Within this block the process is at work; what its `Runtime` takes as its store."""

    @abstractmethod
    def bury(self) -> None:
        """Let nobody wait for whoever is dead."""

    @abstractmethod
    def newest(self, run_id: str) -> int:
        """The number of the newest commit of a run; -1 if there is none."""

    @abstractmethod
    def look(self) -> Store:
        """The store as it really is.

        Raises:
            NoSuchStore: there is none yet.
        """


class Bucket(Place):
    """A backend: each call is an operation."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @contextmanager
    def given_to(self, process: Process) -> Generator[Backend]:
        """The backend, as long as the process lives."""
        yield CrashingBackend(self._backend, process)

    def bury(self) -> None:
        """As after a lease: who did not leave in order is taken for dead."""
        self._backend.delete(self._backend.list(HOSTS))

    def newest(self, run_id: str) -> int:
        """By the names alone."""
        names = (key.rpartition("/")[2] for key in self._backend.list(log_prefix(encode_id(run_id))))
        return max((seq for name in names if (seq := checkpoint_seq(name)) is not None), default=-1)

    def look(self) -> Store:
        """Without a heartbeat."""
        return open_store(self._backend, readonly=True)


class Folder(Place):
    """A folder of the local disk: each point between its system calls is an operation."""

    def __init__(self, parent: str | os.PathLike[str]) -> None:
        self._root = tempfile.mkdtemp(dir=parent)

    @contextmanager
    def given_to(self, process: Process) -> Generator[str]:
        """The folder; a dead process passes no point of it any more, and it writes nothing without passing one."""
        with listening(lambda point: process.make(Operation("pass", point), lambda: None)):
            yield self._root

    def bury(self) -> None:
        """Nothing: its lock went with the process."""

    def newest(self, run_id: str) -> int:
        """By reading its header."""
        tip = self.look().log(run_id).tip()
        return -1 if tip is None else tip.header.seq

    def look(self) -> Store:
        """Without a lock."""
        return open_store(self._root, readonly=True)
