"""Steps: what a node does that is remembered, so that it is not done again when the node runs again.

What a step returned is committed before the node sees it, and what the node
sees is the decoded copy of that, this time as every time after. A step is known
by its name and key, never by the moment at which it came to its turn.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
import anyio.lowlevel
from msgspec import Struct

from actorflow.engine.events import Intending, Stepping, Trying
from actorflow.engine.memos import step_key
from actorflow.engine.merge import typed
from actorflow.errors import (
    AmbiguousStep,
    BadStepResult,
    OutcomeUnknown,
    RemoteError,
    StepFailed,
    StepTimeout,
    TooManySteps,
    UnknownUndo,
)
from actorflow.graph.effects import Done, Intent, Mode, NotDone, Reconcile, Unknown
from actorflow.graph.retry import Retries, first_applying
from actorflow.graph.schema import ENCODE_ERRORS, kept
from actorflow.graph.state import State
from actorflow.graph.undo import find_undo, named
from actorflow.runtime import clock
from actorflow.runtime.book import Book
from actorflow.runtime.calling import invoke
from actorflow.runtime.mended import mended, shape_of
from actorflow.runtime.options import check_texts
from actorflow.runtime.step_call import StepCall, step_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.engine.memos import Memo
    from actorflow.graph.timeouts import Timeout
    from actorflow.runtime.means import Means

NOW = "(now)"
"""The name of the step that `Context.now` is; no step of a user's gets it."""


class _Step(Struct, frozen=True):
    """Which step it is."""

    id: bytes
    name: str
    key: str | None


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
        self._book = Book(means.place.activation.key if base is None else base, self)

    @property
    def are_inside(self) -> bool:
        """Whether a step of these is being done, by whoever asks."""
        return Book.opened(self) is not None

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
        call = step_call(
            fn, args, mode=mode, reconcile=reconcile, retry=retry, timeout=timeout, undo=self._undo(name, undo)
        )
        return await self._step(name, key, call, type)

    async def now(self) -> datetime:
        """See `Context.now`."""
        return datetime.fromtimestamp(await self._step(NOW, None, StepCall(_read_clock), float), UTC)

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
    def _here(self) -> Book:
        """Of whoever asks: of a step inside another one, that of the other."""
        return Book.opened(self) or self._book

    def _undo(self, name: str, given: str | Callable[..., Any] | None) -> str | None:
        """The name of the function that undoes the step, which must be found again by it."""
        if given is None:
            return None
        declared = self._means.place.root.all_undos
        found = find_undo(declared, given)
        if found is None:
            raise UnknownUndo(self._node, name, named(given), declared)
        return found.name

    async def _step(self, name: str, key: str | None, call: StepCall, type: Any) -> Any:
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
        limit = self._means.place.plan.max_steps
        if memo is None and len(self._means.memos) >= limit:
            raise TooManySteps(self._node, limit)
        book.live.add((name, key))
        try:
            await self._do(step, call, memo)
        finally:
            book.live.discard((name, key))
        return await self._told(step, call, type)

    async def _do(self, step: _Step, call: StepCall, memo: Memo | None) -> None:
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
            inside = Book(step.id, self).open()
            try:
                value = await call.run(
                    step.name, node=self._node, key=step.id, began=began, threads=self._means.threads
                )
            except Exception as error:  # noqa: BLE001 - it is raised again, unless there is another attempt
                done = await self._after(step, call, intended, error)
                if done is None:
                    await self._pause(step, call, attempt, began, error)
                    continue
                value = done.value
            finally:
                Book.close(inside)
            await self._keep(step, call, value)
            return

    async def _after(self, step: _Step, call: StepCall, intended: float, error: Exception) -> Done | None:
        """What is known of a step whose function raised; None: it was not done."""
        if not call.once:
            return None
        if call.reconcile is None:
            await self._fail(step, error)  # it may have been done
        verdict = await self._ask(step, call, intended)
        return verdict if isinstance(verdict, Done) else None

    async def _ask(self, step: _Step, call: StepCall, when: float) -> Done | NotDone:
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

    async def _pause(self, step: _Step, call: StepCall, attempt: int, began: float, error: Exception) -> None:
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

    async def _keep(self, step: _Step, call: StepCall, value: Any) -> None:
        """Record what the step came to: from now on it is this, whatever happens."""
        codecs = self._means.place.schema.codecs
        try:
            plain = kept(value, codecs)
        except ENCODE_ERRORS as error:
            bad = BadStepResult(self._node, step.name, f"can't be kept: {error}")
            if call.once:
                await self._means.commit(Stepping(*self._of(step), error=bad))
            raise bad from error
        shape = shape_of(value, codecs) if isinstance(value, State) else None
        await self._means.commit(Stepping(*self._of(step), plain, shape=shape, undo=call.undo))

    async def _told(self, step: _Step, call: StepCall, type: Any) -> Any:
        """What is recorded of a step that is over, as the node gets it."""
        memo = self._means.memos[step.id]
        if memo.error is not None:
            its = memo.error
            raise self._failure(step) from RemoteError(its.type, its.message, its.traceback, node=self._node)
        wanted = call.returns if type is None else type
        try:
            return await mended(memo.value, memo.shape, wanted, self._means.place)
        except ENCODE_ERRORS as error:
            raise BadStepResult(self._node, step.name, f"is not what is wanted: {error}") from error

    def _of(self, step: _Step) -> tuple[int, bytes, str, str | None]:
        return self._means.place.activation.id, step.id, step.name, step.key


async def _read_clock() -> float:
    return clock.now()


def _is_total(error: Exception) -> bool:
    return type(error) is StepTimeout and error.limit == "total"
