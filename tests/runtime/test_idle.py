"""Idle actors: whoever only waits for a while stays in memory without a task, and is there when it is wanted."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from actorflow import END, Context, Goto, Graph, Message, Runtime, State, Update
from actorflow.errors import RunCancelled
from actorflow.runtime import making, resting
from actorflow.runtime.attending import Request
from actorflow.runtime.writer import Writer
from actorflow.testing import VirtualClock
from tests.engine.test_compact import empties
from tests.runtime.asking import asked, asker, commits

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from actorflow import Run

LONG = 1e6
PATIENCE = 20.0  # seconds that a test waits for what must come at once


class Count(State):
    """What the actor keeps."""

    n: int = 0


class Add(Message):
    """What it is sent."""

    n: int


def counter() -> Graph[Count]:
    """An actor that adds up."""
    graph = Graph("counter", Count, lifetime="actor")

    @graph.on(Add)
    async def add(state: Count, msg: Add) -> Update:
        return {"n": state.n + msg.n}

    return graph


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody keeps a task for a time that a test would have to wait for."""
    monkeypatch.setattr(resting, "BRIEF", 0.0)
    monkeypatch.setattr(resting, "GLANCE", 0.0)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for it."""
    with anyio.fail_after(PATIENCE):
        while not holds():
            await anyio.lowlevel.checkpoint()


async def idle(rt: Runtime, count: int = 1) -> None:
    """Wait until so many are idle."""
    await until(lambda: len(rt.living().idlers) == count)


def empty(holder: object) -> list[object]:
    """Its containers that hold nothing: those into which anybody may put something at any time."""
    return [one for one in gc.get_referents(holder) if one.__class__ in {dict, list} and not one]


def tasks_now() -> int:
    """How many tasks there are."""
    return len(anyio.get_running_tasks())


async def test_an_idle_actor_owns_no_task(store_url: str) -> None:
    """Thirty of them, and there are as many tasks as with one: the one that watches the clock for all."""
    async with Runtime(store_url, linger=LONG) as rt:
        await rt.spawn(counter(), id="first")
        await idle(rt)
        before = tasks_now()

        for number in range(30):
            await rt.spawn(counter(), id=f"x{number}")
        await idle(rt, 31)

        assert tasks_now() == before
        assert rt.life_of("x7") is not None


async def test_an_idle_actor_holds_little(store_url: str) -> None:
    """What only an actor that does something needs, it has again when somebody wants something of it.

    Planted: who becomes idle keeps all that it had.
    """
    async with Runtime(store_url, linger=LONG) as rt:
        run = await rt.spawn(counter(), id="x")
        await idle(rt)
        life = rt.living().get("x")
        assert life is not None
        assert (empties(life.actor.run), len(empty(life.actor))) == (0, 2)

        await run.send(Add(n=2))
        await until(lambda: life.actor.run.root.values["n"] == 2)
        await idle(rt)

        assert (empties(life.actor.run), len(empty(life.actor))) == (0, 2)
        assert await run.cancel() == "cancelled"


async def test_few_actors_keep_their_tasks_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks again and again finds them there; a crowd of them would take much memory for that.

    Planted: all keep theirs for as long.
    """
    monkeypatch.setattr(resting, "BRIEF", LONG / 2)
    monkeypatch.setattr(making, "CROWD", 3)
    async with Runtime("memory://", linger=LONG, drain="park") as rt:
        runs = [await rt.spawn(counter(), id=f"x{number}") for number in range(8)]
        await idle(rt, 5)

        for run in runs:
            await run.send(Add(n=1))
        await until(lambda: all(life.actor.run.root.values["n"] == 1 for life in rt.living().present()))
        await idle(rt, 5)


async def test_an_idle_actor_takes_a_message_without_a_new_claim(store_url: str) -> None:
    """Again and again; it is the same incarnation."""
    async with Runtime(store_url, linger=LONG) as rt:
        run = await rt.spawn(counter(), id="x")
        for number in range(3):
            await idle(rt)
            await run.send(Add(n=1))
            await until(lambda at=number: rt.living().get("x").actor.run.root.values["n"] == at + 1)  # type: ignore[misc,union-attr]

        await idle(rt)
        assert await run.query(lambda state: state.n) == 3
        assert [kind for _, kind, _ in await commits(run)].count("claim") == 1


async def test_an_idle_actor_sees_to_its_times(store_url: str) -> None:
    """What is due within ``linger`` is done by the same incarnation, in time."""
    graph = asker(bool, timeout=3600, default=False)
    async with VirtualClock(auto=False) as clock, Runtime(store_url, linger=LONG, recover="never") as rt:
        run = await rt.spawn(graph, id="x")
        await asked(run)
        await idle(rt)

        await clock.advance(3599)
        assert await run.status() == "waiting"
        await clock.advance(1)

        assert (await run.result()).trace == ["answer=False", "last"]
        assert [kind for _, kind, _ in await commits(run)].count("claim") == 1


async def test_an_idle_actor_that_nobody_wants_lies_down(store_url: str) -> None:
    """After ``linger``, and then costs nothing."""
    async with VirtualClock() as clock, Runtime(store_url, linger=5.0) as rt:
        clock.auto = False
        run = await rt.spawn(counter(), id="x")
        await idle(rt)
        rt.living().idlers._done[0][2].actor.lie_down()  # as when its time has come

        await until(lambda: rt.life_of("x") is None)

        assert [(kind, status) for _, kind, status in await commits(run)][-1] == ("release", "waiting")
        assert len(rt.living().idlers) == 0


@pytest.mark.parametrize("how", ["normally", "by an exception", "parked"])
async def test_idle_actors_are_released_when_their_runtime_is_left(store_url: str, how: str) -> None:
    """However it is left, anybody may go on with them at once."""
    with pytest.raises(ZeroDivisionError) if how == "by an exception" else anyio.CancelScope():  # type: ignore[attr-defined]
        async with Runtime(store_url, linger=LONG, drain="park" if how == "parked" else "finish") as rt:
            for run_id in ("x", "y"):
                await rt.spawn(counter(), id=run_id)
            await idle(rt, 2)
            if how == "by an exception":
                raise ZeroDivisionError

    async with Runtime(store_url, readonly=True) as rt:
        for run_id in ("x", "y"):
            assert (await commits(rt.get(run_id)))[-1][1:] == ("release", "waiting")


async def test_an_idle_actor_is_cancelled_deleted_and_let_go_of(store_url: str) -> None:
    """What is done to live runs from outside reaches it."""
    async with Runtime(store_url, linger=LONG) as rt:
        runs: list[Run[Count]] = [await rt.spawn(counter(), id=run_id) for run_id in ("x", "y", "z")]
        await idle(rt, 3)

        assert await runs[0].cancel() == "cancelled"
        await rt.delete("y")
        assert await runs[2].update({"n": 7}) > 0
        await idle(rt)

        with pytest.raises(RunCancelled):
            await runs[0].result()
        assert await runs[2].query(lambda state: state.n) == 7
        assert await runs[2].rewind(0) > 0
        await idle(rt)


async def test_what_comes_while_an_actor_gets_idle_is_not_lost(store_url: str) -> None:
    """At every moment of its getting there, while its task that watched a time ends.

    Planted: nobody looks once more.
    """
    async with Runtime(store_url, linger=LONG) as rt:
        run = await rt.spawn(asker(bool, timeout=900, default=False), id="x")
        await asked(run)
        with anyio.fail_after(PATIENCE):
            for pauses in range(40):
                for _ in range(pauses):
                    await anyio.lowlevel.checkpoint()
                await run.update({"n": pauses})
        assert await run.query(lambda state: state.n) == 39
        await run.cancel()


async def test_an_actor_that_ends_is_not_idle(store_url: str) -> None:
    """Its result comes at once."""
    graph = Graph("ends", Count, lifetime="actor")

    @graph.on(Add, goto=(END,))
    async def end(state: Count, msg: Add, ctx: Context) -> Goto:
        return Goto(END, update={"n": msg.n})

    async with Runtime(store_url, linger=LONG) as rt:
        run = await rt.spawn(graph, id="x")
        await idle(rt)
        await run.send(Add(n=4))

        assert (await run.result()).n == 4
        assert len(rt.living().idlers) == 0


async def test_answers_reach_an_idle_run(store_url: str) -> None:
    """A question with a time limit within ``linger`` keeps its run in memory, and its actor idle."""
    async with Runtime(store_url, linger=LONG) as rt:
        run = await rt.spawn(asker(bool, timeout=900, default=False), id="x")
        await asked(run)
        await idle(rt)

        await run.answer(value=True)

        assert (await run.result()).trace == ["answer=True", "last"]
        assert [kind for _, kind, _ in await commits(run)].count("claim") == 1


async def test_who_asks_an_actor_that_is_cancelled_while_it_becomes_idle_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It takes what it is asked until it is idle, and is not: it leaves."""
    still_busy, begun = anyio.Event(), list[bool]()

    def tidy(writer: Writer, tasks: TaskGroup) -> None:
        async def work() -> None:
            with anyio.CancelScope(shield=True):
                await still_busy.wait()

        if not begun:
            begun.append(True)
            tasks.start_soon(work)

    async with anyio.create_task_group() as outside, Runtime("memory://", linger=60, drain="park") as rt:
        monkeypatch.setattr(Writer, "tidy", tidy)
        run = await rt.spawn(counter(), id="c")
        life = rt.living().get("c")
        assert life is not None
        await until(lambda: bool(begun))
        await anyio.wait_all_tasks_blocked()
        assert len(rt.living().idlers) == 0
        request = Request(None)
        outside.start_soon(life.actor.ask, request)
        await anyio.wait_all_tasks_blocked()
        rt.living().leave()
        still_busy.set()
        with anyio.CancelScope(shield=True), anyio.fail_after(PATIENCE):
            await request.done.wait()
    assert run.id == "c"
