"""Scheduling: threads that run one at a time, in an order that a seed decides, by a clock that only trio moves.

The runtime calls the store in worker threads. Here each such call has a
thread to itself that holds the baton until it comes to a stop (before and
after the effect of a call, a sleep, a lock that is taken) and hands it back;
trio, seeded, decides who goes on. So one seed is one order of everything.
"""

from __future__ import annotations

import contextvars
import os
import random
import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio
from trio._core import _run as trio_run
from trio.testing import MockClock

from actorflow.runtime import replies

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

EPOCH = 1_800_000_000.0
"""Where virtual time begins, in seconds since 1970."""

_real_sleep = time.sleep
_here = threading.local()


class Killed(BaseException):
    """The process is dead: what it still does has no effect, and it can't be caught as an Exception."""


class Stop:
    """Why a thread handed the baton back: where it is in which call, or how long it sleeps."""

    def __init__(self, point: str, *, call: Any = None, seconds: float = 0.0) -> None:
        self.point = point
        self.call = call
        self.seconds = seconds


class Hop:
    """Blocking work that has a thread to itself, which runs only between `advance` and its next stop."""

    def __init__(self, work: Callable[[], Any], *, idle: list[Hand]) -> None:
        self._work = partial(contextvars.copy_context().run, work)
        self._idle = idle
        self._hand = idle.pop() if idle else Hand()
        self._stop: Stop | None = None
        self._fate: BaseException | None = None
        self._value: Any = None
        self._error: BaseException | None = None

    def advance(self, fate: BaseException | None = None) -> Stop | None:
        """Let it run to its next stop, or raise ``fate`` in it where it stands; None: it has come to its end."""
        self._fate = fate
        self._hand.go_on(self)
        return self._stop

    def result(self) -> Any:
        """What the work returned, or raise what it raised."""
        self._idle.append(self._hand)
        if self._error is not None:
            raise self._error
        return self._value

    def pause(self, stop: Stop) -> None:
        """In its own thread: hand the baton back, and wait for it."""
        self._stop = stop
        self._hand.stand()
        if self._fate is not None:
            raise self._fate

    def run(self) -> None:
        """In its own thread: all of it."""
        _here.hop = self
        try:
            self._value = self._work()
        except BaseException as error:  # noqa: BLE001 - raised again in the task that waits
            self._error = error
        self._stop = None


class Hand:
    """A thread for one hop after the other: to start one for each takes longer than most hops."""

    def __init__(self) -> None:
        self._turn, self._over = threading.Lock(), threading.Lock()
        self._turn.acquire()
        self._over.acquire()
        self._hop: Hop | None = None
        self._thread = threading.Thread(target=self._run, name="simulated", daemon=True)
        self._thread.start()

    def go_on(self, hop: Hop) -> None:
        """Begin with this hop, or go on with it; back when it stands, or is over."""
        self._hop = hop
        self._turn.release()
        self._over.acquire()

    def stand(self) -> None:
        """In the thread itself: back when the hop goes on."""
        self._over.release()
        self._turn.acquire()

    def leave(self) -> None:
        """No more hops."""
        self._hop = None
        self._turn.release()
        self._thread.join()

    def _run(self) -> None:
        self._turn.acquire()
        while self._hop is not None:
            self._hop.run()
            self.stand()


def pause(stop: Stop) -> None:
    """Hand the baton back, from wherever the store's code is. Outside the simulation's threads this does nothing."""
    hop: Hop | None = getattr(_here, "hop", None)
    if hop is not None:
        hop.pause(stop)


def in_thread() -> bool:
    """Whether this is one of the simulation's threads, and not its event loop."""
    return getattr(_here, "hop", None) is not None


class BatonLock:
    """A lock among threads of which one runs at a time: who finds it taken hands the baton back until it is free."""

    def __init__(self) -> None:
        self._taken = False

    def __enter__(self) -> None:
        while self._taken:
            assert in_thread(), "the event loop waits for a lock held over a store call"
            pause(Stop("lock", seconds=0.001))
        self._taken = True

    def __exit__(self, *_: object) -> None:
        self._taken = False


class _Threading:
    """The module ``threading``, with locks that pass the baton."""

    Lock = BatonLock

    def __getattr__(self, name: str) -> Any:
        return getattr(threading, name)


@contextmanager
def simulated(
    seed: int, at: Callable[[Stop], Awaitable[BaseException | None]], *, skew: Callable[[], float] = float
) -> Iterator[MockClock]:
    """Within this block threads, clocks, randomness and trio's order are the seed's.

    Args:
        seed: decides all of it.
        at: awaited whenever a thread has stopped; it returns when that thread may go on, with what to raise there.
        skew: by how many seconds the wall clock of whoever asks is off.
    """

    async def run_sync(work: Callable[..., Any], *args: Any, limiter: Any = None, **_: Any) -> Any:
        async with limiter or nullcontext():
            with trio.CancelScope(shield=True):  # as a real thread, which nobody can cancel
                hop = Hop(partial(work, *args), idle=idle)
                stop = hop.advance()
                while stop is not None:
                    stop = hop.advance(await at(stop))
                return hop.result()

    def sleep(seconds: float) -> None:
        if in_thread():
            pause(Stop("sleep", seconds=seconds))
        else:
            _real_sleep(seconds)

    idle: list[Hand] = []
    clock, kept = MockClock(autojump_threshold=0), random.getstate()
    chance = Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
        patch.setattr(trio_run, "_r", Random(chance.random()))
        patch.setattr(anyio.to_thread, "run_sync", run_sync)
        patch.setattr(replies, "_from_any_thread", lambda: lambda call: call())  # there is but one thread at a time
        patch.setattr(os, "urandom", chance.randbytes)
        patch.setattr(random, "_urandom", chance.randbytes)  # as `secrets` has it
        patch.setattr(time, "time", lambda: EPOCH + clock.current_time() + skew())
        patch.setattr(time, "time_ns", lambda: int((EPOCH + clock.current_time() + skew()) * 1e9))
        patch.setattr(time, "monotonic", clock.current_time)
        patch.setattr(time, "perf_counter", clock.current_time)
        patch.setattr(time, "sleep", sleep)
        for name, module in list(sys.modules.items()):
            if name.startswith("actorflow.store") and getattr(module, "threading", None) is threading:
                patch.setattr(module, "threading", _Threading())
        random.seed(chance.random())
        try:
            yield clock
        finally:
            random.setstate(kept)
            for hand in idle:
                hand.leave()
