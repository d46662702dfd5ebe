"""Sizes: what is too large fails where it is made, and a state may outgrow what one commit can hold."""

from __future__ import annotations

from typing import Annotated

import pytest

from actorflow import END, Graph, Runtime, State, Update, extend
from actorflow.errors import BadUpdate, RunFailed

KIB = 1024
MIB = 1024 * KIB


class Blob(State):
    """Bytes, one piece or many."""

    n: int = 0
    piece: bytes = b""
    pieces: Annotated[list[bytes], extend] = []


async def test_a_value_too_large_for_one_commit_fails_its_node(store_url: str) -> None:
    """64 MiB are inline; more names node and field, and the run keeps what it had."""
    graph = Graph("large", Blob)

    @graph.node
    async def small(state: Blob) -> Update:
        return {"n": 1}

    @graph.node(after=small)
    async def huge(state: Blob) -> Update:
        return {"piece": bytes(65 * MIB)}

    async with Runtime(store_url) as rt:
        with pytest.raises(RunFailed, match=r"node 'huge', field 'piece'.*64 MiB") as caught:
            await rt.run(graph, Blob(), id="x")

    assert isinstance(caught.value.__cause__, BadUpdate)
    assert caught.value.state.n == 1


async def test_an_input_too_large_for_one_commit_is_refused(store_url: str) -> None:
    """Nothing is begun."""
    graph = Graph("large", Blob)

    @graph.node
    async def small(state: Blob) -> Update:
        return {"n": 1}

    async with Runtime(store_url) as rt:
        with pytest.raises(BadUpdate, match="64 MiB"):
            await rt.spawn(graph, Blob(piece=bytes(65 * MIB)), id="x")
        assert await rt.runs() == []


async def test_a_state_may_outgrow_a_snapshot(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No snapshot fits into a commit any more: the run goes on by its records, and can be read."""
    monkeypatch.setattr("actorflow.store.framing.MAX_BODY", 128 * KIB)
    monkeypatch.setattr("actorflow.runtime.pending.MAX_VALUE", 128 * KIB)
    graph = Graph("pieces", Blob)

    @graph.node(entry=True)
    async def add(state: Blob) -> Update:
        grow = {"pieces": [bytes(40 * KIB)]} if state.n < 4 else {}
        return {"n": state.n + 1, "piece": bytes(60 * KIB), **grow}

    graph.branch(lambda state: "add" if state.n < 40 else END, after=add, to=("add", END))
    async with Runtime(store_url) as rt:
        assert (await rt.run(graph, Blob(), id="x")).n == 40
    async with Runtime(store_url) as rt:
        rt.register(graph)
        assert len((await rt.get("x").state()).pieces) == 4
