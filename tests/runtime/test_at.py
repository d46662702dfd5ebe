"""At: a run as it was, at any commit and record of it that is kept, alive or long over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import pytest

import actorflow.runtime.history
import actorflow.runtime.replay
from actorflow import Context, Graph, Retention, Retry, Runtime, State, Update, extend, migrate
from actorflow.engine.operations import Extended, Put
from actorflow.errors import CheckpointGone, CorruptCheckpoint, NoSuchRun, RunDeleted, RunError
from actorflow.store.memory import MemoryBackend
from tests.runtime.asking import asker
from tests.runtime.graphs import Trail, add, chain, counter
from tests.runtime.scenes import scene, waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from actorflow import Run
    from actorflow.store.backend import Backend


@pytest.fixture(params=["disk", "bucket"])
def place(request: pytest.FixtureRequest, store_url: str, monkeypatch: pytest.MonkeyPatch) -> str | Backend:
    """A store of each kind of log, with snapshots now and then."""
    monkeypatch.setattr("actorflow.runtime.pending.SNAPSHOT_FLOOR", 2_000)
    return store_url if request.param == "disk" else MemoryBackend()


def fan(names: tuple[str, ...]) -> Graph[Trail]:
    """One node and then several at once, which finish in as few commits as they like."""
    graph = chain("start", name="fan")
    for name in names:
        add(graph, name, after="start")
    return graph


async def test_every_point_of_a_history_is_found_as_it_was(place: str | Backend) -> None:
    """By number, as text, by record; each with the state, the frontier, the parent and the tags of then."""
    async with Runtime(place) as rt:
        run = await rt.spawn(counter(150), Trail(), id="r", tags={"team": "x"})
        await run.result()
        views = [view async for view in run.views()]

        for view in views[::17]:
            found = await run.at(view.seq)
            assert (found.seq, found.values, found.frontier) == (view.seq, view.values, view.frontier)
            assert found.tags == {"team": "x"}
            assert found == await run.at(str(view.seq))
            assert (await run.at(f"{view.seq}.{view.record}")).values == view.values
            assert (await run.at(view.seq, record=view.record)).parent == (view.seq - 1 if view.seq else None)
        assert (await run.at()).values == views[0].values == {"n": 150, "trace": []}


async def test_records_of_one_commit_are_apart(place: str | Backend) -> None:
    """After a record is not after its commit: three branches that finished together are three points."""
    names = ("b1", "b2", "b3")
    async with Runtime(place) as rt:
        await rt.run(fan(names), Trail(), id="r")
        run = rt.get("r")
        views = {name: await run.at(node=name) for name in names}

        together = [view for view in views.values() if view.seq == views["b3"].seq]
        assert len(together) > 1
        for name, view in views.items():
            assert view.node == name
            assert view.writes == {"trace": (Extended("trace", [name]),)}
            assert view.took is not None
            assert (await run.at(f"{view.seq}.{view.record}")).values == view.values
        assert sorted(len(view.values["trace"]) for view in together) == [4 - n for n in range(len(together))][::-1]
        assert len((await run.at(views["b3"].seq)).values["trace"]) == 4


async def test_planted_a_commit_taken_for_its_records_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: what is shown of a record is the run as of its whole commit."""
    whole = actorflow.runtime.history._record

    def as_commit(run_id: str, number: int, commit: list, *rest: object, **more: object) -> object:  # type: ignore[type-arg]
        return whole(run_id, len(commit) - 1, commit, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(actorflow.runtime.history, "_record", as_commit)
    with pytest.raises(AssertionError):
        await test_records_of_one_commit_are_apart(MemoryBackend())


async def test_a_node_that_ran_often_is_found_as_of_its_last_time(place: str | Backend) -> None:
    """Also if that was long ago; with a commit, as of that one."""
    async with Runtime(place) as rt:
        await rt.run(counter(100), Trail(), id="r")
        run = rt.get("r")

        assert (await run.at(node="step")).values["n"] == 100
        assert (await run.at(41, node="step")).values["n"] == 41
        with pytest.raises(LookupError, match="'other'"):
            await run.at(node="other")
        with pytest.raises(LookupError, match="'step' in commit 0"):
            await run.at(0, node="step")


async def test_what_was_done_inside_is_in_the_one_history(place: str | Backend) -> None:
    """Each node inside is a point of its own, with its scope and what it wrote there; a fork goes on there."""
    ran: list[str] = []
    middle, outer = Graph("middle", Trail), Graph("outer", Trail)
    middle.subgraph(chain("x", "y", name="inner", ran=ran), name="in")
    outer.subgraph(middle, name="mid")
    add(outer, "last", after="mid", ran=ran)
    async with Runtime(place) as rt:
        await rt.run(outer, Trail(), id="r")
        run = rt.get("r")
        views = [view async for view in run.views()][::-1]
        inside = await run.at(node="x")
        ran.clear()

        fork = await run.fork(inside.seq, id="f")
        assert (await fork.result()).trace == ["x", "y", "last"]

    nodes = [(view.scope, view.node) for view in views if view.node is not None]
    assert nodes == [("mid/in", "x"), ("mid/in", "y"), ("mid", "in"), ("", "mid"), ("", "last")]
    assert inside.writes == {"trace": (Extended("trace", ["x"]),)}
    assert [(one.scope, one.node) for one in inside.open] == [("", "mid"), ("mid", "in"), ("mid/in", "y")]
    assert ran == ["y", "last"]


async def test_newer_commits_are_not_decoded(place: str | Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A point is replayed from the snapshot before it; what came after is none of its business."""
    decoded: list[int] = []
    decode = actorflow.runtime.replay.decode_body
    async with Runtime(place) as rt:
        await rt.run(counter(200), Trail(), id="r")

        def noted(body: bytes) -> object:
            decoded.append(1)
            return decode(body)

        monkeypatch.setattr(actorflow.runtime.replay, "decode_body", noted)
        assert (await rt.get("r").at(70)).values["n"] == 70

    assert len(decoded) <= 71


async def test_what_is_gone_is_told_with_the_nearest_that_is_kept(place: str | Backend) -> None:
    """It is no damage, and not the same as what never was."""
    async with Runtime(place) as rt:
        await rt.run(counter(200), Trail(), id="r")
        await rt.gc(Retention(last=20))
        run = rt.get("r")
        oldest = min([one.seq async for one in run.history() if not one.pruned])

        with pytest.raises(CheckpointGone, match=f"oldest one kept is {oldest}") as gone:
            await run.at(7)
        assert gone.value.oldest == oldest
        assert (await run.at(oldest)).values["n"] == oldest
        for missing in (9999, "9999.0", f"{oldest}.99", -1):
            with pytest.raises(LookupError, match=r"has no (commit|record)") as wrong:
                await run.at(missing)
            assert not isinstance(wrong.value, CheckpointGone)


@pytest.mark.parametrize("text", ["", "12.", ".1", "a", "1.2.3", "\u0661", " 1"])
async def test_what_names_no_point_is_refused(text: str) -> None:
    """Before anything is looked for."""
    async with Runtime("memory://") as rt:
        with pytest.raises(ValueError, match=r"'12\.1'"):
            await rt.get("r").at(text)


async def test_points_that_contradict_themselves_are_refused() -> None:
    """A record wants its commit, and one record has one node."""
    async with Runtime("memory://") as rt:
        run = rt.get("r")
        with pytest.raises(ValueError, match="record=1"):
            await run.at(record=1)
        with pytest.raises(ValueError, match="node="):
            await run.at("1.1", node="a")
        with pytest.raises(ValueError, match=r"'12\.1'"):
            await run.at("1.1", record=1)
        with pytest.raises(NoSuchRun):
            await run.at(0)


async def test_a_run_alive_elsewhere_is_seen_and_not_claimed(store_url: str, anyio_backend: str) -> None:
    """Its owner goes on as if nobody had looked."""
    with scene("hold", store_url, anyio_backend) as other:
        assert other.line() == "inside"
        async with Runtime(store_url, readonly=True, graphs=[waiting()]) as rt:
            view = await rt.get("x").at()

            assert (view.owner.pid, view.epoch, view.kind, view.frontier) == (other.pid, 1, "finished", ("wait",))
            assert view.state == Trail(trace=["first"])
            assert view.waits == ()
            opened = view.open[0]
            assert (opened.node, opened.scope, opened.attempt, opened.due) == ("wait", "", 0, None)


async def test_what_is_tried_again_later_is_a_wait(store_url: str) -> None:
    """With how often it was tried, and when it is due."""
    graph, tried = chain("a"), anyio.Event()

    @graph.node(after="a", retry=Retry(attempts=3, backoff=1000, max_backoff=1000))
    async def b(state: Trail) -> Update:
        tried.set()
        raise ConnectionError

    async with Runtime(store_url) as rt, Runtime(store_url, readonly=True) as other:
        run = await rt.spawn(graph, Trail(), id="r")
        await tried.wait()
        while (view := await other.get("r").at()).kind != "attempted":  # noqa: ASYNC110 - it is the store that is asked
            await anyio.sleep(0.005)
        await run.cancel(by="me")

        (wait,) = view.waits
        assert (wait.node, wait.attempt) == ("b", 1)
        assert wait.due is not None
        assert wait.due > time.time() + 100
        assert view.error is not None
        assert ((await other.get("r").at()).kind, (await other.get("r").at()).by) == ("ended", "me")


async def test_a_question_is_a_wait_of_then_and_not_of_now() -> None:
    """With what was asked, of whom it was asked, and nothing that was answered later."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(asker(str), Trail(n=7), id="r")
        await run.wait()
        seq = (await run.at()).seq
        await run.answer("yes")
        await run.result()

        (wait,) = (await run.at(seq)).waits
        assert (wait.node, [(ask.question, ask.payload) for ask in wait.asks]) == ("ask", [("Go on?", {"n": 7})])
        assert (await run.at()).waits == ()


async def test_who_asked_for_it_is_named_at_the_point_of_each_verb() -> None:
    """Also where the run is let go of in the same commit. Planted: only the last record of a commit is asked."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(asker(), Trail(), id="r")
        await run.wait()
        asked = {
            await run.update({"n": 1}, by="updates"): "updates",
            await run.input({"n": 2}, on_pending="queue", by="gives input"): "gives input",
            await run.pause(by="pauses"): "pauses",
            await run.unpause(by="unpauses"): "unpauses",
            await run.tag("here", by="tags"): "tags",
            await run.untag("here", by="untags"): "untags",
            await run.answer(1, by="answers"): "answers",
        }
        await run.wait()
        asked[await run.rewind(0, by="rewinds")] = "rewinds"

        assert {seq: (await run.at(seq)).by for seq in asked} == asked
        assert {event.seq: event.by async for event in _until(run, max(asked)) if event.seq in asked} == asked
        await run.cancel()


async def _until(run: Run[Any], seq: int) -> AsyncIterator[Any]:
    """What is told of the commits of a run, up to this one."""
    async for event in run.events("commits"):
        yield event
        if event.seq == seq:
            break


async def test_an_older_schema_is_migrated_for_the_state_and_left_in_the_values(store_url: str) -> None:
    """So a look back never fails only because the code went on."""

    class Page(State, version=1, name="Page"):
        text: str = ""

    old = Graph("pages", Page)

    @old.node
    async def write(state: Page) -> Update:
        return {"text": "hi"}

    @migrate(from_=1, to=2)
    def words(page: dict[str, object]) -> dict[str, object]:
        return {"words": [page["text"]]}

    class Words(State, version=2, name="Page"):
        words: list[str] = []

    new = Graph("pages", Words, migrations=[words])
    new.node(lambda state: None, name="write")
    async with Runtime(store_url) as rt:
        await rt.run(old, Page(), id="r")
    async with Runtime(store_url, readonly=True) as rt:
        view = await rt.get("r").at(node="write")
        assert (view.values, view.writes) == ({"text": "hi"}, {"text": (Put("text", "hi"),)})
        with pytest.raises(RunError, match="not registered"):
            _ = view.state
        rt.register(new)
        assert (await rt.get("r").at(node="write")).state == Words(words=["hi"])


async def test_large_values_are_read_back_and_a_missing_one_is_named(store_url: str, tmp_path: Path) -> None:
    """A point that needs none of them is found all the same."""
    large = "x" * 300_000
    graph = chain("a")

    @graph.node(after="a")
    async def grow(state: Trail) -> Update:
        return {"trace": [large]}

    async with Runtime(store_url) as rt:
        await rt.run(graph, Trail(), id="r")
        assert (await rt.get("r").at(node="grow")).values["trace"] == ["a", large]
        for blob in (tmp_path / "store/runs/r/blobs").iterdir():
            blob.unlink()

        assert (await rt.get("r").at(node="a", seq=1)).values["trace"] == ["a"]
        with pytest.raises(CorruptCheckpoint, match="missing"):
            await rt.get("r").at(node="grow")


async def test_a_deleted_run_has_no_past(place: str | Backend) -> None:
    """Whatever point is asked for."""
    async with Runtime(place) as rt:
        await rt.run(chain("a"), Trail(), id="r")
        await rt.delete("r")
        for point in (None, 0, "0.0"):
            with pytest.raises(RunDeleted):
                await rt.get("r").at(point)


class Trip(State, version=1):
    """Of all graphs of a trip."""

    stops: Annotated[list[str], extend] = []
    legs: list[str] = []


def trip() -> Graph[Trip]:
    """A graph in a graph in a graph, which asks, beside a map over a graph that asks for each item."""
    deep, middle, leg, whole = (Graph(name, Trip) for name in ("deep", "middle", "leg", "whole"))

    @deep.node
    async def dive(state: Trip, ctx: Context) -> Update:
        return {"stops": [await ctx.interrupt("How deep?")]}

    @middle.node
    async def walk(state: Trip) -> Update:
        return {"stops": ["forest"]}

    middle.subgraph(deep, after=walk)

    @leg.node
    async def pack(state: Trip) -> Update:
        return {"stops": ["packed"]}

    @leg.node(after=pack)
    async def ride(state: Trip, ctx: Context) -> Update:
        return {"stops": [await ctx.interrupt("Which?", state.legs[0])]}

    @whole.node
    async def start(state: Trip) -> Update:
        return {"stops": ["home"], "legs": ["train", "boat"]}

    whole.subgraph(middle, after=start)
    whole.map(
        leg,
        after=start,
        over="legs",
        into="legs",
        enter=lambda item, state: Trip(legs=[item]),
        leave=lambda state: state.stops[-1],
    )
    return whole


async def test_the_states_inside_are_told_with_the_one_around_them(place: str | Backend) -> None:
    """Of subgraphs at any depth and of items, by their scopes; as of then, and of nobody when all is over.

    Planted: only the root's, as it was.
    """
    async with Runtime(place, linger=0.0) as rt:
        run = await rt.spawn(trip(), id="r")
        assert await run.wait() == "waiting"

    async with Runtime(place, readonly=True) as looker:
        view = await looker.get("r").at()
    assert view.values == {"stops": ["home"], "legs": ["train", "boat"]}
    assert view.inside == {
        "middle": {"stops": ["home", "forest"], "legs": ["train", "boat"]},
        "middle/deep": {"stops": ["home", "forest"], "legs": ["train", "boat"]},
        "leg[0]": {"stops": ["packed"], "legs": ["train"]},
        "leg[1]": {"stops": ["packed"], "legs": ["boat"]},
    }
    assert {one.scope for one in view.waits} <= view.inside.keys()
    view.inside["middle"]["stops"].append("changed by whoever looks")
    assert view.inside["middle"]["stops"] == ["home", "forest"]

    async with Runtime(place, graphs=[trip()]) as rt:
        run = rt.get("r")
        for question in await run.interrupts():
            await run.answer(f"answer {question.payload}", to=question.id)
        done = await run.result()
        assert done.legs == ["answer train", "answer boat"]
        assert (await run.at()).inside == {}
        assert (await run.at(view.seq)).inside == view.inside
        assert (await run.at(node="walk")).inside["middle"]["stops"] == ["home", "forest"]
        assert (await run.at(0)).inside == {}
