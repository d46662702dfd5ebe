"""One commit: what a message did to a run, and all that it sent for it, is kept together or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from actorflow import Context, Graph, Message, Reply, Runtime, State
from actorflow.engine.records import Posted, Record, decode_body
from actorflow.errors import CommitTooLarge
from actorflow.runtime.large import Splitter
from actorflow.runtime.pending import Pending
from actorflow.store.memory import MemoryBackend
from actorflow.store.store import open_store

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


def author() -> Graph[Book]:
    """Sends more pages for a message than one commit of these tests can hold."""
    graph = Graph("author", Book, lifetime="actor")

    @graph.on(Write)
    async def write(state: Book, msg: Write, ctx: Context) -> Reply:
        for number in range(PAGES):
            await ctx.send("book", Page(number=number, text="." * 11 * KIB))
        return Reply("done", {"written": state.written + 1})

    return graph


@pytest.fixture
def small_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit holds 64 KiB, as it otherwise holds 64 MiB."""
    monkeypatch.setattr("actorflow.store.framing.MAX_BODY", 65 * KIB)
    monkeypatch.setattr("actorflow.runtime.pending.MAX_VALUE", 64 * KIB)


@pytest.mark.usefixtures("small_commits")
def test_what_was_decided_together_is_not_parted() -> None:
    """However much waits beside it. Planted: a commit takes as many records as there is room for."""
    blobs = open_store(MemoryBackend()).blobs("author")
    pending = Pending(large=Splitter(blobs, epoch=1, known={}), snapshot=None)
    turns = [[Posted(f"book {turn}", "message", values="." * 9 * KIB)] * PAGES for turn in range(TURNS)]
    for turn in turns:
        pending.add(turn)

    commits = list[list[Record]]()
    while pending:
        commits.append(list(decode_body(pending.seal().body).records))

    assert commits == turns


@pytest.mark.usefixtures("small_commits")
def test_what_decided_nothing_makes_no_commit() -> None:
    """Where a commit can't hold all that waits, none of the commits is empty."""
    blobs = open_store(MemoryBackend()).blobs("author")
    pending = Pending(large=Splitter(blobs, epoch=1, known={}), snapshot=None)
    turns = [[Posted("book", "message", values="." * 9 * KIB)] * size for size in (PAGES, 2)]
    pending.add([])
    for turn in turns:
        pending.add(turn)
        pending.add([])

    commits = list[list[Record]]()
    while pending:
        commits.append(list(decode_body(pending.seal().body).records))

    assert commits == turns


@pytest.mark.usefixtures("small_commits")
async def test_what_no_commit_can_hold_is_not_kept_in_part(store_url: str) -> None:
    """The run stops with a typed error, before anybody was told of anything."""
    async with Runtime(store_url, drain="park", recover="never") as rt:
        shelf = await rt.spawn(book(), id="book")
        run = await rt.spawn(author(), id="author")

        with pytest.raises(CommitTooLarge):
            await run.ask(Write(), id="once")

        assert (await shelf.state()).pages == []
        _, kept = await rt.load("author")
        assert (kept.root.values["written"], kept.mail.outbox) == (0, [])
