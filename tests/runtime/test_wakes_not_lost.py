"""Whoever waits for a run that does not live here is woken also if it got up and lay down while that was looked at.

The pauses between two looks are longer here than a test may take.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import anyio
import pytest
from anyio import to_thread

from actorflow import Graph, Mailbox, Message, Runtime, State
from actorflow.graph.migrate import migrate
from actorflow.runtime import sending
from actorflow.store.keys import DEAD
from actorflow.store.memory import MemoryBackend
from actorflow.store.observing import Call, ObservedBackend
from tests.runtime.correspondents import until
from tests.runtime.mailing import Deposit, Total, banking

WITHIN = 20.0
"""Seconds; the pauses take longer."""


class Jar1(State, version=1, name="Jar"):
    """What was put into it."""

    coins: int = 0


class Jar2(State, version=2, name="Jar"):
    """The same, by another name."""

    sum: int = 0


class Coin(Message, version=1):
    """One more."""


class Stop:
    """Holds up the first thread that comes by."""

    def __init__(self) -> None:
        self.reached, self.open, self.armed = threading.Event(), threading.Event(), False

    def pass_by(self) -> None:
        """Wait, if nobody did before."""
        if self.armed and not self.reached.is_set():
            self.reached.set()
            assert self.open.wait(WITHIN)


class Watched(ObservedBackend):
    """A bucket that holds up whoever has looked for a dead letter."""

    def __init__(self) -> None:
        super().__init__(MemoryBackend())
        self.stop = Stop()

    def saw(self, call: Call) -> None:
        """Hold it up."""
        if call.key.startswith(DEAD):
            self.stop.pass_by()


@pytest.fixture(autouse=True)
def _long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_POLL", (0.02, 100.0))


async def _asleep(rt: Runtime, run_id: str) -> bool:
    return rt.life_of(run_id) is None


async def test_who_waits_for_room_in_a_paused_run() -> None:
    """It is unpaused, makes room and lies down, while who sends to it still reads that it is full.

    Planted: waiting for the next life from then on, as it was: the message is there when the pause is over.
    """
    stop, bucket = Stop(), MemoryBackend()

    @migrate(from_=1, to=2)
    def rename(old: dict[str, Any]) -> dict[str, Any]:
        stop.pass_by()
        return {"sum": old["coins"]}

    def jar(state: Any, **options: Any) -> Graph[Any]:
        graph = Graph("jar", state, lifetime="actor", mailbox=Mailbox(messages=1), **options)

        @graph.on(Coin)
        async def coin(state: Any, msg: Coin) -> Any:
            return {"sum": state.sum + 1}

        return graph

    async with Runtime(bucket, drain="park") as rt:
        run = await rt.spawn(jar(Jar1), id="jar")
        await run.pause()
        await run.send(Coin())
    async with Runtime(bucket, graphs=[jar(Jar2, migrations=[rename])], recover="never", linger=0.0) as rt:
        run, stop.armed = rt.get("jar"), True
        with anyio.fail_after(WITHIN):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run.send, Coin())
                await to_thread.run_sync(stop.reached.wait, WITHIN)
                await run.unpause()
                await until(partial(_asleep, rt, "jar"))
                stop.open.set()
            await until(partial(_holds, rt, 2))


async def _holds(rt: Runtime, coins: int) -> bool:
    return bool((await rt.get("jar").state()).sum == coins)


async def test_who_waits_for_the_reply_of_a_run_that_nobody_here_could_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its graph becomes known, and it replies and lies down, while who asked it still looks for a dead letter.

    Planted: as above: the reply is there, and seen when the pause is over.
    """
    monkeypatch.setattr(sending, "_POLL", (100.0, 100.0))  # also the first pause
    graph, bucket = banking(), Watched()
    async with Runtime(bucket, drain="park") as rt:
        await rt.spawn(graph, id="ada")
    async with Runtime(bucket, recover="never", linger=0.0) as rt:
        bucket.stop.armed, replies = True, list[int]()

        async def ask() -> None:
            replies.append(await rt.get("ada").ask(Deposit(amount=3)))

        with anyio.fail_after(WITHIN):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await to_thread.run_sync(bucket.stop.reached.wait, WITHIN)
                run = await rt.resume(graph, "ada")
                await run.ask(Total())
                await until(partial(_asleep, rt, "ada"))
                monkeypatch.setattr(sending, "_POLL", (0.02, 100.0))  # but for the moment that it always rests
                bucket.stop.open.set()
        assert replies == [3]
