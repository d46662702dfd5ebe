"""Groups: what a task group raised, as the one exception it was about."""

from __future__ import annotations

from typing import cast

from anyio import get_cancelled_exc_class


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception in a group that is none itself; a Ctrl-C or exit before any other, a cancellation last."""
    return min(_leaves(group), key=_rank)


def _rank(leaf: BaseException) -> int:
    if isinstance(leaf, KeyboardInterrupt | SystemExit):
        return 0
    return 2 if isinstance(leaf, get_cancelled_exc_class()) else 1


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for inner in group.exceptions:
        if isinstance(inner, BaseExceptionGroup):
            found += _leaves(cast("BaseExceptionGroup[BaseException]", inner))
        else:
            found.append(inner)
    return found
