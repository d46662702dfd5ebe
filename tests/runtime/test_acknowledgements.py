"""Acknowledgements: nobody is told anything, and nothing leaves a run, before its commit (guarantee 1)."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread

from actorflow import Context, Graph, Message, Reply, Runtime, State, Update
from actorflow.errors import NoSuchRun
from actorflow.store.memory import MemoryBackend
from actorflow.store.wrappers import WrappedBackend
from tests.runtime.correspondents import Pay, Work, till, until, worker
from tests.runtime.mailing import Deposit as Adding
from tests.runtime.mailing import Gate, working

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorflow.runtime.options import Durability

PATIENCE = 20.0
"""Seconds that a commit is held at most, should a test forget it."""


class Held(WrappedBackend):
    """A store on which commits of one run stay on their way, from `hold` until they are let through."""

    def __init__(self) -> None:
        super().__init__(MemoryBackend())
        self._run = ""
        self._came = threading.Event()
        self._through = threading.Event()

    def hold(self, run_id: str) -> None:
        """From now on let no commit of this run through."""
        self._run = f"runs/{run_id}/"

    async def came(self) -> None:
        """Wait until one is on its way, and whoever could do something meanwhile has done it."""
        assert await to_thread.run_sync(self._came.wait, PATIENCE)
        for _ in range(100):
            await anyio.lowlevel.checkpoint()

    def let_through(self) -> None:
        """The one that is on its way, and all that follow."""
        self._through.set()

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Put; of the run that is held, later."""
        if self._run and key.startswith(self._run):
            self._came.set()
            assert self._through.wait(PATIENCE)
        return self.inner.put_new(key, data, durable=durable)


class Deposit(Message, version=1):
    """Is handled at once."""


class Account(State, version=1):
    """What it was told."""

    deposits: int = 0
    said: str = ""


def account() -> Graph[Account]:
    """An actor that counts, tells another one, and begins a third."""
    graph = Graph("account", Account, lifetime="actor")

    @graph.on(Deposit)
    async def deposit(state: Account, msg: Deposit, ctx: Context) -> Reply:
        await ctx.send("till", Pay(amount=1))
        await ctx.spawn(worker(), Work(n=1), id="child")
        return Reply("thanks", {"deposits": state.deposits + 1})

    return graph


def asking() -> Graph[Account]:
    """Waits for an answer."""
    graph = Graph("asking", Account)

    @graph.node
    async def ask(state: Account, ctx: Context) -> Update:
        return {"said": await ctx.interrupt("What?", type=str)}

    return graph


def stepping(gate: anyio.Event, seen: list[str]) -> Graph[Account]:
    """Does something that is remembered, once it may."""
    graph = Graph("stepping", Account)

    @graph.node
    async def step(state: Account, ctx: Context) -> Update:
        await gate.wait()
        seen.append(await ctx.step("effect", partial(str, "done")))
        return {}

    return graph


async def _is_told_after_the_commit(store: Held, run_id: str, call: Callable[[], Awaitable[object]]) -> None:
    told = list[object]()

    async def wait() -> None:
        told.append(await call())

    async with anyio.create_task_group() as tasks:
        store.hold(run_id)
        tasks.start_soon(wait)
        await store.came()
        assert told == []
        store.let_through()
    assert len(told) == 1


@pytest.mark.parametrize("verb", ["send", "send an id", "ask", "ask an id", "update", "pause"])
async def test_who_asks_something_of_a_live_run_is_told_when_it_is_committed(verb: str) -> None:
    """Whoever dies before has acknowledged nothing. Planted: requests that are done once they are decided."""
    store = Held()
    async with Runtime(store, drain="park") as rt:
        run = await rt.spawn(account(), id="x")
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "send": partial(run.send, Deposit()),
            "send an id": partial(run.send, Deposit(), id="one"),
            "ask": partial(run.ask, Deposit()),
            "ask an id": partial(run.ask, Deposit(), id="one"),
            "update": partial(run.update, {"said": "hello"}),
            "pause": run.pause,
        }

        await _is_told_after_the_commit(store, "x", calls[verb])


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_reply_is_told_when_it_is_committed_whatever_the_durability(durability: Durability) -> None:
    """Also while the run goes on with other things. Planted: replies that are no reason for a commit."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(working(), id="x", context=gate, durability=durability)
        await gate.inside.wait()

        assert await run.ask(Adding(amount=5)) is None

        _, kept = await rt.load("x")
        assert kept.root.values["balance"] == 5
        gate.open.set()


async def test_a_run_is_begun_when_its_first_commit_is_made() -> None:
    """`spawn` returns nothing that a crash could take back."""
    store = Held()
    async with Runtime(store, drain="park") as rt:
        await _is_told_after_the_commit(store, "x", partial(rt.spawn, account(), id="x"))


async def test_an_answer_is_taken_when_it_is_committed() -> None:
    """Otherwise the question would be asked again, after somebody was told that it is answered."""
    store = Held()
    async with Runtime(store, drain="park") as rt:
        run = await rt.spawn(asking(), id="x")
        await run.wait()

        await _is_told_after_the_commit(store, "x", partial(run.answer, "this"))


async def test_a_node_sees_what_its_step_returned_when_that_is_committed() -> None:
    """It can't pass on what is forgotten in a crash."""
    store, gate, seen = Held(), anyio.Event(), list[str]()
    async with Runtime(store) as rt:
        run = await rt.spawn(stepping(gate, seen), id="x")
        await anyio.wait_all_tasks_blocked()
        store.hold("x")
        gate.set()

        await store.came()
        assert seen == []
        store.let_through()
        await run.result()

    assert seen == ["done"]


async def test_what_a_run_sends_and_begins_leaves_it_with_its_commit() -> None:
    """Were it earlier, others would know of a turn that a crash undoes. Planted: a dispatcher that is told at once."""
    store = Held()
    async with Runtime(store, drain="park") as rt:
        other = await rt.spawn(till(), id="till")
        run = await rt.spawn(account(), id="x")
        async with anyio.create_task_group() as tasks:
            store.hold("x")
            tasks.start_soon(run.send, Deposit())
            await store.came()
            assert (await other.state()).sum == 0
            with pytest.raises(NoSuchRun):
                await rt.get("child").status()
            store.let_through()

        await until(lambda: other.query(lambda state: state.sum == 1))
        await until(lambda: rt.runs(graph="worker"))
        await rt.get("child").result()
