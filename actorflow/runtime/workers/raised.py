"""Raised: an exception of a worker process, as text on the way, and as an exception again where it arrives.

No class is looked up by a name that was sent. An exception becomes one of
Python's own by a fixed table; any other becomes a `RemoteError`, which is also
an instance of those classes that this process names itself (Python's own, and
those of ``Retry(on=)``), so that ``except`` and ``on=`` work as they would here.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any, cast

from msgspec import msgpack

from actorflow.engine.records import describe
from actorflow.errors import RemoteError
from actorflow.runtime.workers.wire import Raised

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

_PLAIN = (str, int, float, bool, bytes, type(None))

_BUILTINS: dict[str, type[Exception]] = {
    f"builtins:{name}": kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type)
    and issubclass(kind, Exception)
    and kind is not Exception
    # a group holds exceptions that are not sent; StopIteration means something else where coroutines raise it
    and not issubclass(kind, BaseExceptionGroup | StopIteration | StopAsyncIteration)
}


def pack_error(error: BaseException, *, call: int) -> Raised:
    """In the worker process: an exception as a message."""
    plain = error.with_traceback(_without_ours(error.__traceback__))
    bases = tuple(_path(base) for base in type(error).__mro__)
    return Raised(call, describe(plain), bases, _arguments(error))


def unpack_error(raised: Raised, named: Iterable[type[Exception]]) -> Exception:
    """In the runtime's process: the exception, or what stands for it.

    Args:
        raised: what was sent.
        named: the classes that the graph's declaration names.
    """
    sent = raised.error
    exact = _BUILTINS.get(raised.bases[0]) if raised.bases else None
    if exact is not None and raised.arguments is not None:
        rebuilt = _rebuild(exact, raised.arguments, sent.message)
        if rebuilt is not None:
            rebuilt.add_note(sent.traceback.rstrip())
            return rebuilt
    known = _BUILTINS | {_path(kind): kind for kind in named}
    bases: list[type[Exception]] = []
    for path in raised.bases:
        kind = known.get(path)
        if kind is not None and not any(issubclass(base, kind) for base in bases):
            bases.append(kind)
    return _stand_in(bases, (sent.type, sent.message, sent.traceback))


def _stand_in(bases: Sequence[type[Exception]], told: tuple[str, str, str]) -> RemoteError:
    """A RemoteError that is an instance of these as well, without having run any of their code."""
    if bases:
        try:
            kind = cast("type[RemoteError]", type("RemoteError", (RemoteError, *bases), {}))
            native = next(base for base in kind.__mro__ if base.__module__ == "builtins")
            make: Any = native.__new__
            error = cast("RemoteError", make(kind))
            RemoteError.__init__(error, *told)
        except Exception:  # noqa: BLE001 - a class that lets nobody inherit it: the error itself must not be lost
            return RemoteError(*told)
        return error
    return RemoteError(*told)


def _rebuild(kind: type[Exception], arguments: tuple[Any, ...], message: str) -> Exception | None:
    try:
        error = kind(*arguments)
    except Exception:  # noqa: BLE001 - then it can't be made of them
        return None
    return error if str(error) == message else None


def _arguments(error: BaseException) -> tuple[Any, ...] | None:
    """What one of Python's own exceptions is made again of, if that is plain and short."""
    if _path(type(error)) not in _BUILTINS:
        return None
    reduced: Any = error.__reduce__()  # an OSError's args lack its file name; this has it
    arguments = cast("tuple[Any, ...]", reduced[1])
    if not all(isinstance(argument, _PLAIN) for argument in arguments):
        return None
    try:
        return arguments if len(msgpack.encode(arguments)) <= 4_000 else None
    except Exception:  # noqa: BLE001 - a lone surrogate, a huge int: the text goes without them
        return None


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the user's function on."""
    own = __name__.rpartition(".")[0]
    while trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith(own):
        trace = trace.tb_next
    return trace


def _path(kind: type[Any]) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"
