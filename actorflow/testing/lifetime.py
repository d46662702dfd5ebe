"""A lifetime: one run on a store of its own, from its spawn to its end, by as many processes as it takes.

Processes follow one another. What befalls the first ones is given; the last one
is left alone, and must bring the run to its end. A process that is killed is
gone with all that it had in flight: its backend lets nothing through any more,
and what its runtime still does while it is taken down reaches nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import anyio
from anyio import to_thread
from msgspec import Struct, field

from actorflow.engine.policy import RestartPolicy
from actorflow.engine.records import ENDED
from actorflow.errors import (
    NoSuchStore,
    NotWaiting,
    Quarantined,
    RunCancelled,
    RunEnded,
    RunExists,
    RunFailed,
    StoreError,
)
from actorflow.graph.graph import Graph
from actorflow.graph.state import State
from actorflow.runtime.groups import first_of
from actorflow.runtime.options import Durability
from actorflow.runtime.run import Run
from actorflow.runtime.runtime import Runtime
from actorflow.runtime.steered import Interrupt
from actorflow.testing.crashing import Fault, Killed, Process
from actorflow.testing.invariants import Call, finished_keys, unmarked, violations
from actorflow.testing.places import Place
from actorflow.testing.watching import WatchedGraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.graph.context import Context
    from actorflow.store.store import Store

S = TypeVar("S", bound=State)

Answers = Mapping[str, Any] | Callable[[Interrupt], Any]
"""What the run's questions are answered with: by their text, or by a function of the question."""

RUN_ID = "explored"

_Group = BaseExceptionGroup[BaseException]

_POLL = 0.005  # seconds

_LEASE = 86_400.0  # seconds: nobody beats, and nobody is found dead, but as it is written here


class Scene(Struct, Generic[S], frozen=True):
    """What happens in a lifetime, apart from what befalls its processes."""

    graph: Graph[S]
    state: S | None
    durability: Durability
    context: Callable[[], Any]
    answers: Answers | None
    outside: Callable[[Run[S]], Coroutine[Any, Any, object]] | None
    place: Callable[[], Place]
    check: Callable[[S, Any], object] | None
    time_limit: float  # seconds for one lifetime


class Ending(Struct, Generic[S], frozen=True):
    """How a run ended, as whoever waited for it was told."""

    status: str
    state: S | None = None
    node: str | None = None  # that failed

    def __str__(self) -> str:
        where = f" in node {self.node!r}" if self.node else ""
        return f"{self.status}{where}" + (f" with {self.state!r}" if self.state is not None else "")


class Lifetime(Struct, Generic[S]):
    """What came of it."""

    endings: list[Ending[S]] = field(default_factory=list[Ending[S]])  # each that somebody was told
    processes: list[Process] = field(default_factory=list[Process])
    calls: list[Call] = field(default_factory=list[Call])
    wrong: list[str] = field(default_factory=list[str])


async def live(scene: Scene[S], faults: Sequence[Fault] = ()) -> Lifetime[S]:
    """One lifetime, in which the n-th of these befalls the n-th process."""
    theatre = _Theatre(scene)
    lifetime = theatre.lifetime
    with anyio.move_on_after(scene.time_limit) as limit:
        for fault in (*faults, None):
            if not await theatre.process(fault):
                break
    if limit.cancelled_caught:
        lifetime.wrong.append(f"the run does not come to its end within {scene.time_limit:g} s")
    lifetime.wrong += await to_thread.run_sync(theatre.look)
    return lifetime


class _Theatre(Generic[S]):
    """Where a lifetime takes place: the store and what is outside of it, which no process takes with it."""

    def __init__(self, scene: Scene[S]) -> None:
        self._scene = scene
        self._place = scene.place()
        self._context = scene.context()
        self._process = Process(None)  # the one that lives
        self._finished: set[tuple[str, str]] = set()  # before it took over
        self.lifetime: Lifetime[S] = Lifetime()
        self._graph = WatchedGraph(scene.graph, self._tell)

    async def process(self, fault: Fault | None) -> bool:
        """One process, from its start to its end; whether there is something left for another one."""
        self._process = Process(fault)
        self.lifetime.processes.append(self._process)
        await self._run()
        await to_thread.run_sync(self._place.bury)
        self.lifetime.wrong += await to_thread.run_sync(self._look_between)
        return self._process.struck is not None

    def look(self) -> list[str]:
        """What is wrong at the end."""
        found: list[str] = []
        if (store := self._look()) is not None:
            with suppress(StoreError):  # what can't be read is told below
                tip = store.log(RUN_ID).tip()
                if tip is not None and tip.header.status == "waiting":
                    found.append("it waits, and nobody answers: say answers= or outside=")
            sync, calls = self._scene.durability == "sync", self.lifetime.calls
            acknowledged = {key: data for one in self.lifetime.processes for key, data in one.acknowledged.items()}
            found += violations(store, acknowledged=acknowledged, calls=calls, sync=sync)
        endings, check = self.lifetime.endings, self._scene.check
        if check is not None and endings and (state := endings[-1].state) is not None:
            try:
                check(state, self._context)
            except AssertionError as error:
                found.append(f"check: {str(error) or 'its assertion does not hold'}")
        return found

    def _look_between(self) -> list[str]:
        if (store := self._look()) is None:
            return []
        self._finished = finished_keys(store)
        return list(unmarked(store))

    def _look(self) -> Store | None:
        """The store as it really is; None: no process got so far as to make it."""
        try:
            return self._place.look()
        except NoSuchStore:
            return None

    def _tell(self, ctx: Context) -> None:
        if self._process.dead:
            raise Killed
        newest = self._place.newest(ctx.run_id)
        finished = (ctx.run_id, ctx.idempotency_key) in self._finished
        self.lifetime.calls.append(Call(ctx.run_id, ctx.node, ctx.idempotency_key, newest, finished))

    async def _run(self) -> None:
        """A process that spawns or takes up the run, and waits for its end."""
        process = self._process
        try:
            with self._place.given_to(process) as store:
                async with Runtime(
                    store,
                    graphs=[self._graph],
                    recover="never",
                    linger=0.0,  # whatever waits for a time sleeps, and is killed in that, too
                    lease=_LEASE,
                    restarts=RestartPolicy(backoff=0.0),
                    max_crashes=1_000_000,
                ) as rt:
                    await self._accompany(await self._begin(rt))
        except BaseException as error:
            first = first_of(cast("_Group", error)) if isinstance(error, BaseExceptionGroup) else error
            if process.dead and isinstance(first, Exception | Killed):
                return
            if not isinstance(first, Exception):
                raise
            if process.struck is None or not isinstance(first, StoreError):  # a lost reply may end a process
                self.lifetime.wrong.append(f"a process ended with {first!r}")

    async def _begin(self, rt: Runtime) -> Run[S]:
        scene = self._scene
        try:
            return await rt.spawn(
                self._graph, scene.state, id=RUN_ID, durability=scene.durability, context=self._context
            )
        except RunExists:
            if await rt.get(RUN_ID).status() in ENDED:  # a failed one would be tried again
                return rt.get(RUN_ID)
            return await rt.resume(self._graph, RUN_ID, context=self._context)

    async def _accompany(self, run: Run[S]) -> None:
        """Be told how the run ends, having done meanwhile what is done to it from outside."""
        async with anyio.create_task_group() as tasks:
            if self._scene.outside is not None:
                tasks.start_soon(self._act, self._scene.outside, run)
            if self._scene.answers is not None:
                await self._answer(run, self._scene.answers)
            ending = await _ending(run)
            if not self._process.dead:  # else nobody is there to be told
                self.lifetime.endings.append(ending)
            tasks.cancel_scope.cancel()

    async def _act(self, outside: Callable[[Run[S]], Coroutine[Any, Any, object]], run: Run[S]) -> None:
        with suppress(RunEnded):  # it ended meanwhile, or in the process before
            await outside(run)

    async def _answer(self, run: Run[S], answers: Answers) -> None:
        """Answer whatever is asked, until the run is over."""
        while await run.wait() not in ENDED:
            questions = await run.interrupts()
            for one in questions:
                with suppress(NotWaiting):  # it was answered with the one before, or its time is over
                    value = answers(one) if callable(answers) else answers[one.question]
                    await run.answer(value, to=one.id, context=self._context)
            if not questions:
                await anyio.sleep(_POLL)  # paused from outside


async def _ending(run: Run[S]) -> Ending[S]:
    try:
        return Ending("finished", await run.result())
    except RunFailed as error:
        return Ending("failed", error.state, error.node)
    except RunCancelled:
        return Ending("cancelled")
    except Quarantined:
        return Ending("quarantined")


class _Silence(logging.NullHandler):
    """Stands for one block in which nothing is logged; knows how it was before the first of them."""

    def __init__(self, *, before: bool) -> None:
        super().__init__()
        self.before = before


@contextmanager
def quiet() -> Generator[None]:
    """Within this block actorflow logs nothing: thousands of lines about what was done to its processes on purpose.

    Blocks may overlap: the last one to end lets it speak again.
    """
    logger = logging.getLogger("actorflow")
    others = _silences(logger)
    silence = _Silence(before=others[0].before if others else logger.propagate)
    logger.addHandler(silence)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(silence)
        if not _silences(logger):
            logger.propagate = silence.before


def _silences(logger: logging.Logger) -> list[_Silence]:
    return [handler for handler in logger.handlers if isinstance(handler, _Silence)]
