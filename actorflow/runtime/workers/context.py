"""WorkerContext: what a node in a worker process gets as its second parameter, and what becomes of it here."""

from __future__ import annotations

import logging
import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

from actorflow.engine.records import describe
from actorflow.errors import NotInWorker, RemoteError
from actorflow.graph.context import Context
from actorflow.runtime.workers.wire import Logged, Told, Who

if TYPE_CHECKING:
    from actorflow.engine.records import ErrorInfo
    from actorflow.graph.codec import Codecs
    from actorflow.runtime.context import NodeContext
    from actorflow.runtime.workers.wire import Note, Verb
    from actorflow.runtime.workers.worker import Channel

_logger = logging.getLogger("actorflow.node")


class WorkerContext:
    """The `Context` of one attempt, as far as it reaches into a worker process.

    Who runs can be read; what the node emits, reports and logs is passed on.
    All else (`context`, and what commits) is only where the runtime is:
    asking for it is `NotInWorker`.
    """

    def __init__(self, who: Who, channel: Channel, codecs: Codecs, *, call: int) -> None:
        self.run_id = who.run_id
        self.node = who.node
        self.attempt = who.attempt
        self.idempotency_key = who.idempotency_key
        self.scope = who.scope
        self.index = who.index
        self.error = None if who.error is None else _error(who.error, who.failed)
        self._level = who.log_level
        self._channel = channel
        self._codecs = codecs
        self._call = call

    @cached_property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that knows the run, the node and the attempt. Its lines come out in the runtime's process."""
        logger = logging.Logger("actorflow.node", self._level)  # noqa: LOG001 - of this attempt alone: no handlers of others
        logger.addHandler(_Forward(self._channel, self._call))
        return logging.LoggerAdapter(logger, {"run": self.run_id, "node": self.node, "attempt": self.attempt})

    def emit(self, data: Any) -> None:
        """See `Context.emit`."""
        self._tell("emit", self._codecs.plain(data))

    def progress(self, done: float, total: float | None = None) -> None:
        """See `Context.progress`."""
        self._tell("progress", done, total)

    def heartbeat(self) -> None:
        """See `Context.heartbeat`."""
        self._tell("heartbeat")

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and hasattr(Context, name):
            raise NotInWorker(self.node, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _tell(self, verb: Verb, *arguments: Any) -> None:
        self._channel.send(Told(self._call, verb, arguments))


class _Forward(logging.Handler):
    """Passes each line on to the runtime's process."""

    def __init__(self, channel: Channel, call: int) -> None:
        super().__init__()
        self._channel = channel
        self._call = call
        self._plain = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        exception = self._plain.formatException(record.exc_info) if record.exc_info else None
        self._channel.send(
            Logged(
                self._call,
                record.levelno,
                record.getMessage(),
                record.pathname,
                record.lineno,
                record.funcName or "",
                record.created,
                exception,
            )
        )


def _error(told: ErrorInfo, node: str | None) -> RemoteError:
    return RemoteError(told.type, told.message, told.traceback, node=node)


def who_of(ctx: NodeContext) -> Who:
    """In the runtime's process: what a worker process is told of a context."""
    error, failed = (None, None) if ctx.error is None else (describe(ctx.error), ctx.error.node)
    level = ctx.log.getEffectiveLevel()
    return Who(ctx.run_id, ctx.node, ctx.attempt, ctx.idempotency_key, ctx.scope, ctx.index, error, failed, level)


def carry_out(note: Note, ctx: NodeContext | None) -> None:
    """In the runtime's process: do what a node asked its context for. None: it has none, as while it is imported."""
    if ctx is None:
        return
    if isinstance(note, Told):
        ctx.tell(note.verb, note.arguments)
        return
    line = {
        **(ctx.log.extra or {}),
        "name": _logger.name,
        "levelno": note.level,
        "levelname": logging.getLevelName(note.level),
        "msg": note.message,
        "pathname": note.path,
        "filename": os.path.basename(note.path),  # noqa: PTH119 - a text, of a file that need not be here
        "lineno": note.line,
        "funcName": note.function,
        "created": note.created,
        "exc_text": note.exception,
    }
    _logger.handle(logging.makeLogRecord(line))
