"""Options: the words, texts and contexts that a runtime is given, refused at once where they can't be what is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from actorflow.errors import BadContext

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.graph.graph import Graph

Durability = Literal["sync", "async", "exit"]
OnConflict = Literal["fail", "attach"]
Recover = Literal["owned", "always", "never"]
Drain = Literal["finish", "park"]


def check_word(name: str, given: object, words: Any) -> None:
    """Refuse what is none of the words of a ``Literal``: a misspelt one would be taken for the default, or be kept.

    Raises:
        ValueError: naming those that there are.
    """
    if given not in get_args(words):
        raise ValueError(f"{name}={given!r}: it is one of {', '.join(map(repr, get_args(words)))}")


def check_texts(name: str, given: Iterable[object]) -> None:
    """Refuse what is no str among values that are written as such, and what can't be written.

    Raises:
        TypeError, ValueError: naming the first.
    """
    for one in given:
        if not isinstance(one, str):
            raise TypeError(f"{name}: {one!r} is of type {type(one).__name__}, not str")
        try:
            one.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{name}: {one!r} has half of a character in it, and can't be written") from error


def check_limit(limit: int | None) -> None:
    """Refuse a limit that is none.

    Raises:
        ValueError: it is below 0.
    """
    if limit is not None and limit < 0:
        raise ValueError(f"limit={limit}: give a number that is not below 0, or None for all")


def check_context(graph: Graph[Any], context: object) -> None:
    """Refuse what is not of the class that the graph declares as its ``context=``. None is a context that is missing.

    Raises:
        BadContext: naming both classes.
    """
    if context is None or graph.context_type is None:
        return
    try:
        fits = isinstance(context, graph.context_type)
    except TypeError:  # a typing construct, or a Protocol that is not runtime_checkable: nobody can tell
        return
    if not fits:
        raise BadContext(graph.name, graph.context_type, context)
