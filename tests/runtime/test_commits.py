"""Commits at their limits: too much for one, interrupted inside, failed while something waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import anyio
import pytest

from actorflow import Graph, Retry, Runtime, State, Update, extend
from actorflow.errors import CommitUnknown, Fenced
from actorflow.runtime.groups import first_of
from actorflow.store.ownership import Ownership
from actorflow.testing import VirtualClock
from tests.runtime.graphs import Trail, add, chain

if TYPE_CHECKING:
    from actorflow.runtime.options import Durability
    from actorflow.store.frames import Draft

KIB = 1024


class Pieces(State):
    """A list of large values, and one that is replaced."""

    pieces: Annotated[list[bytes], extend] = []
    n: int = 0


async def a_cancellation() -> BaseException:
    """What a cancelled task raises on this loop."""
    caught: list[BaseException] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep_forever()
        except BaseException as error:
            caught.append(error)
            raise
    return caught[0]


class Interrupt(BaseException):
    """As a Ctrl-C, which the test runner would take for its own."""


@pytest.fixture
def small_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit holds 64 KiB, as it otherwise holds 64 MiB."""
    monkeypatch.setattr("actorflow.store.framing.MAX_BODY", 65 * KIB)
    monkeypatch.setattr("actorflow.runtime.pending.MAX_VALUE", 64 * KIB)


@pytest.mark.usefixtures("small_commits")
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_what_is_too_much_for_one_commit_goes_into_several(store_url: str, durability: Durability) -> None:
    """A fan-out of forty, each with a value that fits, and together far more than a commit can hold."""
    graph = Graph("pieces", Pieces)

    @graph.node
    async def start(state: Pieces) -> None:
        pass

    names = [f"p{number}" for number in range(40)]
    for name in names:

        async def piece(state: Pieces) -> Update:
            return {"pieces": [bytes(20 * KIB)]}

        graph.node(piece, name=name, after=start)

    @graph.node(after=names)
    async def join(state: Pieces) -> Update:
        return {"n": len(state.pieces)}

    async with Runtime(store_url) as rt:
        handle = await rt.spawn(graph, Pieces(), id="x", durability=durability)
        assert (await handle.result()).n == 40
        assert await rt.verify("x") == []
        finished = [one.node async for one in handle.views() if one.kind == "finished"]

    assert sorted(str(node) for node in finished) == sorted(["start", *names, "join"])


@pytest.mark.usefixtures("small_commits")
async def test_exit_commits_before_a_commit_is_full(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes that wait are counted, however few records they are."""
    monkeypatch.setattr("actorflow.runtime.pending.MUCH", 30 * KIB)
    graph = Graph("pieces", Pieces)
    before: str | None = None
    for number in range(8):

        async def piece(state: Pieces) -> Update:
            return {"pieces": [bytes(20 * KIB)]}

        graph.node(piece, name=f"p{number}", after=before)
        before = f"p{number}"

    async with Runtime(store_url) as rt:
        handle = await rt.spawn(graph, Pieces(), id="x", durability="exit")
        assert len((await handle.result()).pieces) == 8
        commits = {one.seq async for one in handle.views() if one.kind == "finished"}

    assert len(commits) >= 4


@pytest.mark.parametrize("landed", [False, True])
async def test_an_end_whose_commit_was_interrupted_is_told_only_if_it_is_there(
    store_url: str, monkeypatch: pytest.MonkeyPatch, *, landed: bool
) -> None:
    """A Ctrl-C inside an inline commit: the state in memory says finished, and that alone proves nothing."""
    commit = Ownership.committing
    told: list[Trail] = []
    errors: list[BaseException] = []

    def interrupted(ownership: Ownership, draft: Draft) -> Any:
        if landed:
            yield from commit(ownership, draft)
        raise Interrupt

    async def ask() -> None:
        async with Runtime(store_url, recover="never") as rt:
            handle = await rt.spawn(chain("a"), Trail(), id="x")
            with anyio.CancelScope(shield=True):
                try:
                    told.append(await handle.result())
                except CommitUnknown as error:
                    errors.append(error)

    monkeypatch.setattr(Ownership, "committing", interrupted)
    with pytest.raises(Interrupt):
        await ask()
    monkeypatch.undo()

    async with Runtime(store_url, recover="never") as rt:
        assert await rt.get("x").status() == ("finished" if landed else "running")
    assert (len(told), len(errors)) == ((1, 0) if landed else (0, 1))


async def test_no_attempt_starts_after_a_commit_was_fenced(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under `async` the loop may be waiting for a slow node: a retry that sleeps meanwhile is not woken any more."""
    commit = Ownership.committing
    drafts: list[Draft] = []
    calls: list[int] = []
    graph = Graph("fenced", Trail)
    add(graph, "start", after=None)

    @graph.node(after="start", retry=Retry(attempts=2, backoff=3600, max_backoff=3600, jitter=False))
    async def flaky(state: Trail) -> Update:
        calls.append(len(calls) + 1)
        raise ConnectionError

    @graph.node(after="start")
    async def quick(state: Trail) -> Update:
        return {"trace": ["quick"]}

    @graph.node(after="start")
    async def slow(state: Trail) -> None:
        await anyio.sleep_forever()

    def fenced(ownership: Ownership, draft: Draft) -> Any:
        drafts.append(draft)
        if len(drafts) == 2:
            raise Fenced("x", "another owner claimed this run")
        yield from commit(ownership, draft)

    monkeypatch.setattr(Ownership, "committing", fenced)
    # the retry is due when nothing else goes on, and not before the commit was tried, however long that takes
    async with VirtualClock(), Runtime(store_url, recover="never") as rt:
        handle = await rt.spawn(graph, Trail(), id="x", durability="async")
        with anyio.fail_after(7200), pytest.raises(Fenced):
            await handle.result()

    assert calls == [1]
    assert len(drafts) == 2


async def test_an_error_is_told_before_a_cancellation_and_an_interrupt_before_both() -> None:
    """On trio a group can hold the cancellations of the tasks beside the one that failed."""
    cancelled, failed, interrupt = await a_cancellation(), Interrupt(), KeyboardInterrupt()

    assert first_of(BaseExceptionGroup("", [cancelled, failed])) is failed
    assert first_of(BaseExceptionGroup("", [cancelled, BaseExceptionGroup("", [failed, interrupt])])) is interrupt
    assert first_of(BaseExceptionGroup("", [cancelled])) is cancelled
