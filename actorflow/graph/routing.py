"""Routing: how a node or a branch says where a token goes next."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, Literal, cast

if TYPE_CHECKING:
    from actorflow.graph.state import Update


class End(Enum):
    """The type of `END`; write ``-> Update | End`` for a node that may return it."""

    END = "__end__"  # the value stands for it in files; no node may have this name

    def __repr__(self) -> str:
        return "END"

    __str__ = __repr__


END: Final = End.END
"""Ends a token of its own scope. The run goes on as long as other tokens do."""


class NodeHandle:
    """What `Graph.map` and `Graph.subgraph` return: refers to the node wherever a function would."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __repr__(self) -> str:
        return f"<node {self.__name__!r}>"


NodeRef = str | NodeHandle | Callable[..., Any]
"""A node, by its name, by the function that was declared as it, or by what declaring it returned."""

Target = NodeRef | End
"""Where an edge or a route may lead."""


@dataclass(frozen=True, slots=True, init=False)
class Goto:
    """Returned by a node: go to these nodes *instead of* along its edges and branches.

    The targets must be declared with ``goto=``, except for `END`; another one
    fails the run with `UndeclaredTarget`. ``update`` is merged as if the node
    had returned it, so that ``Goto(END, update=...)`` is an end with an update.

    Inside a subgraph, ``parent=True`` leaves it: what else goes on in it is
    cancelled, its results are handed up, and the graph around it goes to these
    nodes, which are declared with ``goto=`` of the subgraph, again except for `END`.

    Example:
        >>> from actorflow import Goto
        >>> Goto("publish", update={"reviewed": True})
        Goto('publish', update={'reviewed': True})
    """

    targets: tuple[Target, ...]
    update: Update | None
    parent: bool

    def __init__(self, node: Target, /, *more: Target, update: Update | None = None, parent: bool = False) -> None:
        object.__setattr__(self, "targets", (node, *more))
        object.__setattr__(self, "update", update)
        object.__setattr__(self, "parent", parent)

    def __repr__(self) -> str:
        parts = [repr(target) if isinstance(target, str) else label(target) for target in self.targets]
        parts += [] if self.update is None else [f"update={self.update!r}"]
        parts += ["parent=True"] if self.parent else []
        return f"Goto({', '.join(parts)})"


@dataclass(frozen=True, slots=True)
class Send:
    """Returned by a node, alone or in a list: run ``node`` with this input, beside whatever else is sent.

    The targets must be declared with ``send=``. All inputs that one activation
    sends to a node are the items of one fan-out: the node's updates are merged
    in their order when the last of them is done, and then its edges are
    followed once. The sends replace the sender's own edges and branches, as a
    `Goto` does. An empty list is a fan-out without items: of a single declared
    target the edges are followed at once. ``update`` is the sender's own.

    Example:
        >>> from actorflow import Send
        >>> [Send("score", name) for name in ("a.txt", "b.txt")]
        [Send('score', 'a.txt'), Send('score', 'b.txt')]
    """

    node: NodeRef
    input: Any
    update: Update | None = None

    def __repr__(self) -> str:
        node = repr(self.node) if isinstance(self.node, str) else label(self.node)
        update = "" if self.update is None else f", update={self.update!r}"
        return f"Send({node}, {self.input!r}{update})"


@dataclass(frozen=True, slots=True)
class Reply:
    """Returned by a handler of messages: what whoever asked gets for an answer, once all of this is durable.

    ``update`` is merged as if the handler had returned it; a `Goto` or `END`
    leads where it would have led. What is asked and gets no `Reply` is answered
    with None when the handler has finished.

    Example:
        >>> from actorflow import Reply
        >>> Reply(150, update={"balance": 150})
        Reply(value=150, update={'balance': 150})
    """

    value: Any
    update: Update | Goto | End | None = None


def label(target: object) -> str:
    """A target as a message shows it: a node's name, a function's name, or whatever it is."""
    return target if isinstance(target, str) else str(getattr(target, "__name__", target))


def as_tuple(given: object) -> tuple[object, ...]:
    """One reference or a tuple or list of them, as a tuple."""
    return tuple(cast("Sequence[object]", given)) if isinstance(given, list | tuple) else (given,)


def targets_in(annotation: Any) -> tuple[str | End, ...] | None:
    """The targets that a branch's return annotation names, in order; None if it does not say them all.

    Understood are ``Literal["a", "b"]``, ``End``, unions of such, and lists,
    sequences and tuples of them for a branch that returns several.
    """
    annotation = getattr(annotation, "__value__", annotation)  # type Verdict = Literal[...]
    if annotation is End:
        return (END,)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return arguments if all(isinstance(argument, str | End) for argument in arguments) else None
    if origin not in (typing.Union, UnionType, list, tuple, Sequence):
        return None
    found = [targets_in(argument) for argument in arguments if argument is not Ellipsis]
    if any(targets is None for targets in found):
        return None
    return tuple(dict.fromkeys(target for targets in found if targets for target in targets))
