"""The network between a simulated process and its bucket: every call is split in begin, effect and reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from actorflow.errors import StoreUnavailable
from actorflow.store.backend import Backend
from actorflow.store.memory import MemoryBackend
from tests.simulation.schedule import Killed, Stop, in_thread, pause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actorflow.store.backend import Steps
    from tests.simulation.world import Process

T = TypeVar("T")


class Bucket(MemoryBackend):
    """What there is, and what there ever was: the oracle remembers what retention lets go of."""

    def __init__(self) -> None:
        super().__init__()
        self.ever: list[tuple[str, bytes]] = []

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Store if free."""
        new = super().put_new(key, data, durable=durable)
        if new:
            self.ever.append((key, bytes(data)))
        return new


class Call:
    """One call of one process, as the world sees it: it may let its effect come late, or never."""

    def __init__(self, process: Process, number: int, kind: str, key: str, effect: Callable[[], Any]) -> None:
        self.process = process
        self.number = number
        self.kind = kind
        self.key = key
        self.effect = effect

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return self.kind in ("put", "delete")


class LostReply(StoreUnavailable):
    """What the client raises when no reply comes: whether the call took effect is not known."""

    def __init__(self, key: str) -> None:
        super().__init__(key, "timed out")


class Network(Backend):
    """What one process sees of the bucket. Once the process is dead, nothing goes through."""

    ascends = True

    def __init__(self, process: Process, bucket: Backend) -> None:
        self._process = process
        self._bucket = bucket

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Put-if-absent, atomic at one moment between begin and reply."""
        del durable
        return self._call("put", key, lambda: self._bucket.put_new(key, data))

    def putting_new(self, key: str, data: bytes) -> Steps[bool]:
        """`put_new` in steps: from the event loop it is sent, and answered as the world likes."""
        if in_thread():
            yield
            return self.put_new(key, data)
        if self._process.dead:
            raise Killed
        sent = self._process.world.send(lambda: self.put_new(key, data))
        yield sent
        try:
            return sent.result(timeout=0)
        except TimeoutError:  # who stood still for long looks before it has come
            raise LostReply(key) from None

    def get(self, key: str) -> bytes:
        """Read at one moment."""
        return self._call("get", key, lambda: self._bucket.get(key))

    def list(self, prefix: str) -> list[str]:
        """List ascending, page by page: what comes and goes meanwhile is seen only beyond the page being read."""
        found: list[str] = []
        size = self._process.world.page
        while True:
            keys = self._call("list", prefix, lambda: self._bucket.list(prefix))
            page = [key for key in keys if not found or key > found[-1]][:size]
            found += page
            if len(page) < size:
                return found

    def delete(self, keys: Iterable[str]) -> None:
        """Delete at one moment."""
        names = list(keys)
        if names:
            self._call("delete", ",".join(names), lambda: self._bucket.delete(names))

    def _call(self, kind: str, key: str, effect: Callable[[], T]) -> T:
        process = self._process
        if process.dead:
            raise Killed
        call = Call(process, process.calls, kind, key, effect)
        process.calls += 1
        pause(Stop("begin", call=call))
        try:
            return effect()
        finally:
            pause(Stop("effect", call=call))
