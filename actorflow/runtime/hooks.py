"""Hooks: functions and objects of the user's that are told what happens in the runs that live here.

They hear of a commit after it is durable, in a task beside the actor, which
never waits for them. What one raises is logged and becomes an event of the
run; the run itself does not notice (nor does it if a hook never returns).
"""

from __future__ import annotations

import difflib
import inspect
import itertools
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, get_args

import anyio
from anyio import CapacityLimiter, to_thread

from actorflow.engine.records import ENDED
from actorflow.runtime.events import LIVE_ONLY, CommitEvent, Event, Mode, NodeEvent, WaitEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.runtime.observers import Observers
    from actorflow.runtime.stream import EventStream

_logger = logging.getLogger("actorflow.hooks")

GRACE = 10.0
"""Seconds that hooks have to hear of the last events when the runtime is left."""

THREADS = 8
"""How many sync hooks run at once."""

MODES: frozenset[Mode] = frozenset(get_args(Mode)) - {"hooks"}  # a hook that fails does not hear of it

_OF_NODES = {
    "opened": "on_node_open",
    "started": "on_node_start",
    "retrying": "on_node_retry",
    "crashed": "on_node_error",
    "failed": "on_node_error",
    "waiting": "on_node_wait",
    "finished": "on_node_complete",
}
_OF_WAITS = {"asked": "on_wait", "answered": "on_answer", "expired": "on_answer"}
_OF_MODES = {
    "values": "on_values",
    "updates": "on_update",
    "data": "on_data",
    "progress": "on_progress",
    "dropped": "on_dropped",
}
NAMES = frozenset(
    {"on_event", "on_commit", "on_run_end", *_OF_NODES.values(), *_OF_WAITS.values(), *_OF_MODES.values()}
)
"""The methods that a hook may have. Each takes the event; a function as a hook is an ``on_event``."""


class Hook:
    """One hook of the user's: what it wants to hear, and how it is called."""

    def __init__(self, hook: Any) -> None:
        """Look at what it can be told.

        Raises:
            TypeError: it is nothing that can be, or has a method that looks like one of ours and is none.
        """
        self._calls: dict[str, Callable[[Event], object]] = {}
        self.name: str = getattr(hook, "__qualname__", type(hook).__qualname__)
        names = [name for name in dir(hook) if name.startswith("on_") and callable(getattr(hook, name))]
        if unknown := sorted(set(names) - NAMES):
            near = difflib.get_close_matches(unknown[0], NAMES, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(NAMES))}"
            raise TypeError(f"hook {self.name} has a method {unknown[0]}, which nothing calls; {hint}")
        self._calls = {name: getattr(hook, name) for name in names}
        if not names:
            if not callable(hook):
                raise TypeError(f"hook {hook!r} is no function and has none of {', '.join(sorted(NAMES))}")
            self._calls = {"on_event": hook}
        self.modes = frozenset[Mode](mode for mode in MODES if "on_event" in self._calls or self._wants(mode))
        if "on_dropped" in self._calls and not self.modes & LIVE_ONLY:
            self.modes |= MODES & LIVE_ONLY  # it asks how much is missed of all that may be

    def _wants(self, mode: Mode) -> bool:
        names: Iterable[str]
        match mode:
            case "nodes":
                names = _OF_NODES.values()
            case "waits":
                names = _OF_WAITS.values()
            case "commits":
                names = ("on_commit", "on_run_end")
            case _:
                names = (_OF_MODES.get(mode, ""),)
        return any(name in self._calls for name in names)

    def calls(self, event: Event) -> list[Callable[[Event], object]]:
        """What to call with this event."""
        names = ["on_event"]
        if isinstance(event, NodeEvent):
            names.append(_OF_NODES[event.kind])
        elif isinstance(event, WaitEvent):
            names.append(_OF_WAITS[event.kind])
        elif isinstance(event, CommitEvent):
            names.append("on_commit")
            if event.status in ENDED and event.kind == "release":
                names.append("on_run_end")
        else:
            names.append(_OF_MODES.get(event.mode, ""))
        return [self._calls[name] for name in names if name in self._calls]


class Hooks:
    """The hooks of a runtime, and a task for each run that lives in it."""

    def __init__(self, hooks: Sequence[Hook]) -> None:
        """Begin with nothing to follow."""
        self.modes: frozenset[Mode] = frozenset(mode for hook in hooks for mode in hook.modes)
        self._hooks = hooks
        self._threads = CapacityLimiter(THREADS)
        self._following: set[tuple[str, int]] = set()  # the runs of which they have not heard all
        self._idle = anyio.Event()

    def __bool__(self) -> bool:
        """Whether there is one."""
        return bool(self._hooks)

    def follows(self, run: tuple[str, int]) -> bool:
        """Whether they still hear of an earlier life of a run: whoever tells them of it goes on with the next one."""
        return run in self._following

    async def follow(self, run: tuple[str, int], stream: EventStream, observers: Observers) -> None:
        """Tell the hooks what happens in one run, by its id and how often that was used, as long as it lives here."""
        self._following.add(run)
        try:
            while batch := await stream.batch():
                for hook in self._hooks:
                    await self._tell(hook, batch, observers)
        except Exception:
            _logger.exception("the hooks hear nothing more of run %r", observers.run_id)
        finally:
            self._following.discard(run)
            self._idle.set()

    async def drained(self) -> None:
        """Wait until they have heard of all that happened, but not for long."""
        with anyio.move_on_after(GRACE) as limit:
            while self._following:
                self._idle = anyio.Event()
                await self._idle.wait()
        if limit.cancelled_caught:
            _logger.warning("hooks that had not returned after %g s are left behind", GRACE)

    async def _tell(self, hook: Hook, batch: list[Event], observers: Observers) -> None:
        """Call a hook with some events, in order. What is sync runs in a thread, as much as there is in one."""
        calls = [(call, event) for event in batch for call in hook.calls(event)]
        for is_async, some in itertools.groupby(calls, key=lambda one: inspect.iscoroutinefunction(one[0])):
            if is_async:
                errors = await _await_all(some)
            else:
                # left behind if the runtime is closed meanwhile: a hook that hangs must not keep it
                errors = await to_thread.run_sync(_call_all, list(some), limiter=self._threads, abandon_on_cancel=True)
            for error in errors:
                _logger.error("hook %s raised while it heard of run %r", hook.name, observers.run_id, exc_info=error)
                observers.hook_failed(hook.name, error)


_Calls = Iterable[tuple[Callable[[Event], Any], Event]]


async def _await_all(calls: _Calls) -> list[Exception]:
    """Await all of them, one after the other; what they raised."""
    errors: list[Exception] = []
    for call, event in calls:
        try:
            await call(event)
        except Exception as error:  # noqa: BLE001 - whatever it raises is no matter of the run
            errors.append(error)
    return errors


def _call_all(calls: _Calls) -> list[Exception]:
    """Call all of them; what they raised."""
    errors: list[Exception] = []
    for call, event in calls:
        try:
            call(event)
        except Exception as error:  # noqa: BLE001 - as above
            errors.append(error)
    return errors
