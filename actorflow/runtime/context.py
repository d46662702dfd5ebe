"""NodeContext: what the runtime hands to a node as its second parameter."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from actorflow.engine.flow import AFTER
from actorflow.engine.operations import thaw
from actorflow.engine.records import Ask
from actorflow.engine.waits import BEFORE
from actorflow.errors import BadAnswer, WaitInMiddleware
from actorflow.runtime.options import check_texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.engine.run import Answer
    from actorflow.errors import RemoteError
    from actorflow.graph.codec import Codecs

_OF_GRAPHS = frozenset({BEFORE, AFTER})

LONGEST = 100 * 366 * 86_400
"""Seconds: no question expires later than a century from now."""

_logger = logging.getLogger("actorflow.node")


class Suspend(BaseException):  # noqa: N818 - it is no error; a node's `except Exception` must not take it for one
    """Leaves a node that waits for an answer. The node runs again, from its start, when it has it."""


@dataclass(frozen=True)
class NodeContext:
    """The `Context` of one attempt."""

    run_id: str
    node: str
    attempt: int
    idempotency_key: str
    context: Any
    scope: str = ""
    index: int | None = None
    error: RemoteError | None = None
    codecs: Codecs | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    tell: Callable[[str, tuple[Any, ...]], None] = lambda *_: None
    asked: list[Ask] = field(default_factory=list[Ask])
    may_wait: bool = True
    _counts: Counter[str] = field(default_factory=Counter[str])
    _keys: set[str] = field(default_factory=set[str])

    @cached_property
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

    def ask_anew(self) -> None:
        """The function is called once more: it asks from its first question on."""
        self._counts.clear()
        self._keys.clear()

    def _key_of(self, question: str) -> str:
        """Its text; of several with the same text also which one it is; and never what is taken already."""
        while True:
            self._counts[question] += 1
            count = self._counts[question]
            key = question if count == 1 else f"{question}#{count}"
            if key not in self._keys and key not in _OF_GRAPHS:
                self._keys.add(key)
                return key

    async def interrupt(
        self,
        question: str,
        payload: Any = None,
        *,
        type: Any = Any,
        key: str | None = None,
        timeout: float | None = None,
        default: Any = None,
    ) -> Any:
        """See `Context.interrupt`."""
        if not self.may_wait:
            raise WaitInMiddleware(self.node, question)
        key = self._key_of(question) if key is None else key
        assert self.codecs is not None, "a context that can't ask has no interrupt"  # noqa: S101
        check_texts("question", [question, key])
        if key in _OF_GRAPHS:
            raise ValueError(f"key={key!r} is what the graph's own questions are called; give another one")
        if timeout is not None and not 0 <= timeout <= LONGEST:  # NaN is neither
            raise ValueError(f"timeout={timeout}: give seconds, at most {LONGEST}, or None to wait without an end")
        if (answer := self.answers.get(key)) is not None:
            try:
                return self.codecs.typed(thaw(answer.value), type)
            except Exception as error:
                raise BadAnswer(self.run_id, question, str(error)) from error
        if timeout is not None:
            try:
                self.codecs.typed(self.codecs.plain(default), type)
            except Exception as error:
                raise BadAnswer(self.run_id, question, f"its default= is not of its type: {error}") from error
        self.asked.append(
            Ask(
                key,
                "ask",
                question,
                self.codecs.plain(payload),
                _schema(type),
                None if timeout is None else time.time() + timeout,
                self.codecs.plain(default),
                time.time(),
            )
        )
        raise Suspend(question)


def _schema(wanted: Any) -> Any:
    """What an answer must look like, so that it can be refused where the type is not known; None: anything."""
    if wanted is Any:
        return None
    try:
        return msgspec.json.schema(wanted)
    except TypeError:  # a type that a codec knows: seen when the node goes on
        return None
