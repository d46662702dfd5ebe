"""The bad network of a soak: which fault the next requests to a bucket meet."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from tests.servers.proxy import BlackHole, Proxy, ReplyLost, ResetAfterBody, ResetBeforeBody, Says, Slow

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.servers.proxy import Fault, Reply, Request

MOST = 4  # requests that meet one fault
SILENCE = 8.0  # seconds, at most
DELAY = 3.0  # seconds, at most


class OneAtATime(Proxy):
    """Before an emulator that looks, and then writes: asked for one thing at a time, it creates exclusively."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint)
        self._asking = threading.Lock()

    def ask(self, request: Request, body: bytes) -> Reply:
        """The server's own answer, when it has given the one before."""
        with self._asking:
            return super().ask(request, body)


class BadNetwork:
    """What goes wrong before one server."""

    def __init__(self, proxy: Proxy, chance: random.Random) -> None:
        self._proxy = proxy
        self._chance = chance
        self._names: dict[Fault, str] = {}
        self._met: Counter[str] = Counter()

    def disturb(self) -> None:
        """Arm a fault for some of the next requests."""
        name, make = self._chance.choice(_FAULTS)
        fault = make(self._chance)
        self._names[fault] = name
        self._proxy.arm(fault, self._chance.choice(_AIMS), times=self._chance.randint(1, MOST))

    def heal(self) -> None:
        """No more faults."""
        self.met()
        self._proxy.heal()

    def forget(self) -> None:
        """The proxy keeps what it saw for tests to ask; here it is much, and nobody asks."""
        self._proxy.seen.clear()

    def met(self) -> Counter[str]:
        """How many requests met a fault by now, by its kind."""
        faults, self._proxy.met = self._proxy.met, []
        self._met.update(self._names[fault] for fault in faults)
        return self._met


def _is_commit(request: Request) -> bool:
    return request.method == "PUT" and request.path.endswith(".ckpt")


def _is_put(request: Request) -> bool:
    return request.method == "PUT"


def _is_read(request: Request) -> bool:
    return request.method == "GET"


def _is_any(request: Request) -> bool:
    return True


_AIMS: tuple[Callable[[Request], bool], ...] = (_is_commit, _is_commit, _is_put, _is_read, _is_any)

_FAULTS: tuple[tuple[str, Callable[[random.Random], Fault]], ...] = (
    ("reply lost", lambda _: ReplyLost()),
    ("reset before the body", lambda _: ResetBeforeBody()),
    ("reset after the body", lambda _: ResetAfterBody()),
    ("503, not done", lambda _: Says(503, "SlowDown")),
    ("503, done", lambda _: Says(503, "SlowDown", done=True)),
    ("409, not done", lambda _: Says(409, "ConditionalRequestConflict")),
    ("409, done", lambda _: Says(409, "ConditionalRequestConflict", done=True)),
    ("silence", lambda chance: BlackHole(chance.uniform(0.5, SILENCE), done=chance.random() < 0.5)),
    ("latency", lambda chance: Slow(chance.uniform(0.1, DELAY))),
)

FAULTS = tuple(name for name, _ in _FAULTS)
