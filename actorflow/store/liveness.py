"""Liveness: one opening of a store, and how others know whether it still lives.

An `Incarnation` on local disk holds a lock file that the kernel frees when the
process ends, however it ends. So the death of an owner on this machine is
known at once, without leases, and a stopped process is not taken for dead.
A child of fork neither holds nor releases what its parent holds: it closes
its copy of the descriptor, which never unlocks the parent's.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import weakref
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from actorflow.errors import StoreDenied, StoreError, StoreUnavailable, UnsafeStore
from actorflow.store.backend import Missing
from actorflow.store.frames import Owner
from actorflow.store.keys import HOSTS, lock_key
from actorflow.store.local import TEMP
from actorflow.store.machine import boot_id, host_name, machine_id

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from actorflow.store.local import LocalBackend

_TAKE_ATTEMPTS = 100
_UNLOCKED = ".new"  # follows the name of a lock file that is not locked yet
_LIVING: weakref.WeakValueDictionary[str, Incarnation] = weakref.WeakValueDictionary()


# Held while a lock file is opened and locked: a child forked between the two
# would keep a descriptor that nobody knows to close.
_FORK = threading.RLock()


def _forget_in_child() -> None:
    for incarnation in list(_LIVING.values()):
        incarnation.forget()
    _LIVING.clear()
    _FORK.release()


os.register_at_fork(before=_FORK.acquire, after_in_parent=_FORK.release, after_in_child=_forget_in_child)


class Incarnation(ABC):
    """One opening of a store: who commits, which runs it holds, and whether it is still at work. Thread-safe."""

    gone: frozenset[str] = frozenset()
    """Incarnations of owners whose lock was found free, by name. Nobody ever locks it again, so they stay gone."""

    def __init__(self, url: str) -> None:
        self.name = os.urandom(8).hex()
        self.url = url
        self._mutex = threading.Lock()
        self._held: set[str] = set()
        self._working = 0
        self._over: str | None = None
        _LIVING[self.name] = self

    def owner(self, actor: bytes) -> Owner:
        """Who an actor of this incarnation is, for its commits."""
        return Owner(
            machine=machine_id(),
            boot=boot_id(),
            host=host_name(),
            pid=os.getpid(),
            incarnation=self.name,
            actor=actor,
        )

    def is_dead(self, owner: Owner, encoded: str) -> bool | None:
        """Whether the owner of a run is gone for good; None: it can't be known from here.

        An owner of this very incarnation is gone when its ownership was closed.
        """
        if owner.incarnation == self.name:
            with self._mutex:
                return encoded not in self._held
        return self._is_dead(owner)

    def hold(self, encoded: str) -> bool:
        """Set the run aside for one claimer here; False: it is held already."""
        with self._mutex:
            if encoded in self._held:
                return False
            self._held.add(encoded)
            return True

    def drop(self, encoded: str) -> None:
        """The run is free to be claimed again."""
        with self._mutex:
            self._held.discard(encoded)

    def working(self) -> AbstractContextManager[None]:
        """While in this block something is being written: the lock is not released before it ends.

        Raises:
            StoreUnavailable: the store was closed, or this process was forked from the one that opened it.
        """
        return _Working(self)

    def close(self) -> None:
        """Nothing new from now on; what is being written ends first, then the lock is released."""
        with self._mutex:
            if self._over is None:
                self._over = "this store was closed; open it again"
                if self._working == 0:
                    self._release()

    def forget(self) -> None:
        """In a forked child: what the parent holds is not ours."""
        self._mutex = threading.Lock()  # another thread of the parent may hold the old one for ever
        self._over = "it was opened before this process was forked; open it again here"
        self._working += 1  # so that nobody releases: there is nothing of ours to release
        self._abandon()

    def work(self) -> None:
        """Something begins to be written; see `working`."""
        with self._mutex:
            if self._over is not None:
                raise StoreUnavailable(self.url, self._over)
            self._working += 1

    def worked(self) -> None:
        """It has ended."""
        with self._mutex:
            self._working -= 1
            if self._over is not None and self._working == 0:
                self._release()

    @abstractmethod
    def take(self) -> None:
        """Be seen to live. Before the first claim; once is enough."""

    @abstractmethod
    def _is_dead(self, owner: Owner) -> bool | None: ...

    @abstractmethod
    def _release(self) -> None: ...

    @abstractmethod
    def _abandon(self) -> None: ...


class _Working:
    """`Incarnation.working`; a class, since a commit enters one, and a generator takes twice as long."""

    __slots__ = ("_incarnation",)

    def __init__(self, incarnation: Incarnation) -> None:
        self._incarnation = incarnation

    def __enter__(self) -> None:
        self._incarnation.work()

    def __exit__(self, *raised: object) -> None:
        self._incarnation.worked()


class MemoryIncarnation(Incarnation):
    """An opening of a store in memory: it lives as long as it is open in this process."""

    def take(self) -> None:
        """Nothing to do: `_LIVING` has it since it was made."""

    def _is_dead(self, owner: Owner) -> bool:
        return owner.incarnation not in _LIVING

    def _release(self) -> None:
        _LIVING.pop(self.name, None)

    def _abandon(self) -> None:
        pass


class LocalIncarnation(Incarnation):
    """An opening of a store on local disk: it lives as long as its lock file is locked."""

    def __init__(self, backend: LocalBackend, *, readonly: bool = False) -> None:
        super().__init__(backend.root)
        self._backend = backend
        self._readonly = readonly
        self._unlock: weakref.finalize[[int], LocalIncarnation] | None = None
        self._swept: frozenset[str] | None = None  # who was known to be gone at the last sweep
        backend.mark = f"{machine_id()}-{self.name}"

    def take(self) -> None:
        """Lock a file of our own, and clear away those of the dead.

        Raises:
            StoreDenied: the store was opened to be read only.
        """
        if self._readonly:
            raise StoreDenied(self.url, "it was opened to be read only")
        with self._mutex:
            if self._unlock is not None:
                return
            self._lock()
        folder = f"{HOSTS}{machine_id()}/"
        for name in self._backend.names(folder):
            if name.endswith((".lock", f".lock{_UNLOCKED}")) and self._is_free(folder + name):
                self._backend.delete([folder + name])
        self.sweep()

    def others(self) -> list[str]:
        """The other incarnations that have the store open on this machine, by name."""
        names = self._backend.names(f"{HOSTS}{machine_id()}/")
        found = (name.removesuffix(".lock") for name in names if name.endswith(".lock"))
        return sorted(name for name in found if self.is_gone(machine_id(), name) is False and name != self.name)

    def sweep(self) -> None:
        """Clear away temporary files of incarnations that have ended, unless no other has ended since, as is known."""
        gone = self.gone
        if gone is not self._swept:
            self._backend.delete(self.litter())
            self._swept = gone

    def litter(self) -> list[str]:
        """The temporary files of incarnations that have ended."""
        found: list[str] = []
        for name in self._backend.names(""):
            if name.startswith(TEMP):
                machine, _, incarnation = name.removeprefix(TEMP).rpartition("-")[0].partition("-")
                if self.is_gone(machine, incarnation):
                    found.append(name)
        return sorted(found)

    def is_gone(self, machine: str, incarnation: str) -> bool | None:
        """Whether that incarnation has ended; None if it was on another machine."""
        if incarnation == self.name:
            return False
        if machine != machine_id():
            return None
        return self._is_free(lock_key(machine, incarnation))

    def _is_free(self, key: str) -> bool:
        try:
            fd = self._backend.open(key, os.O_RDONLY)
        except Missing:
            return True  # whoever closes in order removes its file, and so does who finds it unlocked
        try:
            # Shared, so that two who look at once don't take each other for the owner.
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            return True
        finally:
            os.close(fd)

    def _is_dead(self, owner: Owner) -> bool | None:
        if owner.incarnation in self.gone:
            return True
        gone = self.is_gone(owner.machine, owner.incarnation)
        if gone:  # and it had its lock, or it would own nothing; before that, a free one proves nothing
            self.gone |= {owner.incarnation}
        return gone

    def _lock(self) -> None:
        # Under its own name the file appears locked: a cleaner that found it free could delete it after it was locked,
        # and then everybody would take us for dead.
        key = lock_key(machine_id(), self.name)
        for _ in range(_TAKE_ATTEMPTS):
            with _FORK:
                fd = self._backend.open(key + _UNLOCKED, os.O_RDWR | os.O_CREAT, create=True)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._backend.rename(key + _UNLOCKED, key)
                except (BlockingIOError, Missing):
                    os.close(fd)
                except StoreError:
                    os.close(fd)
                    raise
                except OSError as error:
                    os.close(fd)
                    raise UnsafeStore(self.url, f"its file system has no locks ({error.strerror})") from error
                else:
                    # Also when nobody closes us: once we are forgotten, nobody can commit in our name.
                    self._unlock = weakref.finalize(self, os.close, fd)
                    self._unlock.atexit = False
                    return
            # Somebody looked between our open and our lock, and cleared the file away as a dead one's.
            time.sleep(0.001)
        raise StoreUnavailable(self._backend.path(key), "its lock can't be taken")

    def _release(self) -> None:
        _LIVING.pop(self.name, None)
        if self._unlock is not None:
            try:
                self._backend.delete([lock_key(machine_id(), self.name)])
            finally:
                self._unlock()

    def _abandon(self) -> None:
        if self._unlock is not None:
            self._unlock()
