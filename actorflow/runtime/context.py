"""NodeContext: what the runtime hands to a node as its second parameter."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from actorflow.engine.flow import AFTER
from actorflow.engine.operations import thaw
from actorflow.engine.records import Ask
from actorflow.engine.waits import BEFORE
from actorflow.errors import BadAnswer, RemoteError, WaitInMiddleware
from actorflow.runtime import clock
from actorflow.runtime.options import check_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actorflow.engine.run import Activation
    from actorflow.graph.codec import Codecs

_OF_GRAPHS = frozenset({BEFORE, AFTER})

LONGEST = 100 * 366 * 86_400
"""Seconds: no question expires later than a century from now."""

_logger = logging.getLogger("actorflow.node")


class Suspend(BaseException):
    """Leaves a node that waits for an answer. The node runs again, from its start, when it has it."""


class NodeContext:
    """The `Context` of one attempt. Made for each, so that what few nodes ask for is made when it is asked for."""

    __slots__ = ("_activation", "_questions", "attempt", "codecs", "context", "may_wait", "run_id", "tell")

    def __init__(
        self,
        activation: Activation,
        attempt: int,
        *,
        run_id: str,
        context: Any,
        codecs: Codecs,
        tell: Callable[[str, tuple[Any, ...]], None],
        may_wait: bool = True,
    ) -> None:
        """Describe one attempt.

        Args:
            activation: which is attempted.
            attempt: the first is 1.
            run_id: of its run.
            context: given by the user.
            codecs: of its State.
            tell: is told what the node emits and reports.
            may_wait: whether it may ask questions.
        """
        self.run_id = run_id
        self.attempt = attempt
        self.context = context
        self.codecs = codecs
        self.tell = tell
        self.may_wait = may_wait
        self._activation = activation
        self._questions: _Questions | None = None

    def unable_to_wait(self) -> NodeContext:
        """The same for what is around the function, which must not ask."""
        return NodeContext(
            self._activation,
            self.attempt,
            run_id=self.run_id,
            context=self.context,
            codecs=self.codecs,
            tell=self.tell,
            may_wait=False,
        )

    @property
    def node(self) -> str:
        """See `Context.node`."""
        return self._activation.node

    @property
    def idempotency_key(self) -> str:
        """See `Context.idempotency_key`."""
        return self._activation.key.hex()

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
        if not self.may_wait:
            raise WaitInMiddleware(self.node, question)
        if self._questions is None:
            self._questions = _Questions()
        key = self._questions.key_of(question) if key is None else key
        check_texts("question", [question, key])
        if key in _OF_GRAPHS:
            raise ValueError(f"key={key!r} is what the graph's own questions are called; give another one")
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


def _schema(wanted: Any) -> Any:
    """What an answer must look like, so that it can be refused where the type is not known; None: anything."""
    if wanted is Any:
        return None
    try:
        return msgspec.json.schema(wanted)
    except TypeError:  # a type that a codec knows: seen when the node goes on
        return None
