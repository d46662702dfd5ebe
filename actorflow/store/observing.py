"""Observing: backends that log or count the calls which pass through them."""

from __future__ import annotations

import logging
import threading
import time
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from actorflow.store.backend import Backend, Missing
from actorflow.store.wrappers import WrappedBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

Kind = Literal["put_new", "get", "list", "delete"]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a backend, after it."""

    kind: Kind
    key: str
    """Or the prefix of a listing, or the first key of a deletion."""
    keys: int = 0
    """How many were created, read, listed or deleted: a put that found its key taken created none."""
    bytes: int = 0
    """Created or read."""
    seconds: float
    error: BaseException | None = None

    @property
    def failed(self) -> bool:
        """Whether it raised; `Missing` is an answer."""
        return self.error is not None and not isinstance(self.error, Missing)


class ObservedBackend(WrappedBackend):
    """A backend that shows every call to `saw`; subclass it."""

    @abstractmethod
    def saw(self, call: Call) -> None:
        """Called after each call, in the thread that made it."""

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """As ``inner`` does it."""
        put = self.inner.put_new
        return self._observe(
            "put_new", key, lambda: put(key, data, durable=durable), lambda new: (int(new), new * len(data))
        )

    def get(self, key: str) -> bytes:
        """As ``inner`` does it."""
        return self._observe("get", key, lambda: self.inner.get(key), lambda data: (1, len(data)))

    def list(self, prefix: str) -> list[str]:
        """As ``inner`` does it."""
        return self._observe("list", prefix, lambda: self.inner.list(prefix), lambda keys: (len(keys), 0))

    def delete(self, keys: Iterable[str]) -> None:
        """As ``inner`` does it."""
        names = [*keys]
        first = names[0] if names else ""
        self._observe("delete", first, lambda: self.inner.delete(names), lambda _: (len(names), 0))

    def _observe(self, kind: Kind, key: str, call: Callable[[], T], measure: Callable[[T], tuple[int, int]]) -> T:
        started = time.perf_counter()
        try:
            result = call()
        except BaseException as error:
            self.saw(Call(kind=kind, key=key, seconds=time.perf_counter() - started, error=error))
            raise
        keys, size = measure(result)
        self.saw(Call(kind=kind, key=key, keys=keys, bytes=size, seconds=time.perf_counter() - started))
        return result


class LoggingBackend(ObservedBackend):
    """Every call as one line: what, which key, how many keys and bytes, how long, and the error if it failed."""

    def __init__(self, inner: Backend, *, logger: logging.Logger | None = None, level: int = logging.DEBUG) -> None:
        super().__init__(inner)
        self._logger = logger or logging.getLogger("actorflow.store")
        self._level = level

    def saw(self, call: Call) -> None:
        """Log it."""
        outcome = f"{call.keys} keys, {call.bytes} bytes" if call.error is None else repr(call.error)
        self._logger.log(self._level, "%s %s: %s, %.4f s", call.kind, call.key, outcome, call.seconds)


@dataclass(frozen=True)
class CallStatistics:
    """What the calls of one kind amount to so far."""

    calls: int = 0
    failures: int = 0
    keys: int = 0
    bytes: int = 0
    seconds: float = 0.0
    """Added up over all threads."""


class MetricsBackend(ObservedBackend):
    """Counts calls, failures, keys, bytes and seconds, per kind of call."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self._statistics: dict[Kind, CallStatistics] = {
            "put_new": CallStatistics(),
            "get": CallStatistics(),
            "list": CallStatistics(),
            "delete": CallStatistics(),
        }

    def saw(self, call: Call) -> None:
        """Count it."""
        with self._lock:
            before = self._statistics[call.kind]
            self._statistics[call.kind] = replace(
                before,
                calls=before.calls + 1,
                failures=before.failures + call.failed,
                keys=before.keys + call.keys,
                bytes=before.bytes + call.bytes,
                seconds=before.seconds + call.seconds,
            )

    def statistics(self) -> dict[Kind, CallStatistics]:
        """All of it, as of now."""
        with self._lock:
            return dict(self._statistics)
