"""A clock that a test holds: time jumps to the next deadline when nothing else goes on, and else stands still."""

from __future__ import annotations

import math
import threading
import time
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, Self

import anyio
from anyio import Event
from msgspec import Struct

from actorflow.runtime import clock
from actorflow.runtime.clock import Clock
from actorflow.testing.pacing import loop_of_this_task

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType, TracebackType

    from actorflow.testing.pacing import PacedLoop

PATIENCE = 0.05
"""Seconds that are really waited for a socket or a process, by default, before time goes on without it."""


STUCK = 1.0
"""Seconds after which a worker thread may be one that waits for time to pass."""


class _Rest(Struct, eq=False):
    """Somebody between two looks at the store."""

    due: float  # on the loop's clock
    really_due: float  # on the machine's
    over: Event


class VirtualClock(Clock):
    """Time for a test: the event loop's, and what `Runtime` takes for wall time. A week passes in a millisecond.

    While tasks run, and while worker threads do (calls of the store, sync nodes), it
    stands still. When everybody waits, it jumps to the next deadline: a timer, a
    sleep of a node, the pause before a retry or a restart, the time limit of a node or
    of a question; and any `anyio.sleep` and `anyio.fail_after`, the test's own, too.
    What only looks at the store now and then is no deadline.

    It can't see what comes from outside. While the loop listens to a socket or a
    process, it waits ``patience`` real seconds each time before it jumps; a
    server that takes longer finds that its caller's time is up. Then use ``auto=False``,
    with which time moves only by `advance`. While a thread takes longer than a second, time
    goes on as fast as it really does, lest it wait for somebody who sleeps; and so it does
    where nothing is due at all.

    Enter it before the runtime, and leave it after. One at a time; asyncio's own loops,
    and trio's.

    Args:
        start: seconds since 1970, or a datetime with a time zone; by default now, in whole seconds.
        auto: jump whenever nothing else goes on.
        patience: see above.

    Example:
        >>> import anyio
        >>> from actorflow import Graph, Retry, Runtime, State
        >>> from actorflow.testing import VirtualClock
        >>> class Job(State):
        ...     tries: int = 0
        >>> job, tries = Graph("job", Job), []
        >>> @job.node(retry=Retry(attempts=3, backoff=3600, max_backoff=86_400, jitter=0))
        ... async def work(state: Job):
        ...     tries.append(1)
        ...     if len(tries) < 3:
        ...         raise ConnectionError
        ...     return {"tries": len(tries)}
        >>> async def main():
        ...     async with VirtualClock() as clock, Runtime("memory://") as rt:
        ...         print(await rt.run(job))
        ...         print(clock.elapsed / 3600, "hours")
        >>> anyio.run(main)
        Job(tries=3)
        3.0 hours
    """

    def __init__(self, start: float | datetime | None = None, *, auto: bool = True, patience: float = PATIENCE) -> None:
        if isinstance(start, datetime):
            if start.tzinfo is None:
                raise ValueError(f"start={start}: give it a time zone, say tzinfo=datetime.UTC")
            start = start.timestamp()
        if not patience >= 0:  # NaN is neither
            raise ValueError(f"patience={patience}: give a number of seconds that is not below 0")
        self.auto = auto
        self.patience = patience
        self._start = float(math.floor(time.time()) if start is None else start)
        self._time = self._origin = 0.0  # on the loop's clock, now and when it was entered
        self._left: float | None = None  # on the machine's clock, when it was left: time goes on by itself since
        self._loop: PacedLoop | None = None  # while it is entered
        self._thread = 0  # the loop's
        self._hops = 0  # worker threads in flight
        self._hopping = 0.0  # since when, on the machine's clock
        self._advancing = 0
        self._settling: list[Event] = []
        self._rests: list[_Rest] = []
        self._before: Clock | None = None
        self._patched: list[tuple[ModuleType, str, Any]] = []

    # -- what a test asks of it ---------------------------------------------------------

    @property
    def elapsed(self) -> float:
        """Seconds since it was entered, to the microsecond."""
        return round(self._time - self._origin, 6)

    def now(self) -> float:
        """Seconds since 1970: what the runtime takes for wall time."""
        return self._start + self.elapsed

    def monotonic(self) -> float:
        """As the event loop has it."""
        return self._time

    async def advance(self, seconds: float) -> None:
        """Let so much time pass, deadline by deadline; back when all that was due has been done.

        Raises:
            ValueError: it does not run backwards.
        """
        if not seconds >= 0:
            raise ValueError(f"advance({seconds}): time does not run backwards")
        self._advancing += 1
        try:
            await anyio.sleep(seconds)
        finally:
            self._advancing -= 1
        await self.settle()

    async def settle(self) -> None:
        """Wait until everybody waits: nobody goes on before some more time passes, or something comes from outside."""
        if self._loop is None:
            raise RuntimeError("this VirtualClock is not in use: enter it with `async with`")
        settled = Event()
        self._settling.append(settled)
        await settled.wait()

    # -- what the runtime asks of it ----------------------------------------------------

    async def sleep_until(self, due: float) -> None:
        """Sleep until a time in seconds since 1970; late is immediate."""
        while (left := due - self.now()) > 0:  # noqa: ASYNC110 - a sum of floats may end a little before
            await anyio.sleep(left)

    async def rest(self, seconds: float, *, until: Callable[[], Awaitable[object]] = anyio.sleep_forever) -> None:
        """As `Clock.rest`: over after so much real time, or when time has jumped over it."""
        if threading.get_ident() != self._thread:
            await super().rest(seconds, until=until)  # a loop of another thread, in which time is what it is
            return
        rest = _Rest(self._time + seconds, time.perf_counter() + seconds, Event())

        async def wait() -> None:
            await rest.over.wait()
            tasks.cancel_scope.cancel()

        self._rests.append(rest)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await until()
                tasks.cancel_scope.cancel()
        finally:
            self._rests.remove(rest)

    # -- entering and leaving -----------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Take over the time.

        Raises:
            RuntimeError: another one has, or this event loop goes by no other's time.
        """
        if isinstance(clock.current(), VirtualClock):
            raise RuntimeError("a VirtualClock is in use already; there is one time at a time")  # noqa: TRY004 - no type is wrong
        loop = loop_of_this_task()
        self._time = self._origin = loop.began
        self._thread = threading.get_ident()
        loop.go_by(self)
        self._loop, self._before = loop, clock.use(self)
        for module, name in loop.hopping:
            self._patched.append((module, name, vars(module)[name]))
            vars(module)[name] = self._counting(vars(module)[name])
        return self

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._patched:
            module, name, original = self._patched.pop()
            vars(module)[name] = original
        if self._before is not None:
            clock.use(self._before)
        self._left, self._thread = time.perf_counter(), 0
        if self._loop is not None:
            self._loop.go_on()
            self._loop = None
        for rest in self._rests:
            rest.over.set()

    def _counting(self, waits: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @wraps(waits)
        async def counted(*args: Any, **options: Any) -> Any:
            if threading.get_ident() != self._thread:
                return await waits(*args, **options)
            self.hop(1)
            try:
                return await waits(*args, **options)
            finally:
                self.hop(-1)

        return counted

    # -- what the event loop asks of it -------------------------------------------------

    def time(self) -> float:
        """The loop's time."""
        return self._time if self._left is None else self._time + time.perf_counter() - self._left

    def hop(self, more: int) -> None:
        """So many more worker threads, or requests, are in flight."""
        if not self._hops:
            self._hopping = time.perf_counter()
        self._hops += more

    def listen(self, deadline: float, *, channels: bool) -> float:
        """No task can go on. How long to listen really to what may come from outside, before time is asked to go on.

        Args:
            deadline: the next one.
            channels: whether there are sockets or processes to listen to.
        """
        if self._hops:
            seconds = STUCK
        elif self._settling or (self._jumps and deadline < math.inf):
            seconds = self.patience if channels else 0.0
        else:
            seconds = math.inf
        resting = (rest.really_due for rest in self._rests if not rest.over.is_set())
        really_due = min(resting, default=math.inf)
        return min(seconds, max(0.0, really_due - time.perf_counter()))

    def heard_nothing(self, deadline: float) -> None:
        """Nothing came while the loop listened: wake somebody, or let time go on."""
        if self._hops:
            if self._jumps:
                self._move(min(deadline, self._time + STUCK))
        elif self._settling:
            settled, self._settling = self._settling, []
            for event in settled:
                event.set()
        elif self._jumps and deadline < math.inf:
            self._move(deadline)

    def wake_rested(self, deadline: float | None) -> bool:
        """Wake whoever has really rested for as long as it wanted; whether there was somebody.

        Args:
            deadline: the next one; None while tasks can go on.
        """
        really = time.perf_counter() if self._rests else 0.0
        rested = [rest for rest in self._rests if rest.really_due <= really and not rest.over.is_set()]
        for rest in rested:
            rest.over.set()
        if rested and self._jumps and self._passes(deadline, really):
            self._move(max(rest.due for rest in rested))
        return bool(rested)

    def _passes(self, deadline: float | None, really: float) -> bool:
        """Whether time passes as it really does. However slow the machine is, it does not while somebody goes on."""
        if deadline is None:
            return False
        if self._hops:
            return really - self._hopping >= STUCK
        return deadline == math.inf and not self._settling

    @property
    def _jumps(self) -> bool:
        return self.auto or self._advancing > 0

    def _move(self, then: float) -> None:
        self._time = max(self._time, then)
        for rest in self._rests:
            if rest.due <= self._time:
                rest.over.set()
