"""Records of steps: effects that a node wants to happen once; see `memos`."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from actorflow.engine.error_info import ErrorInfo

Shape = tuple[str, int | str | None, tuple[tuple[str, str, bool], ...]]
"""The name, version and field table of the State that a value is of."""


class Intended(Struct, frozen=True, array_like=True, tag="intended"):
    """A step that must not run twice is about to begin."""

    id: int
    step: bytes
    name: str
    key: str | None
    at: float  # seconds since the epoch


class Tried(Struct, frozen=True, array_like=True, tag="tried"):
    """A step failed, and the next attempt is far enough away to be worth remembering."""

    id: int
    step: bytes
    name: str
    key: str | None
    attempt: int
    due: float  # seconds since the epoch
    began: float  # its first attempt, likewise
    error: ErrorInfo


class Stepped(Struct, frozen=True, array_like=True, tag="stepped"):
    """A step of an activation is over: what it returned, or the error that it ended with for good."""

    id: int
    step: bytes
    name: str
    key: str | None
    value: Any = None
    error: ErrorInfo | None = None
    shape: Shape | None = None
    undo: str | None = None  # the function of the graph that undoes it


class Undone(Struct, frozen=True, array_like=True, tag="undone"):
    """An activation undid what a step had done."""

    id: int
    step: bytes


StepRecord = Intended | Tried | Stepped | Undone
"""What happens by steps."""
