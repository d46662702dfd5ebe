"""Options: the words and texts that a runtime is given, refused at once where a file could not be read with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable

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
