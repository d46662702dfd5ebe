"""One commit: what a message did to a run, and all that it sent for it, is kept together or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actorflow import Context, Graph, Message, Reply, Runtime, State
from actorflow.errors import CommitTooLarge
from tests.runtime.correspondents import killed_everywhere, until

if TYPE_CHECKING:
    from collections.abc import Sequence

KIB = 1024
PAGES = 6
TURNS = 3


class Page(Message, version=1):
    """Is collected."""

    number: int
    text: str


class Write(Message, version=1):
    """Is answered, and leads to many pages."""


class Book(State, version=1):
    """The pages that came, and how often somebody wrote."""

    pages: list[int] = []
    written: int = 0


def book() -> Graph[Book]:
    """Collects pages."""
    graph = Graph("book", Book, lifetime="actor")

    @graph.on(Page)
    async def add(state: Book, msg: Page) -> dict[str, Any]:
        return {"pages": [*state.pages, msg.number]}

    return graph


def author(*, size: int) -> Graph[Book]:
    """Sends many pages for each message."""
    graph = Graph("author", Book, lifetime="actor")

    @graph.on(Write)
    async def write(state: Book, msg: Write, ctx: Context) -> Reply:
        for number in range(PAGES):
            await ctx.send("book", Page(number=state.written * PAGES + number, text="." * size))
        return Reply("done", {"written": state.written + 1})

    return graph


@pytest.fixture
def small_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit holds 64 KiB, as it otherwise holds 64 MiB."""
    monkeypatch.setattr("actorflow.store.framing.MAX_BODY", 65 * KIB)
    monkeypatch.setattr("actorflow.runtime.pending.MAX_VALUE", 64 * KIB)


def _graphs() -> list[Graph[Any]]:
    return [book(), author(size=9 * KIB)]


async def _write(rt: Runtime, graphs: Sequence[Graph[Any]]) -> None:
    """Let three messages be handled one right after the other, so that they are committed together."""
    shelf = await rt.spawn(graphs[0], id="book", on_conflict="attach")
    run = await rt.spawn(graphs[1], id="author", on_conflict="attach")
    await run.pause()
    for number in range(TURNS):
        await run.send(Write(), id=str(number))
    await run.unpause()
    await until(lambda: shelf.query(lambda state: len(state.pages) >= TURNS * PAGES))
    assert (await shelf.state()).pages == list(range(TURNS * PAGES))
    assert (await run.state()).written == TURNS


@pytest.mark.usefixtures("small_commits")
async def test_what_a_turn_sends_is_not_parted_from_what_it_did() -> None:
    """However many turns are committed together. Planted: a commit takes as many records as there is room for."""
    assert await killed_everywhere(_graphs, _write, kinds=("after",), every=2) > 3


@pytest.mark.usefixtures("small_commits")
async def test_what_no_commit_can_hold_is_not_kept_in_part(store_url: str) -> None:
    """The run stops with a typed error, before anybody was told of anything."""
    async with Runtime(store_url, drain="park", recover="never") as rt:
        shelf = await rt.spawn(book(), id="book")
        run = await rt.spawn(author(size=11 * KIB), id="author")

        with pytest.raises(CommitTooLarge):
            await run.ask(Write(), id="once")

        assert (await shelf.state()).pages == []
        _, kept = await rt.load("author")
        assert (kept.root.values["written"], kept.mail.outbox) == (0, [])
