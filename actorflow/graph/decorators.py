"""Decorators: what those of a graph are to type checkers. They hand the function back as it was."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar, overload

from actorflow.graph.message import Message
from actorflow.graph.node import Answer, Outcome
from actorflow.graph.routing import Target
from actorflow.graph.state import State

if TYPE_CHECKING:
    from actorflow.graph.context import Context

S = TypeVar("S", bound=State)
R = TypeVar("R", bound=Outcome | Awaitable[Outcome])
B = TypeVar("B", bound=Target | Sequence[Target])
M = TypeVar("M", bound=Message)
A = TypeVar("A", bound=Answer | Awaitable[Answer])
In = TypeVar("In")  # what a node takes: the state, or what is sent to it


class NodeDecorator(Protocol[In]):
    """What ``@graph.node(...)`` is."""

    @overload
    def __call__(self, fn: Callable[[In], R], /) -> Callable[[In], R]: ...
    @overload
    def __call__(self, fn: Callable[[In, Context], R], /) -> Callable[[In, Context], R]: ...


class HandlerDecorator(Protocol[S, M]):
    """What ``@graph.on(...)`` is."""

    @overload
    def __call__(self, fn: Callable[[S, M], A], /) -> Callable[[S, M], A]: ...
    @overload
    def __call__(self, fn: Callable[[S, M, Context], A], /) -> Callable[[S, M, Context], A]: ...


class BranchDecorator(Protocol[S]):
    """What ``@graph.branch(...)`` is."""

    def __call__(self, fn: Callable[[S], B], /) -> Callable[[S], B]:
        """Declare this function."""
        ...
