"""A process as its store sees it, and the operation at which it dies or loses its connection."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from msgspec import Struct

from actorflow.errors import StoreUnavailable
from actorflow.store.wrappers import WrappedBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actorflow.store.backend import Backend

T = TypeVar("T")

Kind = Literal["before", "after", "landed", "dropped"]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""What can befall a process at an operation.

``before`` and ``after`` kill it: before the operation takes effect, or when it did and nobody heard. ``landed`` and
``dropped`` are the two halves of an ambiguous outcome: the process lives on with an error that says that no reply came.
"""


class Killed(BaseException):
    """The process is dead. No `Exception`, as a SIGKILL is none: nothing that a process does can go on after it."""


class Operation(Struct, frozen=True):
    """One call of a backend, or the passing of a named point in the code that writes to a local disk."""

    call: Literal["put", "get", "list", "delete", "pass"]
    key: str  # of a deletion the first one, of a listing the prefix, of a point its name

    def __str__(self) -> str:
        return f"{self.call} {self.key}".rstrip()

    @property
    def writes(self) -> bool:
        """Whether it changes the store."""
        return self.call in ("put", "delete")


class Fault(Struct, frozen=True):
    """What befalls a process, and at which of its operations, counted from 1. Written as ``7:after``."""

    number: int
    kind: Kind

    def __str__(self) -> str:
        return f"{self.number}:{self.kind}"

    def befalls(self, operation: Operation) -> bool:
        """Whether it differs from the other faults there: what changes nothing makes no difference by landing."""
        if operation.call == "pass":
            return self.kind == "before"
        return operation.writes or self.kind in ("before", "dropped")


def parse_faults(text: str) -> tuple[Fault, ...]:
    """Faults of one process after the other, as in ``7:after 3:dropped``.

    Raises:
        ValueError: they are written otherwise.
    """
    return tuple(_parse(word) for word in text.split())


def _parse(word: str) -> Fault:
    number, _, name = word.partition(":")
    for kind in KINDS:
        if kind == name and number.isdecimal() and int(number) > 0:
            return Fault(int(number), kind)
    raise ValueError(f"{word!r} is no fault: write the number of an operation and one of {', '.join(KINDS)}: 7:after")


class Process:
    """A process as its store sees it: its operations, one at a time, up to the one at which something befalls it.

    Each operation has a number, and none is half done when its process dies. Thread-safe.
    """

    def __init__(self, fault: Fault | None) -> None:
        self.operations: list[Operation] = []
        """Those that were begun."""
        self.acknowledged: dict[str, bytes] = {}
        """What it was told is stored, by key; of a local disk this is not known."""
        self.dead = False
        self.struck: Operation | None = None
        """Where the fault befell it."""
        self._fault = fault
        self._mutex = threading.Lock()

    def make(self, operation: Operation, effect: Callable[[], T]) -> T:
        """Make an operation, or be befallen there.

        Raises:
            Killed: it is dead, by now or since long.
            StoreUnavailable: it hears no reply.
        """
        with self._mutex:
            if self.dead:
                raise Killed
            self.operations.append(operation)
            if self._fault is None or self._fault.number != len(self.operations):
                return effect()
            self.struck = operation
            if self._fault.kind in ("after", "landed"):
                effect()
            if self._fault.kind in ("before", "after"):
                self.dead = True
                raise Killed
            raise StoreUnavailable(operation.key, "no reply came; it may have taken effect")


class CrashingBackend(WrappedBackend):
    """What one process has of a backend. When it is dead, nothing of it reaches the store any more. Thread-safe."""

    def __init__(self, inner: Backend, process: Process) -> None:
        super().__init__(inner)
        self._process = process

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Put, unless the process dies."""
        process = self._process
        done = process.make(Operation("put", key), lambda: self.inner.put_new(key, data, durable=durable))
        if done and durable:
            process.acknowledged[key] = data
        return done

    def get(self, key: str) -> bytes:
        """Get, unless the process dies."""
        return self._process.make(Operation("get", key), lambda: self.inner.get(key))

    def list(self, prefix: str) -> list[str]:
        """List, unless the process dies."""
        return self._process.make(Operation("list", prefix), lambda: self.inner.list(prefix))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete, unless the process dies."""
        names = [*keys]
        self._process.make(Operation("delete", names[0] if names else ""), lambda: self.inner.delete(names))
