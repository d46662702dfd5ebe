"""Events: from the log and as it happens, in one order, each once, whoever watches and however slowly."""

from __future__ import annotations

import gc
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import pytest

from actorflow import Context, Graph, Message, Reply, RestartPolicy, Retention, Retry, Runtime, State, Update, extend
from actorflow.errors import CheckpointGone, NoSuchRun, RunError, RuntimeClosed
from actorflow.runtime import observers, stream
from actorflow.runtime.events import DroppedEvent, Event, NodeEvent, Offset
from actorflow.store.object_log import SNAPSHOT_EVERY
from tests.runtime.graphs import Trail, chain, counter, failing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow import Run

LOGGED = ("values", "updates", "nodes", "commits", "progress", "waits")


class Work(State, version=1):
    """A number, and what was made of numbers."""

    n: int = 0
    made: Annotated[list[int], extend] = []
    odd: Annotated[list[Any], extend] = []


def spread(items: int = 3) -> Graph[Work]:
    """First → a map over some items → last."""
    graph = Graph("spread", Work)

    @graph.node
    async def first(state: Work) -> Update:
        return {"n": items}

    async def double(item: int) -> int:
        return item * 2

    graph.map(double, after=first, over=lambda state: state.n, into="made", limit=2)

    @graph.node(after="double")
    async def last(state: Work) -> Update:
        return {"n": sum(state.made)}

    return graph


def speaking(words: Sequence[str], *, after: anyio.Event | None = None) -> Graph[Trail]:
    """A node that emits words and reports on it, in a task (``speak``) or a thread (``shout``)."""
    graph = Graph("speaking", Trail)

    @graph.node
    async def speak(state: Trail, ctx: Context) -> Update:
        if after is not None:
            await after.wait()
        for number, word in enumerate(words, 1):
            ctx.emit(word)
            ctx.progress(number, len(words))
        return {"n": len(words)}

    @graph.node(after=speak)
    def shout(state: Trail, ctx: Context) -> None:
        for word in words:
            ctx.emit(word.upper())

    return graph


async def told(run: Run[Any], *args: Any, **options: Any) -> list[Event]:
    """All events of a run, to its end."""
    with anyio.fail_after(20):
        return [event async for event in run.events(*args, **options)]


def facts(events: Sequence[Event]) -> list[tuple[Any, ...]]:
    """What is the same whenever a committed event is told; its time is that of its commit."""
    return [
        (str(one.offset), one.mode, one.node, one.index, one.scope, one.time, getattr(one, "kind", None))
        for one in events
        if not one.live
    ]


async def test_a_run_is_told_from_its_beginning_to_its_end(store_url: str) -> None:
    """What became of each node, in order, live and from the log."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(chain("a", "b"), id="r")

        seen = [(event.kind, event.node) async for event in run.events("nodes", committed_only=True)]

    assert seen == [("opened", "a"), ("finished", "a"), ("opened", "b"), ("finished", "b")]


async def test_what_is_told_live_is_told_again_from_the_log(store_url: str) -> None:
    """The same events under the same offsets, by another runtime that only looks."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(spread(), Work(), id="r")
        live = await told(run)
    async with Runtime(store_url, readonly=True) as rt:
        later = await told(rt.get("r"))

    assert facts(live) == facts(later)
    assert not any(event.live for event in later)
    assert {event.mode for event in later} == {"values", "updates", "nodes", "commits", "progress"}


def everything_in(events: Sequence[Event]) -> list[dict[str, Any]]:
    """All that committed events say: whoever is handed a commit hears what is written of it, and nothing else."""
    said: list[dict[str, Any]] = []
    for one in events:
        if not one.live:
            fields = {name: getattr(one, name) for name in one.__struct_fields__ if not name.startswith("_")}
            said.append({"mode": one.mode, "values": getattr(one, "values", None), **fields})
    return said


async def test_what_is_told_live_says_what_the_log_says_of_it(store_url: str) -> None:
    """To the last value, whatever it was before it was written, however large, and through a rewind."""
    graph = Graph("odd", Work)

    @graph.node
    async def first(state: Work) -> Update:
        return {"odd": [(1, 2), {"at": datetime(2026, 1, 1, tzinfo=UTC), "in": (3,)}, b"raw"], "n": 3}

    async def pair(item: int) -> Any:
        return (item, {"so": (item,)})

    graph.map(pair, after=first, over=lambda state: state.n, into="odd")

    @graph.node(after="pair")
    async def grow(state: Work) -> Update:
        return {"odd": ["x" * 300_000]}

    @graph.node(after=grow)
    async def ask(state: Work, ctx: Context) -> Update:
        return {"odd": [await ctx.interrupt("Which?", {"of": (1, 2)}), len(state.odd)]}

    answers = iter([(4, 5), (6,)])
    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph, id="r")
        live: list[Event] = []
        async for event in run.events():
            live.append(event)
            if event.mode == "waits" and event.kind == "asked":
                await run.answer(next(answers))
                if len([one for one in live if one.mode == "waits"]) == 1:
                    await run.rewind(event.seq)
        later = await told(run)

    assert everything_in(live) == everything_in(later)
    assert [event.value for event in live if event.mode == "waits" and event.kind == "answered"] == [[4, 5], [6]]


async def test_commits_with_a_snapshot_are_told_live_as_the_others() -> None:
    """Of one that was due, its records are enough: they go on from what whoever listens knows."""
    gate = anyio.Event()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(counter(SNAPSHOT_EVERY * 2 + 5, after=gate), id="r")
        events = run.events()
        live = [await anext(events)]
        gate.set()
        live += [event async for event in _rest(events)]
        later = await told(run)

    assert everything_in(live) == everything_in(later)


async def test_offsets_are_in_order_and_none_is_told_twice(store_url: str) -> None:
    """Through commits and what is live only."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(spread(5), Work(), id="r")
        offsets = [event.offset for event in await told(run)]

    assert offsets == sorted(set(offsets))
    assert [Offset.parse(str(offset)) for offset in offsets] == offsets


async def test_reading_goes_on_after_any_offset(store_url: str) -> None:
    """Whoever was cut off goes on where it was, and misses nothing."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(spread(), Work(), id="r")
        everything = await told(run, committed_only=True)

        for number, event in enumerate(everything):
            assert facts(await told(run, after=str(event.offset))) == facts(everything[number + 1 :])
        assert [event.seq for event in await told(run, "commits", after=1)] == [2, 3, 4]


async def test_modes_choose_and_do_not_move_offsets(store_url: str) -> None:
    """Each mode by itself tells what it tells among all."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(spread(), Work(), id="r")
        everything = await told(run, committed_only=True)

        for mode in LOGGED:
            expected = [event for event in everything if event.mode == mode]
            assert facts(await told(run, [mode])) == facts(expected)


async def test_values_are_typed_and_updates_say_what_was_written(store_url: str) -> None:
    """The state after each change, and the change."""
    graph = spread()
    async with Runtime(store_url, graphs=[graph]) as rt:
        run = await rt.spawn(graph, Work(), id="r")
        values = await told(run, "values")
        updates = await told(run, "updates")

    assert [event.state for event in values] == [
        Work(),
        Work(n=3),
        Work(n=3, made=[0, 2, 4]),
        Work(n=6, made=[0, 2, 4]),
    ]
    assert values[-1].values == {"n": 6, "made": [0, 2, 4], "odd": []}
    assert [(event.node, event.fields) for event in updates] == [
        ("first", {"n": 3}),
        ("double", {"made": [0, 2, 4]}),
        ("last", {"n": 6}),
    ]


async def test_values_without_their_graph_are_plain(store_url: str) -> None:
    """A typed state needs the graph; the error says how to come by it."""
    async with Runtime(store_url) as rt:
        await rt.run(chain("a"), id="r")
    async with Runtime(store_url, readonly=True) as rt:
        event = (await told(rt.get("r"), "values"))[-1]

    assert event.values == {"n": 0, "trace": ["a"]}
    with pytest.raises(RunError, match="not registered"):
        _ = event.state


async def test_items_say_how_far_their_fan_out_is(store_url: str) -> None:
    """Each under its index; done and open as of that record."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(spread(3), Work(), id="r")
        events = await told(run, ["nodes", "progress"], committed_only=True)

    finished = [
        event.index
        for event in events
        if event.mode == "nodes" and event.kind == "finished" and event.index is not None
    ]
    progress = [(event.done, event.total, event.open) for event in events if event.mode == "progress"]
    assert sorted(finished) == [0, 1, 2]
    assert progress == [(0, 3, 2), (1, 3, 2), (2, 3, 1), (3, 3, 0)]


async def test_what_happens_inside_a_subgraph_says_in_which_scope(store_url: str) -> None:
    """And can be asked for by that scope, or for the root alone."""
    inner = chain("x", name="inner")
    outer = Graph("outer", Trail)
    outer.subgraph(inner, name="team")
    async with Runtime(store_url) as rt:
        run = await rt.spawn(outer, Trail(), id="r")
        await run.result()

        inside = await told(run, ["nodes", "values"], scope="team")
        root = await told(run, "nodes", scope="")

    assert [(event.mode, event.node) for event in inside] == [
        ("values", None),
        ("nodes", "x"),
        ("nodes", "x"),
        ("values", None),
    ]
    assert inside[-1].values["trace"] == ["x"]
    assert {event.node for event in root} == {"team"}


async def test_what_nodes_emit_and_report_is_told_as_it_happens(store_url: str) -> None:
    """From the event loop and from threads, in the order of each; after the fact nobody knows it any more."""
    go = anyio.Event()
    async with Runtime(store_url) as rt:
        run = await rt.spawn(speaking(["to", "be"], after=go), id="r")
        seen: list[Event] = []
        async for event in run.events(["data", "progress", "commits"]):
            seen.append(event)
            go.set()

        assert [event.data for event in seen if event.mode == "data"] == ["to", "be", "TO", "BE"]
        assert [(event.done, event.total) for event in seen if event.mode == "progress"] == [(1, 2), (2, 2)]
        assert all(event.live for event in seen if event.mode == "data")
        assert await told(run, ["data", "progress"]) == []


async def test_committed_only_tells_nothing_that_is_in_no_file(store_url: str) -> None:
    """No start, no token: what was told can't be taken back by a crash."""
    go = anyio.Event()
    async with Runtime(store_url) as rt:
        run = await rt.spawn(speaking(["x"], after=go), id="r")
        seen: list[Event] = []
        async for event in run.events(committed_only=True):
            seen.append(event)
            go.set()

    assert not any(event.live for event in seen)


async def test_retries_and_failures_are_told_with_their_errors(store_url: str) -> None:
    """A short pause is worth no record: that retry is live only, the failure is not."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(failing(2, [], retry=Retry(attempts=2, backoff=0.001)), id="r")
        live = [event for event in await told(run, "nodes") if event.node == "flaky"]
        later = [event for event in await told(run, "nodes") if event.node == "flaky"]

    assert [(event.kind, event.attempt) for event in live] == [
        ("opened", None),
        ("started", 1),
        ("retrying", 1),
        ("started", 2),
        ("failed", None),
    ]
    assert [event.kind for event in later] == ["opened", "failed"]
    assert live[2].error is not None
    assert live[2].error.type == live[4].error.type == later[1].error.type


async def test_what_became_of_a_node_is_told_with_all_that_belongs_to_it(store_url: str) -> None:
    """Whose it is, which attempt, what it wrote or made, what it raised, when it goes on, and the commit that says so.

    Planted: each of these is left out of its event.
    """
    graph, tries = Graph("eventful", Work, record_backoff_over=0), list[int]()

    @graph.node(retry=Retry(attempts=2, backoff=0.0))
    async def flaky(state: Work, ctx: Context) -> Update:
        tries.append(ctx.attempt)
        if ctx.attempt == 1:
            raise ConnectionError("once")
        return {"n": 2}

    async def double(item: int) -> int:
        if item == 1:
            raise ValueError("odd")
        return item * 2

    graph.map(double, after=flaky, over=lambda state: state.n, into="made", on_error="collect", errors="odd")

    @graph.node(after="double", on_error="mend")
    async def fails(state: Work) -> None:
        raise KeyError("broken")

    @graph.node
    async def mend(state: Work) -> Update:
        return {"n": 7}

    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph, Work(), id="r")
        await run.result()
        seen = [event for event in await told(run, "nodes") if isinstance(event, NodeEvent) and event.kind != "opened"]
        commits = [(await run.at(node=name)).seq for name in ("flaky", "double", "mend")]

    facts = {
        (event.kind, event.node, event.index): {
            name: (value if name != "error" else value.message)
            for name in ("attempt", "error", "handled", "result")
            if (value := getattr(event, name))
        }
        | {operation.field: True for operation in event.update}
        for event in seen
    }
    assert facts == {
        ("retrying", "flaky", None): {"attempt": 1, "error": "once"},
        ("finished", "flaky", None): {"n": True},
        ("finished", "double", 0): {},
        ("failed", "double", 1): {"error": "odd"},
        ("finished", "double", None): {"made": True, "odd": True},
        ("failed", "fails", None): {"error": "'broken'", "handled": True},
        ("finished", "mend", None): {"n": True},
    }
    whole = {(event.kind, event.node, event.index): event for event in seen}
    due = whole["retrying", "flaky", None].due
    assert due is not None
    assert abs(due - whole["retrying", "flaky", None].time) < 60
    assert whole["finished", "double", 0].result == 0
    assert all(event.took is not None for event in seen if event.kind == "finished")
    assert [whole["finished", name, None].seq for name in ("flaky", "double", "mend")] == commits
    assert tries == [1, 2]


async def test_a_crash_and_the_restart_after_it_are_one_story(store_url: str) -> None:
    """The claim of the restart is told, too; no commit is missing, and none is told twice."""
    async with Runtime(store_url, restarts=RestartPolicy(backoff=0.001)) as rt:
        run = await rt.spawn(failing(2, []), id="r")
        seen = await told(run)

    offsets = [event.offset for event in seen]
    commits = [event for event in seen if event.mode == "commits"]
    assert offsets == sorted(set(offsets))
    assert [event.seq for event in commits] == list(range(commits[-1].seq + 1))
    assert [event.kind for event in commits].count("claim") == 3
    kinds = [
        event.kind for event in seen if event.mode == "nodes" and event.node == "flaky" and event.kind != "started"
    ]
    assert kinds == ["opened", "crashed", "crashed", "finished"]


async def test_two_watch_and_each_hears_everything(store_url: str) -> None:
    """Neither takes anything from the other."""
    seen: dict[int, list[Event]] = {1: [], 2: []}
    async with Runtime(store_url) as rt:
        run = await rt.spawn(counter(50), id="r")

        async def watch(who: int) -> None:
            seen[who] += await told(run)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch, 1)
            tasks.start_soon(watch, 2)

    assert facts(seen[1]) == facts(seen[2])
    assert len([event for event in seen[1] if event.mode == "commits"]) == 51


@pytest.mark.parametrize("limit", [("BUFFER", 8), ("BUFFER_BYTES", 500)])
async def test_who_is_too_slow_loses_no_commit(
    store_url: str, monkeypatch: pytest.MonkeyPatch, limit: tuple[str, int]
) -> None:
    """What does not fit, by number or by size, is read again from the log; what is live only is counted."""
    monkeypatch.setattr(observers, *limit)
    async with Runtime(store_url) as rt:
        run = await rt.spawn(counter(60), id="r")
        events = run.events()
        first = [await anext(events)]
        await run.result()  # meanwhile the buffer ran over, again and again

        rest = [event async for event in _rest(events)]

    everything = first + rest
    offsets = [event.offset for event in everything]
    assert [event.seq for event in everything if event.mode == "commits"] == list(range(61))
    assert offsets == sorted(set(offsets))
    assert sum(event.count for event in everything if isinstance(event, DroppedEvent)) > 0


async def test_planted_without_looking_for_gaps_a_slow_reader_would_miss_commits(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check above is able to fail: whatever is handed over is told, as if nothing were missing before it."""
    monkeypatch.setattr(observers, "BUFFER", 8)
    async with Runtime(store_url) as rt:
        run = await rt.spawn(counter(60), id="r")
        events = run.events("commits")
        seen = [(await anext(events)).seq]
        monkeypatch.setattr(stream.EventStream, "_follows", lambda self, piece: True)
        await run.result()
        seen += [event.seq async for event in _rest(events)]

    assert seen != list(range(61))


async def _rest(events: Any) -> Any:
    """What is left of a loop that has begun."""
    while True:
        try:
            yield await anext(events)
        except StopAsyncIteration:
            return


async def test_a_loop_that_is_left_leaves_nothing_behind(store_url: str) -> None:
    """Neither a break nor a cancellation; the run goes on, and hands over to nobody."""
    go = anyio.Event()
    async with Runtime(store_url) as rt:
        run = await rt.spawn(speaking(["x"], after=go), id="r")
        watched = rt.living().observers("r")
        async for _ in run.events():
            assert watched
            break
        with anyio.move_on_after(0.05):
            async for _ in run.events("data"):
                pass
        with anyio.fail_after(20):
            while watched:  # a worker thread, or the traceback of a cancellation, may hold it for a moment
                await anyio.sleep(0.01)
                gc.collect()

        go.set()
        await run.result()


async def test_waiting_for_an_event_that_is_cancelled_loses_none(store_url: str) -> None:
    """As with a time limit around each step of a loop."""
    go = anyio.Event()
    async with Runtime(store_url) as rt:
        run = await rt.spawn(speaking(["x"], after=go), id="r")
        events = run.events("commits")
        seen = []
        with anyio.fail_after(50):
            while True:
                try:
                    with anyio.move_on_after(0.01):
                        seen.append((await anext(events)).seq)
                        continue
                except StopAsyncIteration:
                    break
                go.set()

    assert seen == [0, 1, 2]


async def test_leaving_the_runtime_ends_the_loop(store_url: str) -> None:
    """A run that goes on later, elsewhere, is no reason to wait here for ever."""
    go = anyio.Event()
    ended = anyio.Event()
    async with anyio.create_task_group() as tasks:
        async with Runtime(store_url, drain="park") as rt:
            run = await rt.spawn(asking(), id="r")

            async def watch() -> None:
                async for event in run.events("waits"):
                    assert event.kind == "asked"
                    go.set()
                ended.set()

            tasks.start_soon(watch)
            await go.wait()
        with anyio.fail_after(30):
            await ended.wait()
    with pytest.raises(RuntimeClosed):
        await anext(run.events())


def asking() -> Graph[Trail]:
    """A node that asks before it goes on."""
    graph = Graph("asking", Trail)

    @graph.node
    async def ask(state: Trail, ctx: Context) -> Update:
        return {"n": await ctx.interrupt("How many?", {"most": 9}, type=int)}

    return graph


async def test_questions_and_answers_are_told(store_url: str) -> None:
    """And the loop goes on through the time in which the run lives nowhere."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(asking(), id="r")
        seen = []
        async for event in run.events(["waits", "nodes"], committed_only=True):
            seen.append(event)
            if event.mode == "waits" and event.kind == "asked":
                await run.wait()
                await run.answer(4, by="ada")

    assert [event.kind for event in seen] == ["opened", "waiting", "asked", "answered", "finished"]
    asked, answered = seen[2], seen[3]
    assert (asked.wait, asked.question, asked.payload, asked.node) == ("ask", "How many?", {"most": 9}, "ask")
    assert (answered.value, answered.by) == (4, "ada")


class Go(Message, version=1):
    """Lets somebody go on."""

    n: int


class Total(Message, version=1):
    """Asks for a number."""


def till() -> Graph[Trail]:
    """Answers when it is asked."""
    graph = Graph("till", Trail, lifetime="actor")

    @graph.on(Total)
    async def total(state: Trail, msg: Total) -> Reply:
        return Reply(7)

    return graph


async def test_waits_say_what_is_waited_for(store_url: str) -> None:
    """Whoever watches for questions need not be told of sleeps; each begins once, and is over once."""
    graph = Graph("patient", Trail, messages=[Go], interrupt_before=["wait"])

    @graph.node
    async def wait(state: Trail, ctx: Context) -> Update:
        await ctx.sleep(0.05)
        went = await ctx.receive(Go)
        total = await ctx.ask("till", Total(), type=int)
        child = await ctx.result(await ctx.spawn(chain("x", name="child")), Trail)
        answer = await ctx.interrupt("How many?", type=int, timeout=0.001, default=1)
        return {"n": went.n + total + answer, "trace": child.trace}

    async with Runtime(store_url) as rt:
        await rt.spawn(till(), id="till")
        run = await rt.spawn(graph, id="r")
        live = []
        async for event in run.events("waits"):
            live.append(event)
            if event.wait == "before" and event.kind == "asked":
                await run.answer(None)
            if event.wait == "receive" and event.kind == "asked":
                await run.send(Go(n=30))
        later = await told(run, "waits")
        final = await run.result()
        await rt.get("till").cancel()

    ends = {"before": "answered", "sleep": "expired", "receive": "answered", "reply": "answered"}
    ends |= {"child": "answered", "ask": "expired"}
    assert [(event.wait, event.kind) for event in live] == [
        one for wait, end in ends.items() for one in ((wait, "asked"), (wait, end))
    ]
    assert everything_in(live) == everything_in(later)
    (went,) = [event for event in live if event.wait == "receive" and event.kind == "answered"]
    assert (went.question, went.value, went.node) == ("Go", {"n": 30}, "wait")
    assert (final.n, final.trace) == (38, ["x"])


async def test_a_message_that_was_there_already_ends_no_wait(store_url: str) -> None:
    """Nobody waited for it."""
    graph, gate = Graph("prompt", Trail, messages=[Go]), anyio.Event()

    @graph.node
    async def take(state: Trail, ctx: Context) -> Update:
        await gate.wait()
        return {"n": (await ctx.receive(Go)).n}

    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph, id="r")
        await run.send(Go(n=1))
        gate.set()
        assert (await run.result()).n == 1

        assert await told(run, "waits") == []


async def test_a_run_of_another_runtime_is_followed_to_its_end(store_url: str) -> None:
    """By one that only looks at the same folder: what is committed, each once, and nothing that is live only."""
    go = anyio.Event()
    seen: list[Event] = []
    async with Runtime(store_url) as owner, Runtime(store_url, readonly=True) as looker:
        run = await owner.spawn(speaking(["x"], after=go), id="r")
        async for event in looker.get("r").events():
            seen.append(event)
            go.set()
        expected = await told(run)

    assert facts(seen) == facts(expected)
    assert not any(event.live for event in seen)


async def test_what_retention_let_go_of_is_refused_by_name() -> None:
    """From the beginning means from the oldest that is kept; after an offset that is gone there would be a gap."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(counter(200), id="r")
        await run.result()
        await rt.gc(Retention(last=20))
        kept = sorted([cp.seq async for cp in run.history() if not cp.pruned])
        assert kept[0] > 3

        events = await told(run, "commits")
        goes_on = await told(run, "commits", after=kept[0] - 1)
        with pytest.raises(CheckpointGone) as gone:
            await told(run, "commits", after=2)

    assert [event.seq for event in events] == [event.seq for event in goes_on] == kept
    assert gone.value.oldest == kept[0]


async def test_nothing_is_told_of_a_run_that_is_not_there(store_url: str) -> None:
    """Nor after a commit that it never had, nor of a mode or an offset that there is not."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(chain("a"), id="r")
        await run.result()

        with pytest.raises(NoSuchRun):
            await told(rt.get("nobody"))
        with pytest.raises(LookupError, match="its newest is 1"):
            await told(run, after=7)
        with pytest.raises(ValueError, match="modes='node'"):
            run.events("node")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="after='soon'"):
            run.events(after="soon")


async def test_large_values_are_told_from_where_they_are(store_url: str) -> None:
    """Live and later: a commit that refers to them does not hold them."""
    graph = Graph("large", Trail)

    @graph.node
    async def grow(state: Trail) -> Update:
        return {"trace": ["x" * 300_000]}

    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph, id="r")
        live = await told(run, "values")
        later = await told(run, "values")

    assert [len("".join(event.values["trace"])) for event in live] == [0, 300_000]
    assert [event.values for event in live] == [event.values for event in later]


async def test_legs_of_a_join_are_named_where_it_opens(store_url: str) -> None:
    """Which nodes' tokens it took."""
    graph = Graph("fork", Trail)

    @graph.node
    async def root(state: Trail) -> None: ...

    @graph.node(after=root)
    async def left(state: Trail) -> None: ...

    @graph.node(after=root)
    async def right(state: Trail) -> None: ...

    @graph.node(after=(left, right))
    async def join(state: Trail) -> None: ...

    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph, id="r")
        events = await told(run, "nodes")

    opened = [event for event in events if isinstance(event, NodeEvent) and event.kind == "opened"]
    assert sorted(opened[-1].legs) == ["left", "right"]
    assert opened[-1].node == "join"


async def test_an_overview_says_how_far_each_open_fan_out_is(store_url: str) -> None:
    """Total, done, failed and open; and what the open activations wait for. Without the graph, from anywhere."""
    go = anyio.Event()
    graph = Graph("mapped", Work)

    async def item(number: int) -> int:
        if number == 0:
            return 0
        if number == 1:
            raise ValueError("collected")
        await go.wait()
        return number

    graph.map(item, over=5, into="made", limit=2, on_error="collect", errors="odd")
    async with Runtime(store_url) as rt, Runtime(store_url, readonly=True) as looker:
        run = await rt.spawn(graph, id="r")
        async for event in run.events("progress", committed_only=True):
            if event.done == 2:
                break
        overview = await looker.get("r").overview()
        go.set()
        await run.result()
        after = await run.overview()

    (fan,) = overview.maps
    assert (fan.node, fan.total, fan.done, fan.failed, fan.open) == ("item", 5, 2, 1, 2)
    assert sorted(one.index for one in overview.open if one.index is not None) == [2, 3]
    assert overview.status == "running"
    assert (after.status, after.maps, after.open) == ("finished", (), ())


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_who_goes_on_after_a_crash_hears_each_event_once(store_url: str, durability: Any) -> None:
    """Cut off with its runtime in the middle of the run, it goes on after the last offset it heard, in the next one."""
    heard: list[Event] = []
    graph = counter(120)

    async def listen(run: Run[Any], *, until: int) -> None:
        after = heard[-1].offset if heard else None
        async for event in run.events(LOGGED, after=after, committed_only=True):
            heard.append(event)
            if len(heard) == until:
                raise ConnectionResetError

    for until in (7, 100, -1):
        try:
            async with Runtime(store_url) as rt:
                run = await rt.spawn(graph, id="r", on_conflict="attach", durability=durability)
                await listen(run, until=until)
        except ConnectionResetError:
            pass

    async with Runtime(store_url, readonly=True) as rt:
        everything = await told(rt.get("r"), LOGGED)
    assert facts(heard) == facts(everything)
    assert len({event.offset for event in heard}) == len(heard)


async def test_what_is_steered_is_told_with_who_did_it(store_url: str) -> None:
    """Updates, answers and a rewind, which puts values back and opens what was open; and so in a fork."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(asking(), id="r")
        await run.wait()
        await run.update({"trace": ["seen"]}, by="ada")
        await run.answer(4, by="bob")
        await run.result()
        before = await run.events("commits").__anext__()
        await run.rewind(1, by="cyd")
        await run.wait()
        await run.answer(5)
        await run.result()
        seen = await told(run)
        fork = await run.fork(1, id="f")
        await fork.wait()
        await fork.cancel()
        forked = await told(fork)

    assert before.seq == 0
    updates = [(event.by, event.node, event.fields) for event in seen if event.mode == "updates"]
    assert updates == [("ada", None, {"trace": ["seen"]}), (None, "ask", {"n": 4}), (None, "ask", {"n": 5})]
    (rewound,) = [event for event in seen if event.mode == "commits" and "rewound" in event.records]
    assert rewound.by == "cyd"
    put_back = [event for event in seen if event.seq == rewound.seq and event.mode == "values"]
    assert put_back[0].values == {"n": 0, "trace": []}
    assert next(event.node for event in seen if event.seq == rewound.seq and event.mode == "nodes") == "ask"
    assert [event.status for event in forked if event.mode == "commits"][-1] == "cancelled"
