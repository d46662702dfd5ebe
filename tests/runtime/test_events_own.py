"""Events belong to whoever is told: what he does to what they hold is seen by nobody else, least of all by the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import anyio

from actorflow import Context, Graph, Runtime, State, Update, extend

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.runtime.events import Event


class Doc(State, version=1):
    """What may hold anything."""

    doc: dict[str, Any] = {}
    rows: Annotated[list[dict[str, int]], extend] = []
    copied: dict[str, Any] = {}


def writing(seen: anyio.Event) -> Graph[Doc]:
    """A node writes, a second one waits until who watches was told, and copies what is there."""
    graph = Graph("writing", Doc)

    @graph.node
    async def write(state: Doc) -> Update:
        return {"doc": {"user": {"mail": "a@b"}}, "rows": [{"n": 1}]}

    @graph.node(after=write)
    async def copy(state: Doc, ctx: Context) -> Update:
        await seen.wait()
        return {"copied": {"doc": state.doc, "rows": state.rows}}

    return graph


async def left_of(store_url: str, mode: Any, spoil: Callable[[Any], None]) -> tuple[Any, list[Event]]:
    """What a run ends with that is watched by somebody who changes what he is told; and what he who came next heard."""
    seen = anyio.Event()
    async with Runtime(store_url) as rt:
        run = await rt.spawn(writing(seen), id="r")
        other = run.events(mode, committed_only=True)
        async for event in run.events(mode, committed_only=True):
            spoil(event)
            if getattr(event, "node", None) == "write" or getattr(event, "values", {}).get("rows"):
                seen.set()
        heard = [event async for event in other]
        end = await run.result()
    return end, heard


async def test_who_changes_the_values_that_he_is_told_changes_no_run(store_url: str) -> None:
    """A watcher that blacks out an address before it logs the state leaves it in the run."""

    def spoil(event: Any) -> None:
        values = event.values
        if values.get("doc"):
            values["doc"]["user"]["mail"] = "***"
            values["rows"].append("more")
            values["rows"][0]["n"] = 2

    end, _ = await left_of(store_url, "values", spoil)

    assert end.doc == {"user": {"mail": "a@b"}}
    assert end.rows == [{"n": 1}]
    assert end.copied == {"doc": end.doc, "rows": end.rows}


async def test_who_changes_the_update_that_he_is_told_changes_no_run(store_url: str) -> None:
    """Likewise of what a node wrote: in its fields, and in its operations."""

    def spoil(event: Any) -> None:
        if event.node == "write":
            event.fields["doc"]["user"]["mail"] = "***"
            event.fields["rows"][0]["n"] = 2
            event.operations[0].value["user"]["mail"] = "***"

    end, _ = await left_of(store_url, "updates", spoil)

    assert end.doc == {"user": {"mail": "a@b"}}
    assert end.rows == [{"n": 1}]
    assert end.copied == {"doc": end.doc, "rows": end.rows}


async def test_who_changes_what_a_node_finished_with_changes_no_run(store_url: str) -> None:
    """Likewise as the news of the node says it."""

    def spoil(event: Any) -> None:
        if event.kind == "finished" and event.node == "write":
            event.update[0].value["user"]["mail"] = "***"
            event.update[1].items.append({"n": 2})

    end, _ = await left_of(store_url, "nodes", spoil)

    assert end.doc == {"user": {"mail": "a@b"}}
    assert end.rows == [{"n": 1}]
    assert end.copied == {"doc": end.doc, "rows": end.rows}
