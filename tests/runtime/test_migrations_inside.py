"""Migrations inside: newer code takes up runs whose graphs inside graphs are of older versions, and commits them."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actorflow import Graph, Runtime, State, Update, migrate
from actorflow.errors import Blocked


class Top(State, version=1):
    """The run's own state; the same under all code."""

    seconds: int = 0


class Middle(State, version=1):
    """The one between; the same, too."""

    seconds: int = 0


class Low1(State, version=1, name="Low"):
    """The lowest, as it was saved."""

    seconds: int = 0


class Low2(State, version=2, name="Low"):
    """As newer code has it."""

    milliseconds: int = 0


@migrate(from_=1, to=2)
def finer(old: dict[str, Any]) -> dict[str, Any]:
    """Another unit."""
    return {"milliseconds": old["seconds"] * 1000}


def graph_of(*, new: bool, until: str, migrations: Any = (finer,), ran: list[str] | None = None) -> Graph[Top]:
    """Three levels; the lowest has three nodes that count, of which ``until`` never ends."""
    field, unit = ("milliseconds", 1000) if new else ("seconds", 1)
    low: Graph[Any] = Graph("low", Low2 if new else Low1, migrations=migrations if new else ())
    before: str | None = None
    for name in ("one", "two", "three"):

        async def count(state: Any, *, name: str = name) -> Update:
            if ran is not None:
                ran.append(name)
            if name == until:
                await anyio.sleep_forever()
            return {field: getattr(state, field) + unit}

        low.node(count, name=name, after=before)
        before = name
    middle = Graph("middle", Middle)
    middle.subgraph(
        low,
        name="low",
        enter=(lambda state: {field: state.seconds * unit}),
        leave=(lambda state: {"seconds": getattr(state, field) // unit}),
    )
    top = Graph("top", Top)
    top.subgraph(middle, name="middle")
    return top


async def left_running(store_url: str, graph: Graph[Top], *, ran: list[str], until: list[str]) -> None:
    """Run until these nodes have begun, and leave the run unfinished: all but the last are committed."""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving by an exception leaves it so
        async with Runtime(store_url, recover="never") as rt:
            await rt.spawn(graph, Top(seconds=5), id="deep", on_conflict="attach")
            await rt.resume(graph, "deep")
            with anyio.fail_after(30):
                while ran != until:
                    await anyio.lowlevel.checkpoint()
            raise ZeroDivisionError


async def test_a_run_is_migrated_three_levels_deep(store_url: str) -> None:
    """Each level by its own graph; here only the lowest has changed."""
    ran: list[str] = []
    await left_running(store_url, graph_of(new=False, until="two", ran=ran), ran=ran, until=["one", "two"])

    async with Runtime(store_url) as rt:
        run = await rt.resume(graph_of(new=True, until="", ran=ran), "deep")
        result = await run.result()

    assert (result.seconds, ran) == (8, ["one", "two", "two", "three"])


async def test_what_newer_code_commits_is_in_its_schema(store_url: str) -> None:
    """Though the run's own schema and topology are the same: nobody needs the migration once that is done."""
    ran: list[str] = []
    await left_running(store_url, graph_of(new=False, until="two", ran=ran), ran=ran, until=["one", "two"])
    ran.clear()
    await left_running(store_url, graph_of(new=True, until="three", ran=ran), ran=ran, until=["two", "three"])

    async with Runtime(store_url) as rt:
        run = await rt.resume(graph_of(new=True, until="", migrations=()), "deep")
        result = await run.result()

    assert result.seconds == 8


async def test_a_run_that_can_not_be_migrated_inside_is_blocked(store_url: str) -> None:
    """Nothing is written, not even a claim; code that can takes it up."""
    ran: list[str] = []
    await left_running(store_url, graph_of(new=False, until="two", ran=ran), ran=ran, until=["one", "two"])

    async with Runtime(store_url, recover="never") as rt:
        with pytest.raises(Blocked, match="Low"):
            await rt.resume(graph_of(new=True, until="", migrations=()), "deep")
        run = await rt.resume(graph_of(new=True, until=""), "deep")
        result = await run.result()

    assert result.seconds == 8
