"""Difference: what changed in the state between two views of runs. Pure: it compares what it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.runtime.view import View


class Change(Struct, frozen=True):
    """What became of one field. A list that only grew also says by what."""

    field: str
    old: Any
    new: Any
    added: list[Any] | None = None  # the elements at the end of ``new``, if all before them are those of ``old``
    was_there: bool = True  # False: a field that the older state does not have
    is_there: bool = True


def diff(a: View[Any], b: View[Any]) -> tuple[Change, ...]:
    """The fields that differ from one view to another, in the order of the newer state.

    Of one run or of two: a fork and where it came from, a run in two stores.
    Values are compared as they were saved, each in its own schema; 1 and True
    differ, NaN is NaN.

    Example:
        >>> import anyio
        >>> from actorflow import Graph, Runtime, State, diff
        >>> class Count(State):
        ...     n: int = 0
        >>> count = Graph("count", Count)
        >>> @count.node
        ... async def add(state: Count):
        ...     return {"n": state.n + 1}
        >>> async def main():
        ...     async with Runtime("memory://") as rt:
        ...         run = await rt.spawn(count, Count(n=1))
        ...         await run.result()
        ...         for change in diff(await run.at(0), await run.at()):
        ...             print(change.field, change.old, change.new)
        >>> anyio.run(main)
        n 1 2
    """
    old, new = a.values, b.values
    changes = [
        Change(name, old.get(name), value, _added(old.get(name), value), was_there=name in old)
        for name, value in new.items()
        if name not in old or not _same(old[name], value)
    ]
    gone = [Change(name, value, None, is_there=False) for name, value in old.items() if name not in new]
    return tuple(changes + gone)


def _added(old: Any, new: Any) -> list[Any] | None:
    if not isinstance(old, list) or not isinstance(new, list):
        return None
    before, after = cast("list[Any]", old), cast("list[Any]", new)
    return after[len(before) :] if len(after) > len(before) and _same(before, after[: len(before)]) else None


def _same(old: Any, new: Any) -> bool:
    """Whether two plain values are the same as data; `==` says so of 1, 1.0 and True, and never of NaN."""
    if old.__class__ is not new.__class__:
        return False
    match old:
        case list() | tuple():
            items: Sequence[Any] = old
            return len(items) == len(new) and all(map(_same, items, new))
        case dict():
            entries: dict[Any, Any] = old
            return entries.keys() == new.keys() and all(_same(value, new[key]) for key, value in entries.items())
        case float():
            return repr(old) == repr(new)
        case _:
            return bool(old == new)
