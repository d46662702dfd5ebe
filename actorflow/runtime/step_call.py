"""StepCall: what a step does, how often and how long, refused where it can't be what is meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
from msgspec import Struct

from actorflow.errors import StepTimeout
from actorflow.graph.effects import Mode, Reconcile
from actorflow.graph.retry import Retry, policies_of, problems_of_retry
from actorflow.graph.signature import UNKNOWN, is_async, resolve, signature_of
from actorflow.graph.timeouts import Timeout, is_time, timeout_of
from actorflow.runtime import clock
from actorflow.runtime.calling import invoke
from actorflow.runtime.options import check_word

if TYPE_CHECKING:
    from anyio import CapacityLimiter

    from actorflow.graph.retry import Retries

KEY = "idempotency_key"
"""The parameter by which a step's function is given the key of the step."""


class StepCall(Struct, frozen=True):
    """A function with its arguments, and what is around it."""

    fn: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    once: bool = False  # it must not run twice
    reconcile: Reconcile | None = None
    retry: tuple[Retry, ...] = ()
    timeout: Timeout | None = None
    undo: str | None = None  # the name of the function that undoes it

    @property
    def returns(self) -> Any:
        """What the function says that it returns; Any if it does not."""
        signature = signature_of(self.fn)
        annotation = UNKNOWN if signature is None else resolve(signature.return_annotation, self.fn)
        return Any if annotation is UNKNOWN else annotation

    async def run(self, name: str, *, node: str, key: bytes, began: float, threads: CapacityLimiter) -> Any:
        """What the function returns or raises in time. What it returned late was done, and counts.

        Args:
            name: of the step, for messages.
            node: likewise.
            key: of the step.
            began: when its first attempt did, in seconds since the epoch.
            threads: how many sync functions run at once.

        Raises:
            StepTimeout: it was over its time.
        """
        signature = signature_of(self.fn)
        more = {KEY: key.hex()} if signature is not None and KEY in signature.parameters else {}
        if self.timeout is None:
            return await invoke(self.fn, self.arguments, threads, **more)
        seconds, total = self.timeout.attempt, self.timeout.total
        is_last = False
        if total is not None:
            left = began + total - clock.now()
            if left <= 0:
                raise StepTimeout(node, name, total, "total")
            is_last = seconds is None or left < seconds
            seconds = left if is_last else seconds
        late: Exception | None = None
        with anyio.move_on_after(seconds) as scope:
            try:
                return await invoke(self.fn, self.arguments, threads, **more)
            except Exception as error:
                if not scope.cancel_called:
                    raise
                late = error
        if is_last:
            raise StepTimeout(node, name, total or 0.0, "total") from late
        raise StepTimeout(node, name, seconds or 0.0) from late


def step_call(
    fn: Callable[..., Any],
    arguments: tuple[Any, ...],
    *,
    mode: Mode,
    reconcile: Reconcile | None,
    retry: Retries,
    timeout: float | Timeout | None,
    undo: str | None,
) -> StepCall:
    """What `Context.step` was given, checked.

    Raises:
        ValueError, TypeError: naming the option that can't be what is meant.
    """
    if not callable(fn):
        raise TypeError(f"a step is given a function, and then its arguments, not {fn!r}")
    check_word("mode", mode, Mode)
    for problem in problems_of_retry(retry):
        raise ValueError(problem)
    if reconcile is not None and mode != "at_most_once":
        raise ValueError('reconcile= is for mode="at_most_once": otherwise a step whose outcome is unknown runs again')
    if retry is not None and mode == "at_most_once" and reconcile is None:
        raise ValueError(
            'retry= with mode="at_most_once" needs reconcile=: only who knows that it was not done may retry'
        )
    if isinstance(timeout, Timeout):
        if timeout.idle is not None:
            raise ValueError("a step has no idle timeout: say Timeout(attempt=) or Timeout(total=)")
    elif timeout is not None and not is_time(timeout):
        raise ValueError(f"timeout={timeout!r}: give seconds, more than 0, or a Timeout")
    if timeout is not None and not is_async(fn):
        raise ValueError("timeout= is for an async function: a sync one runs in a thread, which can't be stopped")
    return StepCall(
        fn,
        arguments,
        once=mode == "at_most_once",
        reconcile=reconcile,
        retry=policies_of(retry),
        timeout=timeout_of(timeout),
        undo=undo,
    )
