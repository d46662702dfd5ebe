"""What happens in a simulated world: a small graph, begun by one process, to be finished by whoever is left."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Annotated

import anyio
import trio

from actorflow import Context, Graph, Runtime, State, Update, extend
from actorflow.errors import ActorflowError, NoSuchRun, RunDeleted, StoreError
from tests.simulation.world import LEASE, SCAN, World, here

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorflow.store.store import Store

NODES = Counter(["first", "left", "right", "last"])


class Trail(State, version=1):
    """Which nodes ran."""

    trace: Annotated[list[str], extend] = []


def survey(world: World) -> Graph[Trail]:
    """First, then two branches at once, then last. Each start is told."""
    graph = Graph("survey", Trail)

    def node(name: str) -> Callable[..., Awaitable[Update]]:
        async def step(state: Trail, ctx: Context) -> Update:
            process = here()
            await process.running()
            if not process.dead:
                assert process.runtime is not None
                life = process.runtime.life_of(ctx.run_id)
                assert life is not None
                world.note(process, f"starts {name}")
                world.told.start(
                    ctx.run_id, life.actor.run.epoch, bytes.fromhex(ctx.idempotency_key), world.newest(ctx.run_id)
                )
            await anyio.sleep(world.chance.uniform(0, world.pace))
            await process.running()
            return {"trace": [name]}

        return step

    first = graph.node(node("first"), name="first")
    sides = [graph.node(node(name), name=name, after=first) for name in ("left", "right")]
    graph.node(node("last"), name="last", after=tuple(sides))
    return graph


def begins(world: World, *run_ids: str) -> Callable[[Runtime], Awaitable[None]]:
    """Run these to their end; what goes wrong with one is for others to put right."""

    async def body(runtime: Runtime) -> None:
        async with anyio.create_task_group() as tasks:
            for run_id in run_ids:
                tasks.start_soon(_run, world, runtime, run_id)

    return body


def parks(world: World, run_id: str) -> Callable[[Runtime], Awaitable[None]]:
    """Begin a run, and leave while it is on its way: it is released."""

    async def body(runtime: Runtime) -> None:
        try:
            await runtime.spawn(survey(world), Trail(), id=run_id)
        except ActorflowError as error:
            world.note(here(), f"{run_id}: {type(error).__name__}")
        await anyio.sleep(0.5)

    return body


def insists(world: World, *run_ids: str) -> Callable[[Runtime], Awaitable[None]]:
    """Ask for the result of each run until it is there; then wait until nothing is in flight any more."""

    async def body(runtime: Runtime) -> None:
        for run_id in run_ids:
            while not await _run(world, runtime, run_id):  # noqa: ASYNC110 - as a user does it
                await anyio.sleep(SCAN)
        await world.quiet()

    return body


def deletes(world: World, run_id: str) -> Callable[[Runtime], Awaitable[None]]:
    """Run it to its end, and delete it."""

    async def body(runtime: Runtime) -> None:
        if await _run(world, runtime, run_id):
            try:
                await runtime.delete(run_id)
            except ActorflowError as error:
                world.note(here(), f"{run_id} is not deleted: {type(error).__name__}")

    return body


def reuses(world: World, run_id: str) -> Callable[[Runtime], Awaitable[None]]:
    """Insist that the run is deleted, then that another one under its id comes to its end."""

    async def insist(step: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await step()
            except (NoSuchRun, RunDeleted):
                return
            except ActorflowError as error:
                world.note(here(), f"{run_id}: {type(error).__name__}")
                await anyio.sleep(SCAN)
            else:
                return

    async def body(runtime: Runtime) -> None:
        async def run_again() -> None:
            run = await runtime.spawn(survey(world), Trail(), id=run_id, reuse=True, on_conflict="attach")
            world.told.results[run_id] = (await run.result()).trace

        await insist(lambda: runtime.delete(run_id))
        world.told.results.clear()
        await insist(run_again)
        await world.quiet()

    return body


def sweeps(world: World, *run_ids: str) -> Callable[[Runtime], Awaitable[None]]:
    """Let go of whatever may be let go of, all the time; its process knows no graph, so it takes up nothing."""

    def sweep(store: Store, run_id: str) -> None:
        log = store.log(run_id)
        if (tip := log.tip()) is not None:
            log.let_go(tip.header.snapshot)

    async def body(runtime: Runtime) -> None:
        lives = runtime._lives
        assert lives is not None
        while True:
            for run_id in run_ids:
                try:
                    await lives.in_store(partial(sweep, lives.store, run_id))
                except StoreError as error:
                    world.note(here(), f"{run_id} is not swept: {type(error).__name__}")
            await trio.sleep(world.chance.uniform(0, LEASE / 4))

    return body


def followed(
    body: Callable[[World], Callable[[Runtime], Awaitable[None]]],
    *run_ids: str,
    sweeping: bool = False,
    ending: Callable[..., Callable[[Runtime], Awaitable[None]]] | None = None,
) -> Callable[[World], Awaitable[None]]:
    """A does ``body`` while B looks after orphans; some time later Z insists on the result of each run.

    With ``sweeping``, C does retention all the time. ``ending`` is what Z does instead of insisting.

    When the world ends, everything that was on its way has landed, and has been looked at once more.
    """

    async def scene(world: World) -> None:
        first = world.start("A", body(world), survey(world))
        second = world.start("B", looks_after, survey(world))
        third = world.start("C", sweeps(world, *run_ids)) if sweeping else second
        with trio.move_on_after(LEASE):
            await first.over.wait()
        await world.settled(within=2 * LEASE)
        last = world.start("Z", (ending or insists)(world, *run_ids), survey(world))
        await last.over.wait()
        await first.over.wait()  # it may have stood still all the while
        await world.quiet()
        second.scope.cancel()
        third.scope.cancel()

    return scene


async def looks_after(runtime: Runtime) -> None:
    """Do nothing but take up what others left."""
    del runtime
    await trio.sleep_forever()


async def _run(world: World, runtime: Runtime, run_id: str) -> bool:
    """Whether the run's result was told, which nothing may change any more."""
    try:
        state = await runtime.run(survey(world), Trail(), id=run_id)
    except ActorflowError as error:
        world.note(here(), f"{run_id}: {type(error).__name__}")
        return False
    if not here().dead:
        world.told.results[run_id] = state.trace
    return True
