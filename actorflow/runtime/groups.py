"""Groups: what a task group raised, as the one exception it was about."""

from __future__ import annotations

from typing import cast


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception in a group that is none itself; a Ctrl-C or exit before any other."""
    leaves = list(_leaves(group))
    return next((leaf for leaf in leaves if not isinstance(leaf, Exception)), leaves[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for inner in group.exceptions:
        if isinstance(inner, BaseExceptionGroup):
            found += _leaves(cast("BaseExceptionGroup[BaseException]", inner))
        else:
            found.append(inner)
    return found
