"""Runs that speak with each other, and how they are killed at each write to their store, for the tests of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import anyio

from actorflow import Context, Graph, Message, Reply, RestartPolicy, Runtime, State, Update, extend
from actorflow.errors import StoreError
from actorflow.runtime.groups import first_of
from actorflow.store.memory import MemoryBackend
from actorflow.testing.crashing import Fault, Killed, Kind, Process
from actorflow.testing.lifetime import quiet
from actorflow.testing.places import Bucket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorflow.testing.crashing import Operation

T = TypeVar("T")

WITHIN = 20.0
"""Seconds: what takes longer never comes."""

_LEASE = 86_400.0  # nobody is taken for dead but by `Bucket.bury`


class Till(State, version=1):
    """What is paid into."""

    sum: int = 0
    entries: Annotated[list[int], extend] = []


class Pay(Message, version=1):
    """Is added to a till."""

    amount: int


class Total(Message, version=1):
    """Is answered with what a till has."""


def till() -> Graph[Till]:
    """An actor that adds up."""
    graph = Graph("till", Till, lifetime="actor")

    @graph.on(Pay)
    async def pay(state: Till, msg: Pay) -> Update:
        return {"sum": state.sum + msg.amount, "entries": [msg.amount]}

    @graph.on(Total)
    async def total(state: Till, msg: Total) -> Reply:
        return Reply(state.sum)

    return graph


class Work(State, version=1):
    """What a child works on."""

    n: int = 0


def worker(calls: list[int] | None = None) -> Graph[Work]:
    """Doubles its number."""
    graph = Graph("worker", Work)

    @graph.node
    async def double(state: Work, ctx: Context) -> Update:
        if calls is not None:
            calls.append(state.n)
        if state.n < 0:
            raise ValueError("negative")
        return {"n": state.n * 2}

    return graph


def sleeper() -> Graph[Work]:
    """Waits for an answer that nobody gives."""
    graph = Graph("sleeper", Work)

    @graph.node
    async def wait(state: Work, ctx: Context) -> Update:
        return {"n": await ctx.interrupt("Which?", type=int)}

    return graph


async def ended(rt: Runtime, run_id: str) -> str:
    """The status of a run, once it is over."""
    with anyio.fail_after(WITHIN):
        while (status := await rt.get(run_id).status()) not in {"finished", "failed", "cancelled"}:  # noqa: ASYNC110
            await anyio.sleep(0.005)
    return status


async def until(true: Callable[[], Awaitable[object]]) -> None:
    """Until something holds, for as long as is sensible."""
    with anyio.fail_after(WITHIN):
        while not await true():  # noqa: ASYNC110 - what it looks at is in the store
            await anyio.sleep(0.005)


def runtime(store: Any, graphs: list[Graph[Any]]) -> Runtime:
    """One process, which goes on at once with what a dead one has left."""
    return Runtime(
        store,
        graphs=graphs,
        recover="always",
        scan_every=0.02,
        linger=0.0,
        lease=_LEASE,
        restarts=RestartPolicy(backoff=0.0),
        max_crashes=1_000_000,
    )


class Writing(Process):
    """A process whose operations are its writes.

    How often it looks at the store depends on how slow the machine is; and whoever
    dies between two looks leaves the same store as who dies before the first.
    """

    def make(self, operation: Operation, effect: Callable[[], T]) -> T:
        """Make an operation, or be befallen there, if it is a write."""
        if operation.writes:
            return super().make(operation, effect)
        if self.dead:
            raise Killed
        return effect()


async def killed_everywhere(
    graphs: Callable[[], list[Graph[Any]]],
    scene: Callable[[Runtime, list[Graph[Any]]], Awaitable[object]],
    *,
    kinds: tuple[Kind, ...] = ("before", "after"),
    every: int = 1,
) -> int:
    """Let a process make a scene, and kill it at each write to its store; the next one makes it again, to its end.

    The scene begins what is not there yet, waits for how it ends, and asserts what must hold then.
    Killed before and after each second write, it leaves each store that it can leave.

    Returns:
        How often a process was killed.
    """
    with quiet():
        whole = Writing(None)
        await _live(MemoryBackend(), whole, graphs, scene)
        killed = 0
        for number in range(1, len(whole.operations) + 1, every):
            for kind in kinds:
                fault = Fault(number, kind)
                if not fault.befalls(whole.operations[number - 1]):
                    continue
                backend = MemoryBackend()
                first = Writing(fault)
                await _live(backend, first, graphs, scene)
                if first.struck is None:
                    continue
                killed += 1
                Bucket(backend).bury()
                try:
                    await _live(backend, Process(None), graphs, scene)
                except BaseException as error:
                    error.add_note(f"killed at {fault}, {first.struck}")
                    raise
    return killed


async def _live(
    backend: MemoryBackend,
    process: Process,
    graphs: Callable[[], list[Graph[Any]]],
    scene: Callable[[Runtime, list[Graph[Any]]], Awaitable[object]],
) -> None:
    its = graphs()
    try:
        with Bucket(backend).given_to(process) as store:
            async with runtime(store, its) as rt:
                with anyio.fail_after(WITHIN):
                    await _unless_killed(rt, its, process, scene)
    except BaseException as error:
        first = first_of(error) if isinstance(error, BaseExceptionGroup) else error
        if not process.dead or not isinstance(first, Killed | StoreError | TimeoutError):
            raise first from error


async def _unless_killed(
    rt: Runtime,
    graphs: list[Graph[Any]],
    process: Process,
    scene: Callable[[Runtime, list[Graph[Any]]], Awaitable[object]],
) -> None:
    """Make the scene, as long as there is a process."""

    async def watch() -> None:
        while not process.dead:  # noqa: ASYNC110 - it dies in a worker thread
            await anyio.sleep(0.002)
        raise Killed

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        await scene(rt, graphs)
        tasks.cancel_scope.cancel()
