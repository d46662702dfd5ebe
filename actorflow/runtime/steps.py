"""Steps: what a node does that is remembered, so that it is not done again when the node runs again.

What a step returned is committed before the node sees it, and what the node
sees is the decoded copy of that, this time as every time after. A step is known
by its name and key, never by the moment at which it came to its turn.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
import anyio.lowlevel
from anyio import CapacityLimiter, to_thread
from msgspec import Struct

from actorflow.engine.decision import Place
from actorflow.engine.events import Effect, Intending, Stepping, Trying
from actorflow.engine.memos import step_key
from actorflow.engine.merge import typed
from actorflow.errors import (
    AmbiguousStep,
    AttemptOver,
    BadStepResult,
    OutcomeUnknown,
    RemoteError,
    StepFailed,
    StepTimeout,
    UnknownUndo,
)
from actorflow.graph.effects import Done, Intent, Mode, NotDone, Reconcile, Unknown
from actorflow.graph.retry import Retries, Retry, first_applying, policies_of, problems_of_retry
from actorflow.graph.schema import ENCODE_ERRORS
from actorflow.graph.signature import UNKNOWN, is_async, resolve, signature_of
from actorflow.graph.state import State
from actorflow.graph.timeouts import Timeout, is_time, timeout_of
from actorflow.graph.undo import find_undo, named
from actorflow.runtime import clock
from actorflow.runtime.limits import Course
from actorflow.runtime.mended import mended, shape_of
from actorflow.runtime.options import check_texts, check_word

if TYPE_CHECKING:
    from actorflow.engine.memos import Memo

NOW = "(now)"
"""The name of the step that `Context.now` is; no step of a user's gets it."""

KEY = "idempotency_key"
"""The parameter by which a step's function is given the key of the step."""


class Means(Struct, frozen=True, eq=False):
    """What steps are done with, in one attempt."""

    place: Place
    threads: CapacityLimiter  # how many sync functions run at once
    record: Callable[[Effect], Awaitable[None]]  # back when it is durable
    undoing: anyio.Lock  # of the run: one rolls back at a time
    course: Course  # of the attempt: what comes after it is refused

    @property
    def memos(self) -> dict[bytes, Memo]:
        """What is remembered of the steps of the activation."""
        return self.place.activation.memos

    async def commit(self, event: Effect) -> None:
        """Record something; back when it is durable.

        Raises:
            AttemptOver: too late.
            StoreError: it could not be committed.
        """
        self.check("what it did")
        await self.record(event)

    def check(self, what: str) -> None:
        """Refuse what comes too late.

        Raises:
            AttemptOver: the attempt is over, or its time is.
        """
        if self.course.over:
            raise AttemptOver(self.place.node.name, what)


class _Book:
    """Which steps there were, in one function: of a name without ``key=`` the first, the second, and so on."""

    __slots__ = ("_counts", "_lanes", "base", "live", "owner")

    def __init__(self, base: bytes, owner: Steps) -> None:
        self.base = base
        self.owner = owner
        self.live: set[tuple[str, str | None]] = set()
        self._counts: Counter[tuple[bytes, str]] = Counter()
        self._lanes: dict[tuple[bytes, str], object] = {}

    def nth(self, node: str, kind: bytes, name: str) -> int:
        """Which one of this name it is. It is one task that counts: between two, the order is timing.

        Raises:
            AmbiguousStep: another task has used this name.
        """
        lane = _THREAD.get() or anyio.get_current_task().id
        if self._lanes.setdefault((kind, name), lane) != lane:
            raise AmbiguousStep(node, name)
        self._counts[kind, name] += 1
        return self._counts[kind, name]

    def begin_again(self) -> None:
        """Count from the first on."""
        self._counts.clear()
        self._lanes.clear()


_INSIDE: ContextVar[_Book | None] = ContextVar("actorflow-step", default=None)
_THREAD: ContextVar[object | None] = ContextVar("actorflow-thread", default=None)


def in_thread(fn: Callable[[], Any]) -> Any:
    """Call a function in the worker thread that this is called in: what it awaits from there is one after the other."""
    _THREAD.set(object())
    return fn()


class _Step(Struct, frozen=True):
    """Which step it is."""

    id: bytes
    name: str
    key: str | None


class _Call(Struct, frozen=True):
    """What a step does, and how."""

    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()
    once: bool = False
    reconcile: Reconcile | None = None
    retry: tuple[Retry, ...] = ()
    timeout: Timeout | None = None
    undo: str | None = None


class Steps:
    """The steps of one function in one attempt: the node's, of what is around it, or of what handles its failure."""

    def __init__(self, means: Means, kind: bytes, base: bytes | None = None) -> None:
        """Nothing was done yet.

        Args:
            means: what steps are done with.
            kind: whose they are, so that those of a name are told apart.
            base: what they belong to; None: the activation.
        """
        self._means = means
        self._kind = kind
        self._book = _Book(means.place.activation.key if base is None else base, self)

    @property
    def are_inside(self) -> bool:
        """Whether a step of these is being done, by whoever asks."""
        book = _INSIDE.get()
        return book is not None and book.owner is self

    def begin_again(self) -> None:
        """The function is called once more, from its start."""
        self._book.begin_again()

    async def step(
        self,
        name: str,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        *,
        key: str | None,
        mode: Mode,
        reconcile: Reconcile | None,
        retry: Retries,
        timeout: float | Timeout | None,  # noqa: ASYNC109 - it may be of each attempt, or of all
        undo: str | Callable[..., Any] | None,
        type: Any,
    ) -> Any:
        """See `Context.step`."""
        check_texts("step", [name] if key is None else [name, key])
        if not name or name == NOW:
            raise ValueError(f"a step can't be called {name!r}; give it a name that says what it does")
        _check(fn, mode, reconcile, retry, timeout)
        call = _Call(
            fn,
            args,
            mode == "at_most_once",
            reconcile,
            policies_of(retry),
            timeout_of(timeout),
            self._undo(name, undo),
        )
        return await self._step(name, key, call, type)

    async def now(self) -> datetime:
        """See `Context.now`."""
        return datetime.fromtimestamp(await self._step(NOW, None, _Call(_read_clock), float), UTC)

    def uuid(self, name: str) -> UUID:
        """See `Context.uuid`."""
        check_texts("uuid", [name])
        book = self._here
        nth = book.nth(self._node, b"uuid", name)
        return UUID(bytes=step_key(book.base, b"uuid" + self._kind, name, nth), version=5)

    @property
    def _node(self) -> str:
        return self._means.place.node.name

    @property
    def _here(self) -> _Book:
        """Of whoever asks: of a step inside another one, that of the other."""
        book = _INSIDE.get()
        return book if book is not None and book.owner is self else self._book

    def _undo(self, name: str, given: str | Callable[..., Any] | None) -> str | None:
        """The name of the function that undoes the step, which must be found again by it."""
        if given is None:
            return None
        declared = self._means.place.root.all_undos
        found = find_undo(declared, given)
        if found is None:
            raise UnknownUndo(self._node, name, named(given), declared)
        return found.name

    async def _step(self, name: str, key: str | None, call: _Call, type: Any) -> Any:
        self._means.check(f"step {name!r}")
        book = self._here
        nth = book.nth(self._node, b"step", name) if key is None else key
        step = _Step(step_key(book.base, self._kind, name, nth), name, key)
        if (name, key) in book.live:
            raise AmbiguousStep(self._node, name, key)
        memo = self._means.memos.get(step.id)
        if memo is not None and memo.over:
            await anyio.lowlevel.checkpoint()
            return await self._told(step, call, type)
        book.live.add((name, key))
        try:
            await self._do(step, call, memo)
        finally:
            book.live.discard((name, key))
        return await self._told(step, call, type)

    async def _do(self, step: _Step, call: _Call, memo: Memo | None) -> None:
        """Run the function until the step is over, and record what came of it."""
        attempt, began = 0, clock.now()
        if memo is not None:
            attempt, began = memo.attempt, memo.began or began
            if memo.intended is not None:  # by an attempt, or a process, that did not live to say more
                verdict = await self._ask(step, call, memo.intended)
                if isinstance(verdict, Done):
                    await self._keep(step, call, verdict.value)
                    return
            if memo.due is not None:
                await clock.sleep_until(memo.due)  # late is immediate
        while True:
            attempt += 1
            intended = clock.now()
            if call.once:
                await self._means.commit(Intending(*self._of(step), intended))
            try:
                value = await self._limited(step, call, began)
            except Exception as error:  # noqa: BLE001 - it is raised again, unless there is another attempt
                done = await self._after(step, call, intended, error)
                if done is None:
                    await self._pause(step, call, attempt, began, error)
                    continue
                value = done.value
            await self._keep(step, call, value)
            return

    async def _after(self, step: _Step, call: _Call, intended: float, error: Exception) -> Done | None:
        """What is known of a step whose function raised; None: it was not done."""
        if not call.once:
            return None
        if call.reconcile is None:
            await self._fail(step, error)  # it may have been done
        verdict = await self._ask(step, call, intended)
        return verdict if isinstance(verdict, Done) else None

    async def _limited(self, step: _Step, call: _Call, began: float) -> Any:
        """What the function returns or raises in time. What it returned late was done, and counts."""
        limits = call.timeout
        if limits is None:
            return await self._called(step, call)
        seconds, which = limits.attempt, "attempt"
        if limits.total is not None:
            left = began + limits.total - clock.now()
            if left <= 0:
                raise StepTimeout(self._node, step.name, limits.total, "total")
            if seconds is None or left < seconds:
                seconds, which = left, "total"
        late: Exception | None = None
        with anyio.move_on_after(seconds) as scope:
            try:
                return await self._called(step, call)
            except Exception as error:
                if not scope.cancel_called:
                    raise
                late = error
        if which == "total":
            raise StepTimeout(self._node, step.name, limits.total or 0.0, "total") from late
        raise StepTimeout(self._node, step.name, limits.attempt or 0.0) from late

    async def _called(self, step: _Step, call: _Call) -> Any:
        signature = signature_of(call.fn)
        named_too = {KEY: step.id.hex()} if signature is not None and KEY in signature.parameters else {}
        token = _INSIDE.set(_Book(step.id, self))
        try:
            return await invoke(call.fn, call.args, self._means.threads, **named_too)
        finally:
            _INSIDE.reset(token)

    async def _ask(self, step: _Step, call: _Call, when: float) -> Done | NotDone:
        """Whether a step was done that was begun.

        Raises:
            OutcomeUnknown: nobody can tell.
            What ``reconcile=`` raises.
        """
        verdict: object = Unknown()
        if call.reconcile is not None:
            intent = Intent(
                name=step.name, key=step.key, idempotency_key=step.id.hex(), when=datetime.fromtimestamp(when, UTC)
            )
            verdict = await invoke(call.reconcile, (intent,), self._means.threads)
        if isinstance(verdict, Unknown):
            raise OutcomeUnknown(self._node, step.name, step.key, step.id.hex())
        if not isinstance(verdict, Done | NotDone):
            raise TypeError(
                f"reconcile= of step {step.name!r} returned {verdict!r}; it returns Done(value), NotDone() or Unknown()"
            )
        return verdict

    async def _pause(self, step: _Step, call: _Call, attempt: int, began: float, error: Exception) -> None:
        """Wait for the next attempt.

        Raises:
            The error itself: nothing says that there is one, so that it is for the node to be tried again.
            StepFailed: there is none any more.
        """
        if not call.retry:
            raise error
        place = self._means.place
        state = typed(place.schema, place.activation.base)
        policy = first_applying(call.retry, error, state)
        if policy is None or attempt >= policy.attempts or _is_total(error):
            await self._fail(step, error)
            return
        delay = policy.delay(attempt, random.random())
        due = clock.now() + delay
        if policy.deadline is not None and due > began + policy.deadline:
            error.add_note(f"Retry(deadline={policy.deadline:g}): there is no time for another attempt")
            await self._fail(step, error)
            return
        if delay >= place.plan.record_backoff_over:
            await self._means.commit(Trying(*self._of(step), attempt, due, began, error))
        await clock.sleep_until(due)

    async def _fail(self, step: _Step, error: Exception) -> None:
        """Record that the step failed for good.

        Raises:
            StepFailed: always.
        """
        await self._means.commit(Stepping(*self._of(step), error=error))
        raise self._failure(step) from error

    def _failure(self, step: _Step) -> StepFailed:
        error = self._means.memos[step.id].error
        assert error is not None, "a step failed by what was recorded"  # noqa: S101
        return StepFailed(self._node, step.name, step.key, error.type, error.message)

    async def _keep(self, step: _Step, call: _Call, value: Any) -> None:
        """Record what the step came to: from now on it is this, whatever happens."""
        codecs = self._means.place.schema.codecs
        try:
            plain = codecs.plain(value)
        except ENCODE_ERRORS as error:
            bad = BadStepResult(self._node, step.name, f"can't be kept: {error}")
            if call.once:
                await self._means.commit(Stepping(*self._of(step), error=bad))
            raise bad from error
        shape = shape_of(value, codecs) if isinstance(value, State) else None
        await self._means.commit(Stepping(*self._of(step), plain, shape=shape, undo=call.undo))

    async def _told(self, step: _Step, call: _Call, type: Any) -> Any:
        """What is recorded of a step that is over, as the node gets it."""
        memo = self._means.memos[step.id]
        if memo.error is not None:
            its = memo.error
            raise self._failure(step) from RemoteError(its.type, its.message, its.traceback, node=self._node)
        wanted = _returned(call.fn) if type is None else type
        try:
            return await mended(memo.value, memo.shape, wanted, self._means.place)
        except ENCODE_ERRORS as error:
            raise BadStepResult(self._node, step.name, f"is not what is wanted: {error}") from error

    def _of(self, step: _Step) -> tuple[int, bytes, str, str | None]:
        return self._means.place.activation.id, step.id, step.name, step.key


async def invoke(fn: Callable[..., Any], arguments: tuple[Any, ...], threads: CapacityLimiter, **more: str) -> Any:
    """What a function returns, async or sync: then it runs in a worker thread."""
    if is_async(fn):
        return await fn(*arguments, **more)
    # who waits in a worker thread for another one must not keep it from him
    limiter = threads if _THREAD.get() is None else CapacityLimiter(1)
    value = await to_thread.run_sync(in_thread, partial(fn, *arguments, **more), limiter=limiter)
    return await value if isawaitable(value) else value  # a plain function may return a coroutine


async def _read_clock() -> float:
    return clock.now()


def _check(
    fn: Callable[..., Any], mode: Mode, reconcile: Reconcile | None, retry: Retries, timeout: float | Timeout | None
) -> None:
    """Refuse what a step can't do.

    Raises:
        ValueError, TypeError: naming the option.
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
    if timeout is None:
        return
    if isinstance(timeout, Timeout):
        if timeout.idle is not None:
            raise ValueError("a step has no idle timeout: say Timeout(attempt=) or Timeout(total=)")
    elif not is_time(timeout):
        raise ValueError(f"timeout={timeout!r}: give seconds, more than 0, or a Timeout")
    if not is_async(fn):
        raise ValueError("timeout= is for an async function: a sync one runs in a thread, which can't be stopped")


def _is_total(error: Exception) -> bool:
    return type(error) is StepTimeout and error.limit == "total"


def _returned(fn: Callable[..., Any]) -> Any:
    """What a function says that it returns; Any if it does not."""
    signature = signature_of(fn)
    annotation = UNKNOWN if signature is None else resolve(signature.return_annotation, fn)
    return Any if annotation is UNKNOWN else annotation
