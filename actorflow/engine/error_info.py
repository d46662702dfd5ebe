"""Error info: an exception as a record keeps it: text."""

from __future__ import annotations

import traceback

from msgspec import Struct

from actorflow.errors import RemoteError

_MESSAGE_LIMIT = 4_000  # characters kept of what an exception says
_TRACEBACK_LIMIT = 8_000  # characters kept of a traceback: the innermost frames


class ErrorInfo(Struct, frozen=True, array_like=True):
    """An exception as it is kept: text only, so that reading it runs nothing."""

    type: str
    message: str
    traceback: str = ""


def describe(error: BaseException) -> ErrorInfo:
    """An exception as text that can be kept; one that came as text from another process as it was there."""
    if isinstance(error, RemoteError):
        return ErrorInfo(error.type_name, error.message, error.traceback)
    text = "".join(traceback.format_exception(error))
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001 - a user's exception that can't even be shown
        message = f"(its text could not be read: {type(broken).__name__})"
    return ErrorInfo(type(error).__name__, _clean(message[:_MESSAGE_LIMIT]), _clean(text[-_TRACEBACK_LIMIT:]))


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
