"""Difference: what changed in the state between two views of runs. Pure: it compares what it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
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
    if not (old.__class__ is new.__class__ is list and len(new) > len(old)):
        return None
    tail: list[Any] = new[len(old) :]
    return tail if _same(old, new[: len(old)]) else None


def _same(old: Any, new: Any) -> bool:
    """Whether two plain values are the same as data; `==` says so of 1, 1.0 and True, and never of NaN."""
    kind = old.__class__
    if kind is not new.__class__:
        return False
    if kind is list or kind is tuple:
        return len(old) == len(new) and all(map(_same, old, new))
    if kind is dict:
        return old.keys() == new.keys() and all(_same(value, new[key]) for key, value in old.items())
    return repr(old) == repr(new) if kind is float else bool(old == new)
