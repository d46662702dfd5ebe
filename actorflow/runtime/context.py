"""NodeContext: what the runtime hands to a node as its second parameter."""

from __future__ import annotations

import logging
from collections import Counter
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from actorflow.engine.flow import AFTER
from actorflow.engine.keys import key_of
from actorflow.engine.operations import thaw
from actorflow.engine.records import Ask
from actorflow.engine.waits import BEFORE, NO_QUESTIONS, SLEEP
from actorflow.errors import BadAnswer, RemoteError, WaitInMiddleware
from actorflow.runtime import clock
from actorflow.runtime.contacts import Contacts
from actorflow.runtime.options import check_texts
from actorflow.runtime.sagas import roll_back
from actorflow.runtime.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from actorflow.engine.events import Recorded
    from actorflow.engine.run import Activation
    from actorflow.graph.codec import Codecs
    from actorflow.graph.effects import Mode, Reconcile
    from actorflow.graph.retry import Retries
    from actorflow.graph.timeouts import Timeout
    from actorflow.runtime.limits import Course
    from actorflow.runtime.means import Means

_OF_GRAPHS = frozenset({BEFORE, AFTER})

LONGEST = 100 * 366 * 86_400
"""Seconds: no question expires later than a century from now."""

_logger = logging.getLogger("actorflow.node")


class Suspend(BaseException):
    """Leaves a node that waits for an answer. The node runs again, from its start, when it has it."""


class NodeContext(Contacts):
    """The `Context` of one attempt. Made for each, so that what few nodes ask for is made when it is asked for."""

    __slots__ = (
        "_activation",
        "_key",
        "_questions",
        "_random",
        "_steps",
        "attempt",
        "codecs",
        "context",
        "run_id",
        "tell",
        "within",
    )

    def __init__(
        self,
        activation: Activation,
        attempt: int,
        *,
        run_id: str,
        context: Any,
        codecs: Codecs,
        tell: Callable[[str, tuple[Any, ...]], None],
        means: Means,
        within: str | None = None,
        key: bytes | None = None,
    ) -> None:
        """Describe one attempt.

        Args:
            activation: which is attempted.
            attempt: the first is 1.
            run_id: of its run.
            context: given by the user.
            codecs: of its State.
            tell: is told what the node emits and reports.
            means: what its steps are done with.
            within: what is around the function, and must not ask; None: this is for the function.
            key: of what is done instead of the node; None: that of the activation.
        """
        self.run_id = run_id
        self.attempt = attempt
        self.context = context
        self.codecs = codecs
        self.tell = tell
        self.within = within
        self._activation = activation
        self._key = key
        super().__init__(means)
        self._questions: _Questions | None = None
        self._steps: Steps | None = None
        self._random: Random | None = None

    def around(self) -> NodeContext:
        """The same for what is around the function, which must not ask."""
        return self._other("a middleware")

    def _other(self, within: str, key: bytes | None = None) -> NodeContext:
        return NodeContext(
            self._activation,
            self.attempt,
            run_id=self.run_id,
            context=self.context,
            codecs=self.codecs,
            tell=self.tell,
            means=self._means,
            within=within,
            key=key,
        )

    @property
    def course(self) -> Course:
        """How far the attempt is."""
        return self._means.course

    @property
    def node(self) -> str:
        """See `Context.node`."""
        return self._activation.node

    @property
    def idempotency_key(self) -> str:
        """See `Context.idempotency_key`."""
        return (self._activation.key if self._key is None else self._key).hex()

    @property
    def scope(self) -> str:
        """See `Context.scope`."""
        return self._activation.scope

    @property
    def index(self) -> int | None:
        """See `Context.index`."""
        return self._activation.index

    @property
    def error(self) -> RemoteError | None:
        """See `Context.error`."""
        error = self._activation.error
        if error is None:
            return None
        return RemoteError(error.type, error.message, error.traceback, node=self._activation.failed)

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that knows the run, the node and the attempt."""
        return logging.LoggerAdapter(_logger, {"run": self.run_id, "node": self.node, "attempt": self.attempt})

    def emit(self, data: Any) -> None:
        """See `Context.emit`."""
        self.tell("emit", (data,))

    def progress(self, done: float, total: float | None = None) -> None:
        """See `Context.progress`."""
        self.tell("progress", (done, total))

    def heartbeat(self) -> None:
        """See `Context.heartbeat`."""
        self.tell("heartbeat", ())

    @property
    def asked(self) -> Sequence[Ask]:
        """The questions that this attempt has asked, and that nobody has answered."""
        return () if self._questions is None else self._questions.asked

    def ask_anew(self) -> None:
        """The function is called once more: it asks from its first question on."""
        if self._questions is not None:
            self._questions.begin_again()
        if self._steps is not None:
            self._steps.begin_again()
        self._random = None
        self._send_anew()

    # -- effects ------------------------------------------------------------------

    @property
    def steps(self) -> Steps:
        """What is remembered of this function."""
        if self._steps is None:
            handles = b"handling" if self._activation.handling else b"node"
            self._steps = Steps(self._means, handles if self.within is None else self.within.encode(), self._key)
        return self._steps

    async def commit(self, event: Recorded) -> None:
        """Record something of this attempt while it goes on; back when it is durable.

        Raises:
            AttemptOver: too late.
        """
        await self._means.commit(event)

    async def step(
        self,
        name: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        key: str | None = None,
        mode: Mode = "at_least_once",
        reconcile: Reconcile | None = None,
        retry: Retries = None,
        timeout: float | Timeout | None = None,  # noqa: ASYNC109 - it may be of each attempt, or of all
        undo: str | Callable[..., Any] | None = None,
        type: Any = None,
    ) -> Any:
        """See `Context.step`."""
        return await self.steps.step(
            name,
            fn,
            args,
            key=key,
            mode=mode,
            reconcile=reconcile,
            retry=retry,
            timeout=timeout,
            undo=undo,
            type=type,
        )

    async def rollback(self) -> list[str]:
        """See `Context.rollback`."""
        return await roll_back(self._means, partial(self._other, "an undo function"))

    async def now(self) -> datetime:
        """See `Context.now`."""
        return await self.steps.now()

    def uuid(self, name: str = "") -> UUID:
        """See `Context.uuid`."""
        return self.steps.uuid(name)

    @property
    def random(self) -> Random:
        """See `Context.random`."""
        if self._random is None:
            self._random = Random(key_of(bytes.fromhex(self.idempotency_key), b"random"))
        return self._random

    # -- waits --------------------------------------------------------------------

    async def sleep(
        self,
        seconds: float = 0.0,
        /,
        *,
        minutes: float = 0.0,
        hours: float = 0.0,
        days: float = 0.0,
        until: datetime | None = None,
        key: str | None = None,
    ) -> None:
        """See `Context.sleep`."""
        due = wake_time(seconds + 60.0 * minutes + 3600.0 * hours + 86_400.0 * days, until)
        self._check_waiting("to sleep")
        if self._questions is None:
            self._questions = _Questions()
        if key is None:
            key = self._questions.key_of(SLEEP)
        else:
            check_texts("key", [key])
            key = f"{SLEEP} {key}"
        if due > clock.now() and key not in self._activation.answers:
            self._questions.asked.append(Ask(key, "sleep", SLEEP, due=due, asked=clock.now()))
            raise Suspend(key)

    def _stop(self, ask: Ask) -> NoReturn:
        if self._questions is None:
            self._questions = _Questions()
        self._questions.asked.append(ask)
        raise Suspend(ask.question)

    def _key_of(self, text: str) -> str:
        if self._questions is None:
            self._questions = _Questions()
        return self._questions.key_of(text)

    def _check_waiting(self, question: str) -> None:
        if self.within is not None:
            raise WaitInMiddleware(self.node, question, self.within)
        if self._steps is not None and self._steps.are_inside:
            raise WaitInMiddleware(self.node, question, "a step")

    async def interrupt(
        self,
        question: str,
        payload: Any = None,
        *,
        type: Any = Any,
        key: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - it limits whoever is asked, and outlives the process
        default: Any = None,
    ) -> Any:
        """See `Context.interrupt`."""
        self._check_waiting(question)
        if self._questions is None:
            self._questions = _Questions()
        key = self._questions.key_of(question) if key is None else key
        check_texts("question", [question, key])
        if key in _OF_GRAPHS or key.startswith(NO_QUESTIONS):
            raise ValueError(f"key={key!r} is what waits of other kinds are called; give another one")
        if timeout is not None and not 0 <= timeout <= LONGEST:  # NaN is neither
            raise ValueError(f"timeout={timeout}: give seconds, at most {LONGEST}, or None to wait without an end")
        # none comes while it runs: it runs only when nothing that it asked is open
        if (answer := self._activation.answers.get(key)) is not None:
            try:
                return self.codecs.typed(thaw(answer.value), type)
            except Exception as error:
                raise BadAnswer(self.run_id, question, str(error)) from error
        if timeout is not None:
            try:
                self.codecs.typed(self.codecs.plain(default), type)
            except Exception as error:
                raise BadAnswer(self.run_id, question, f"its default= is not of its type: {error}") from error
        self._questions.asked.append(
            Ask(
                key,
                "ask",
                question,
                self.codecs.plain(payload),
                _schema(type),
                None if timeout is None else clock.now() + timeout,
                self.codecs.plain(default),
                clock.now(),
            )
        )
        raise Suspend(question)


class _Questions:
    """What one attempt asks, and under which keys."""

    def __init__(self) -> None:
        self.asked: list[Ask] = []
        self._counts: Counter[str] = Counter()
        self._keys: set[str] = set()

    def begin_again(self) -> None:
        """Ask from the first question on."""
        self._counts.clear()
        self._keys.clear()

    def key_of(self, question: str) -> str:
        """Its text; of several with the same text also which one it is; and never what is taken already."""
        while True:
            self._counts[question] += 1
            count = self._counts[question]
            key = question if count == 1 else f"{question}#{count}"
            if key not in self._keys and key not in _OF_GRAPHS:
                self._keys.add(key)
                return key


def wake_time(seconds: float, until: datetime | None) -> float:
    """When somebody wakes who is to sleep so long, or until then, in seconds since the epoch.

    Raises:
        ValueError: that is no time.
    """
    if until is not None:
        if seconds:
            raise ValueError("a sleep is so long, or until= a time; say one of them")
        if until.tzinfo is None:
            raise ValueError(f"until={until!r} has no time zone, and this machine's is not the next one's; give one")
        return until.timestamp()
    if not 0 <= seconds <= LONGEST:  # NaN is neither
        raise ValueError(f"sleep({seconds}): give a time that is not negative, and at most a century")
    return clock.now() + seconds


def _schema(wanted: Any) -> Any:
    """What an answer must look like, so that it can be refused where the type is not known; None: anything."""
    if wanted is Any:
        return None
    try:
        return msgspec.json.schema(wanted)
    except TypeError:  # a type that a codec knows: seen when the node goes on
        return None
