"""Hooks: they hear of everything after it is committed, and nothing they do is any matter of the run."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorflow import Commit, Context, Graph, RestartPolicy, Retry, Runtime, Update
from actorflow.errors import CommitRefused, RunFailed
from actorflow.runtime import hooks, observers
from tests.runtime.asking import asker
from tests.runtime.graphs import Trail, chain, counter, failing

if TYPE_CHECKING:
    from actorflow.runtime.events import CommitEvent, DataEvent, DroppedEvent, Event, NodeEvent, WaitEvent


class Ears:
    """Writes down what it hears; async and sync methods."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str | None]] = []

    async def on_node_start(self, event: NodeEvent) -> None:
        """Async."""
        self.heard.append(("start", event.node))

    def on_node_complete(self, event: NodeEvent) -> None:
        """Sync, so in a thread."""
        assert threading.current_thread() is not threading.main_thread()
        self.heard.append(("complete", event.node))

    async def on_node_retry(self, event: NodeEvent) -> None:
        """With the error."""
        assert event.error is not None
        self.heard.append(("retry", event.node))

    async def on_node_error(self, event: NodeEvent) -> None:
        """With the error."""
        assert event.error is not None
        self.heard.append(("error", event.node))

    async def on_run_end(self, event: CommitEvent) -> None:
        """The last of all."""
        self.heard.append(("end", event.status))


async def test_a_hook_hears_of_each_node_and_of_the_end(store_url: str) -> None:
    """In order, and before the runtime is left."""
    ears = Ears()
    async with Runtime(store_url, hooks=[ears]) as rt:
        await rt.spawn(chain("a", "b"), id="r")

    assert ears.heard == [
        ("start", "a"),
        ("complete", "a"),
        ("start", "b"),
        ("complete", "b"),
        ("end", "finished"),
    ]


async def test_a_hook_hears_of_retries_and_failures(store_url: str) -> None:
    """Each with its error."""
    ears = Ears()
    async with Runtime(store_url, hooks=[ears]) as rt:
        with pytest.raises(RunFailed):
            await rt.run(failing(2, [], retry=Retry(attempts=2, backoff=0.001)), id="r")

    assert [what for what, node in ears.heard if node == "flaky"] == ["start", "retry", "start", "error"]
    assert ears.heard[-1] == ("end", "failed")


HEARD: dict[str, set[tuple[str, str | None]]] = {
    "on_node_open": {("nodes", "opened")},
    "on_node_start": {("nodes", "started")},
    "on_node_retry": {("nodes", "retrying")},
    "on_node_error": {("nodes", "failed")},
    "on_node_wait": {("nodes", "waiting")},
    "on_node_complete": {("nodes", "finished")},
    "on_wait": {("waits", "asked")},
    "on_answer": {("waits", "answered")},
    "on_values": {("values", None)},
    "on_update": {("updates", None)},
    "on_data": {("data", None)},
    "on_progress": {("progress", None)},
    "on_commit": {("commits", "claim"), ("commits", "commit"), ("commits", "release")},
    "on_run_end": {("commits", "release")},
}
HEARD["on_event"] = set[tuple[str, str | None]]().union(*HEARD.values())


@pytest.mark.parametrize("name", HEARD)
async def test_a_hook_with_one_method_hears_what_that_is_for(name: str) -> None:
    """Of a run in which there is something for each of them.

    Planted: a method is left out where a hook says which modes it wants, or another one is called in its place.
    """
    graph, heard = Graph("all", Trail, on_error=lambda state, error: None), set[tuple[str, str | None]]()

    @graph.node(retry=Retry(attempts=2, backoff=0.0))
    async def work(state: Trail, ctx: Context) -> Update:
        ctx.emit("word")
        ctx.progress(1, 1)
        if ctx.attempt == 1:
            raise ConnectionError
        return {"n": await ctx.interrupt("n?", type=int)}

    @graph.node(after=work)
    async def fails(state: Trail) -> None:
        raise ValueError

    async def hears(event: Any) -> None:
        assert name != "on_run_end" or event.status == "finished"
        heard.add((event.mode, getattr(event, "kind", None)))

    hook = type("Ear", (), {name: staticmethod(hears)})()
    async with Runtime("memory://", hooks=[hook]) as rt:
        run = await rt.spawn(graph, id="r")
        await run.wait()
        await run.answer(3)
        await run.result()

    assert heard == HEARD[name]


def talks() -> Graph[Trail]:
    """A node that says more than anybody takes."""
    graph = Graph("talks", Trail)

    @graph.node
    async def talk(state: Trail, ctx: Context) -> None:
        for word in range(100):
            ctx.emit(word)

    return graph


async def test_a_hook_that_hears_all_too_slowly_is_told_how_much_it_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is live only; and every name that a hook may have is for something."""
    monkeypatch.setattr(observers, "BUFFER", 8)
    go, words, missed = anyio.Event(), list[int](), list[int]()

    class Slow:
        async def on_data(self, event: DataEvent) -> None:
            await go.wait()
            words.append(event.data)

        async def on_dropped(self, event: DroppedEvent) -> None:
            missed.append(event.count)

    async with Runtime("memory://", hooks=[Slow()]) as rt:
        await rt.run(talks(), id="r")
        go.set()

    assert sum(missed) > 0
    assert len(words) + sum(missed) == 100
    assert {*HEARD, "on_dropped"} == hooks.NAMES


async def test_a_hook_that_hears_only_of_what_is_missed_hears_of_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens for what is live only but for that.

    Planted: a hook wants the events that it has methods for, and no others, as it was: it hears nothing.
    """
    monkeypatch.setattr(observers, "BUFFER", 8)
    missed = list[int]()

    class Counts:
        async def on_dropped(self, event: DroppedEvent) -> None:
            missed.append(event.count)

    async with Runtime("memory://", hooks=[Counts()]) as rt:
        await rt.run(talks(), id="r")

    assert 50 < sum(missed) <= 100 + 3  # words, and that the node was opened, was started and has finished


async def test_a_hook_is_called_after_the_commit(store_url: str) -> None:
    """Whoever hears that a node completed finds it in the store."""
    found: list[bool] = []

    async with Runtime(store_url) as looker_store:
        await looker_store.run(chain("x"), id="made-so-that-the-store-exists")

    async with Runtime(store_url, readonly=True) as looker:

        class Looks:
            async def on_node_complete(self, event: NodeEvent) -> None:
                view = await looker.get("r").at(event.seq)
                found.append(event.node in view.values["trace"])

        async with Runtime(store_url, hooks=[Looks()]) as rt:
            await rt.run(chain("a", "b", "c"), id="r")

    assert found == [True, True, True]


async def test_what_a_hook_raises_is_logged_and_told_and_no_matter_of_the_run(
    store_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Sync or async, at each event; the other hooks hear all the same."""
    ears = Ears()

    class Broken:
        async def on_node_complete(self, event: NodeEvent) -> None:
            raise ValueError("async hook")

        def on_commit(self, event: CommitEvent) -> None:
            raise KeyError("sync hook")

    caplog.set_level(logging.ERROR, "actorflow.hooks")
    async with Runtime(store_url, hooks=[Broken(), ears]) as rt:
        run = await rt.spawn(counter(30), id="r")
        seen = [event async for event in run.events("hooks")]
        final = await run.result()

    assert final.n == 30
    assert ears.heard[-1] == ("end", "finished")
    assert {record.exc_info[0] for record in caplog.records if record.exc_info} == {ValueError, KeyError}
    assert all(event.live and event.hook.endswith("Broken") for event in seen)


async def test_a_failing_hook_is_an_event(store_url: str) -> None:
    """For who watches while the run goes on."""
    watched, told = anyio.Event(), anyio.Event()
    graph = Graph("waits", Trail)

    @graph.node
    async def first(state: Trail) -> None:
        await watched.wait()

    @graph.node(after=first)
    async def wait(state: Trail) -> None:
        await told.wait()

    class Broken:
        async def on_node_complete(self, event: NodeEvent) -> None:
            raise ValueError("no")

    async with Runtime(store_url, hooks=[Broken()]) as rt:
        run = await rt.spawn(graph, id="r")
        events = run.events(["hooks", "commits"])
        assert (await anext(events)).mode == "commits"
        watched.set()
        with anyio.fail_after(30):
            while (event := await anext(events)).mode != "hooks":
                pass
        told.set()

    assert event.error.type == "ValueError"


async def test_a_slow_hook_holds_up_no_run(store_url: str) -> None:
    """The run is over while the hook still hears of its beginning; then it hears the rest."""
    go = anyio.Event()
    heard: list[int] = []

    async def slow(event: Event) -> None:
        await go.wait()
        if event.mode == "commits":
            heard.append(event.seq)

    async with Runtime(store_url, hooks=[slow]) as rt:
        run = await rt.spawn(counter(3_000), id="r", durability="exit")
        assert (await run.result()).n == 3_000
        assert heard == []
        newest = (await rt.tip("r")).header.seq
        go.set()

    assert heard == list(range(newest + 1))


async def test_a_slow_hook_hears_of_each_attempt_of_a_run_that_is_over(store_url: str) -> None:
    """Its restarts were claims, which are looked up in the log: what was handed over after them is told all the same.

    Planted: of a run that lives here no more all of the log is told, and what is live only comes too late.
    """
    go = anyio.Event()
    started: list[str | None] = []

    class Slow:
        async def on_node_start(self, event: NodeEvent) -> None:
            await go.wait()
            started.append(event.node)

    async with Runtime(store_url, hooks=[Slow()], restarts=RestartPolicy(backoff=0.0)) as rt:
        await rt.run(failing(2, []), id="r")
        go.set()

    assert started == ["first", "flaky", "flaky", "flaky", "last"]


async def test_a_slow_hook_hears_of_each_life_once(store_url: str) -> None:
    """In order, though the next life begins before it has heard all of the first.

    Planted: each life is told by somebody of its own, however far the one before has come.
    """
    go = anyio.Event()
    heard: list[tuple[str, Any]] = []

    class Slow:
        async def on_wait(self, event: WaitEvent) -> None:
            await go.wait()
            heard.append((event.question, None))

        async def on_answer(self, event: WaitEvent) -> None:
            heard.append((event.question, event.value))

    async with Runtime(store_url, hooks=[Slow()]) as rt:
        run = await rt.spawn(asker(int), id="r")
        await run.wait()
        await run.answer(3)
        await run.result()
        go.set()

    assert heard == [("Go on?", None), ("Go on?", 3)]


async def test_a_slow_hook_hears_of_a_life_that_begins_while_it_hears_of_an_end(store_url: str) -> None:
    """The run that failed is resumed meanwhile.

    Planted: whoever told of the end is done with the run, and of the next life nobody tells.
    """
    fails, resumed, told = [True], anyio.Event(), anyio.Event()
    heard: list[str] = []
    graph = Graph("fails once", Trail)

    @graph.node
    async def work(state: Trail) -> None:
        if fails:
            raise ValueError("not yet")
        await told.wait()

    class Slow:
        async def on_run_end(self, event: CommitEvent) -> None:
            await resumed.wait()
            heard.append(event.status)
            told.set()

    async with Runtime(store_url, hooks=[Slow()], restarts=RestartPolicy(max_restarts=0)) as rt:
        with pytest.raises(RunFailed):
            await rt.run(graph, id="r")
        fails.clear()
        await rt.resume(graph, "r")
        resumed.set()

    assert heard == ["failed", "finished"]


async def test_a_slow_hook_hears_of_the_next_run_of_an_id(store_url: str) -> None:
    """It is another run, though the first was deleted before the hook had heard of its end."""
    go = anyio.Event()
    ended: list[int] = []

    class Slow:
        async def on_run_end(self, event: CommitEvent) -> None:
            await go.wait()
            ended.append(event.seq)

    async with Runtime(store_url, hooks=[Slow()]) as rt:
        first = await rt.spawn(chain("a"), id="r")
        await first.result()
        ends = [(await rt.tip("r")).header.seq]
        await rt.delete("r")
        again = await rt.spawn(chain("a"), id="r", reuse=True)
        await again.result()
        ends.append((await rt.tip("r")).header.seq)
        go.set()

    assert sorted(ended) == ends


async def test_a_hook_that_never_returns_is_left_behind(
    store_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Leaving the runtime waits for it, but not for ever."""
    monkeypatch.setattr(hooks, "GRACE", 0.05)

    async def hangs(event: Event) -> None:
        await anyio.sleep_forever()

    with anyio.fail_after(30):
        async with Runtime(store_url, hooks=[hangs]) as rt:
            assert (await rt.run(chain("a"), id="r")).trace == ["a"]

    assert "left behind" in caplog.text


async def test_a_hook_hears_of_questions_and_answers(store_url: str) -> None:
    """In whichever life of the run they come."""
    heard: list[tuple[str, Any]] = []

    class Waits:
        async def on_wait(self, event: WaitEvent) -> None:
            heard.append((event.question, None))

        async def on_answer(self, event: WaitEvent) -> None:
            heard.append((event.question, event.value))

    graph = Graph("asks", Trail)

    @graph.node
    async def ask(state: Trail, ctx: Context) -> Update:
        return {"n": await ctx.interrupt("n?", type=int)}

    async with Runtime(store_url, hooks=[Waits()]) as rt:
        run = await rt.spawn(graph, id="r")
        await run.wait()
        await run.answer(3)
        assert (await run.result()).n == 3

    assert heard == [("n?", None), ("n?", 3)]


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (type("Typo", (), {"on_node_completed": lambda self, event: None})(), "did you mean on_node_complete"),
        (3, "hook 3"),
    ],
)
def test_what_can_not_be_told_anything_is_refused(hook: object, message: str) -> None:
    """A misspelt method would never be called."""
    with pytest.raises(TypeError, match=message):
        Runtime("memory://", hooks=[hook])


def refuse_the_third(commit: Commit) -> None:
    """A rule that the third activation does not pass."""
    if commit.state.n == 3:
        raise ValueError("three")


async def test_what_could_not_be_committed_is_never_heard_of(store_url: str) -> None:
    """The third activation ran, and its commit was refused: for everybody outside it did not happen."""
    heard: list[int] = []

    async def commits(event: Event) -> None:
        if event.mode == "commits":
            heard.append(event.seq)

    async with Runtime(store_url, hooks=[commits], validate=refuse_the_third) as rt:
        with pytest.raises(CommitRefused):
            await rt.run(counter(5), id="r")
        newest = (await rt.tip("r")).header.seq

    assert heard == list(range(newest + 1))
