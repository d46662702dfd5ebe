"""Poison: a message over which process after process dies is set aside; the run goes on with the next one."""

from __future__ import annotations

import anyio

from actorflow import Graph, Message, Runtime, Update
from actorflow.errors import StoreError
from actorflow.runtime.groups import first_of
from actorflow.store.memory import MemoryBackend
from actorflow.testing.crashing import Killed, Process
from actorflow.testing.lifetime import quiet
from actorflow.testing.places import Bucket
from tests.runtime.correspondents import Pay, Till, runtime, until

DEATHS = 3
"""So many recorded ones are too many; the first, of which no process knew that it might come, goes unrecorded."""


class Deadly(Message, version=1):
    """Kills whoever handles it."""


class World:
    """The process that lives now, and how many died over the message."""

    def __init__(self) -> None:
        self.process = Process(None)
        self.died = 0


def counter(world: World) -> Graph[Till]:
    """Adds up, and dies of one message."""
    graph = Graph("till", Till, lifetime="actor")

    @graph.on(Deadly)
    async def die(state: Till, msg: Deadly) -> None:
        world.died += 1
        world.process.dead = True  # from here on nothing of it reaches the store
        await anyio.sleep_forever()

    @graph.on(Pay)
    async def pay(state: Till, msg: Pay) -> Update:
        return {"sum": state.sum + msg.amount}

    return graph


async def _die(backend: MemoryBackend, world: World) -> None:
    """Live as a process that takes up the run, or begins it, until it dies over the message."""
    world.process = Process(None)
    try:
        with Bucket(backend).given_to(world.process) as store:
            async with runtime(store, [counter(world)]) as rt:
                await _live(rt, world)
    except BaseException as error:
        cause = first_of(error) if isinstance(error, BaseExceptionGroup) else error
        if not isinstance(cause, Killed | StoreError):
            raise
    Bucket(backend).bury()


async def _live(rt: Runtime, world: World) -> None:
    if not world.died:
        run = await rt.spawn(counter(world), id="till")
        await run.pause()
        for message in (Pay(amount=1), Deadly(), Pay(amount=2)):
            await run.send(message)
    async with anyio.create_task_group() as tasks:
        if await rt.get("till").status() == "paused":
            tasks.start_soon(rt.get("till").unpause)  # not acknowledged, if the process dies over what comes next
        with anyio.fail_after(20):
            while not world.process.dead:  # noqa: ASYNC110 - it dies in a handler
                await anyio.sleep(0.002)
        raise Killed


async def test_a_message_over_which_processes_die_is_set_aside() -> None:
    """Planted: after a process died, a turn that begins before it is recorded that it does."""
    backend, world = MemoryBackend(), World()
    with quiet():
        for _ in range(1 + DEATHS):
            await _die(backend, world)

        async with runtime(backend, [counter(world)]) as rt:
            run = rt.get("till")
            await until(lambda: run.query(lambda state: state.sum == 3))
            (dead,) = await run.dead_letters()

    assert world.died == 1 + DEATHS
    assert dead.reason == "poison"
    assert "3 processes died" in str(dead.error)
