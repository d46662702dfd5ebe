"""Event loops that go by the time of a test: what they do when no task can go on is that test's decision.

Neither loop lets its time be taken over while it runs. asyncio's reads two
methods that are replaced here on the one loop; trio's clock is an object with a
public interface, but only `trio.run` takes one, so the runner is handed ours.
"""

from __future__ import annotations

import math
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import trio
from anyio import to_thread
from trio.abc import Clock, Instrument

from actorflow.runtime import replies

if TYPE_CHECKING:
    import asyncio
    from types import ModuleType


RESOLUTION = 1e-6  # seconds

_HOPPING = ((to_thread, "run_sync"), (replies, "reply"))


class Pace(Protocol):
    """Whose time it is: see `actorflow.testing.VirtualClock`."""

    def time(self) -> float:
        """The loop's time."""
        ...

    def hop(self, more: int) -> None:
        """So many more worker threads, or requests, are in flight."""
        ...

    def listen(self, deadline: float, *, channels: bool) -> float:
        """How long to listen really, while no task can go on."""
        ...

    def heard_nothing(self, deadline: float) -> None:
        """Nothing came."""
        ...

    def wake_rested(self, deadline: float | None) -> bool:
        """Wake whoever has really rested for as long as it wanted; whether there was somebody. Asked on each turn.

        Args:
            deadline: the next one; None while tasks can go on.
        """
        ...


class PacedLoop(Protocol):
    """A running event loop whose time can be taken over."""

    began: float
    """Its own time when it was taken over."""
    hopping: tuple[tuple[ModuleType, str], ...]
    """What waits for another thread: in which module, and its name there."""

    def go_by(self, pace: Pace) -> None:
        """Its time is that of the test from now on."""
        ...

    def go_on(self) -> None:
        """Its time passes by itself again, from where it is: what was set for later stays later."""
        ...


def loop_of_this_task() -> PacedLoop:
    """The loop that runs.

    Raises:
        RuntimeError: it is one whose time can't be taken over.
    """
    if "asyncio" in sys.modules:
        import asyncio

        try:
            return _Asyncio(asyncio.get_running_loop())
        except RuntimeError as error:
            if "running event loop" not in str(error):
                raise
    return _Trio()


class _Asyncio:
    """A loop of asyncio's own, which waits in a selector."""

    hopping: tuple[tuple[ModuleType, str], ...] = _HOPPING

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        selector = getattr(loop, "_selector", None)
        if not hasattr(selector, "get_map"):  # uvloop has none, and that of Windows is of another kind
            name = f"{type(loop).__module__}.{type(loop).__qualname__}"
            raise RuntimeError(f"VirtualClock can't set the time of a {name}: use asyncio's own event loop, or trio")
        self._loop = loop
        self._selector: Any = selector
        self.began = loop.time()

    def go_by(self, pace: Pace) -> None:
        loop, selector = self._loop, self._selector
        select, run_in_executor = selector.select, loop.run_in_executor

        def sleeps_for_ever() -> bool:
            """Whether the next timer never comes. The loop looks up once a day all the same."""
            timers: list[asyncio.TimerHandle] = vars(loop)["_scheduled"]  # a heap
            return bool(timers) and timers[0].when() == math.inf

        def paced(timeout: float | None = None) -> Any:
            if timeout is not None and timeout <= 0:
                pace.wake_rested(None)
                return select(timeout)
            deadline = math.inf if timeout is None or sleeps_for_ever() else pace.time() + timeout
            channels = len(selector.get_map()) > 1  # one is the loop's own, by which threads wake it
            seconds = pace.listen(deadline, channels=channels)
            events = select(None if seconds == math.inf else seconds)
            if not pace.wake_rested(deadline) and not events:
                pace.heard_nothing(deadline)
            return events

        def counted(*args: Any) -> Any:
            future = run_in_executor(*args)
            pace.hop(1)
            future.add_done_callback(lambda _: pace.hop(-1))
            return future

        vars(selector)["select"] = paced
        # after years a float is coarser than the system's clock, and the loop would not see that a time has come
        vars(loop).update(time=pace.time, run_in_executor=counted, _clock_resolution=RESOLUTION)

    def go_on(self) -> None:
        del vars(self._selector)["select"], vars(self._loop)["run_in_executor"]


class _Trio(Clock, Instrument):
    """The loop of trio, whose clock this is then."""

    def __init__(self) -> None:
        self.hopping: tuple[tuple[ModuleType, str], ...] = (*_HOPPING, (trio.to_thread, "run_sync"))
        self.began = trio.current_time()
        self._pace: Pace | None = None
        self._quiet = False  # no task could go on since it was last asked how long to wait
        self._until = 0.0  # on the machine's clock: so long it listens
        self._deadline: float | None = None  # the next one, while no task can go on
        self._gone = False

    def go_by(self, pace: Pace) -> None:
        self._pace = pace
        self._runner: Any = import_module("trio._core._run").GLOBAL_RUN_CONTEXT.runner
        self._runner.clock = self
        trio.lowlevel.add_instrument(self)

    def go_on(self) -> None:
        self._gone = True
        trio.lowlevel.remove_instrument(self)

    def start_clock(self) -> None:
        """It runs already."""

    def current_time(self) -> float:
        return self.began if self._pace is None else self._pace.time()

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - trio's interface
        if self._pace is not None:
            self._pace.wake_rested(self._deadline)
        self._deadline = None

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - trio's interface
        self._quiet = False

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Asked when no task can go on: how long to wait for what comes from outside."""
        self._deadline = deadline
        left = deadline - self.current_time()
        if self._gone or self._pace is None or left <= 0:
            return left
        if self._runner.waiting_for_idle:  # this is what they wait for, and trio sees to it
            return math.inf
        if self._quiet and time.perf_counter() >= self._until:
            self._quiet = False
            self._pace.heard_nothing(deadline)
            return 0.0
        if not self._quiet:
            statistics = trio.lowlevel.current_statistics().io_statistics
            waiting = [getattr(statistics, name) for name in dir(statistics) if name.startswith("tasks_waiting")]
            # one is trio's own, by which threads wake the loop
            self._until = time.perf_counter() + self._pace.listen(deadline, channels=sum(waiting) > 1)
            self._quiet = True
        return max(0.0, self._until - time.perf_counter())
