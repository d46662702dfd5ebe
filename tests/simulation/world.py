"""A world: one bucket in memory, and processes that are killed, stopped and woken at any point of any call."""

from __future__ import annotations

import hashlib
import itertools
from concurrent.futures import Future
from contextvars import ContextVar
from random import Random
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.to_thread
import pytest
import trio

import actorflow.runtime.committer
import actorflow.store.merging
import actorflow.store.object_log
from actorflow import Runtime
from actorflow.engine import turns
from actorflow.engine.records import ENDED
from actorflow.errors import StoreError
from actorflow.runtime import claiming, large, pending
from actorflow.runtime.large import BLOB_MIN
from actorflow.runtime.sleeping import is_asleep, sleeper_of
from actorflow.runtime.waking import POLL
from actorflow.store.heartbeat import HeartbeatIncarnation
from actorflow.store.keys import ACTIVE, ASLEEP, active_key, asleep_key, checkpoint_seq, log_prefix
from actorflow.store.log import RunLog
from actorflow.store.object_log import ObjectOwnership
from actorflow.store.ownership import Ownership
from actorflow.store.store import Store, open_store
from tests.simulation.heard import Heard
from tests.simulation.network import Bucket, LostReply, Network
from tests.simulation.schedule import Killed, simulated
from tests.simulation.told import Told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorflow.graph.graph import Graph
    from actorflow.store.backend import Steps
    from actorflow.store.frames import Draft
    from actorflow.store.log import Tip
    from tests.simulation.network import Call
    from tests.simulation.schedule import Stop

LEASE = 15.0
SCAN = LEASE / 2
"""Virtual seconds between two looks for orphans, on average."""

JUMPS = (0.0, 2 * LEASE, -2 * LEASE)
"""Virtual seconds by which a process's clock may come to be off."""

LANDS_WITHIN = 3 * LEASE
"""Virtual seconds after which no packet is on its way any more."""

TOO_LONG = 600.0
"""Virtual seconds: a world that takes longer than this is stuck."""

Fate = Literal["kill", "kill, lands late", "pause", "lose the reply", "drop", "lands late", "jump"]
_HERE: ContextVar[Process] = ContextVar("process")


class Process:
    """One process: a runtime, its view of the bucket, and whether it runs, stands still or is dead."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.network = Network(self, world.bucket)
        self.scope = trio.CancelScope()
        self.over = trio.Event()
        self.calls = 0
        self.skew = 0.0  # seconds that its clock is off
        self.dead = False
        self.runtime: Runtime | None = None
        self._awake: trio.Event | None = None

    def kill(self) -> None:
        """It does nothing any more, not even what it was about to do."""
        self.world.note(self, "killed")
        self.dead = True
        self.wake()
        self.scope.cancel()

    def pause(self) -> None:
        """It stands still, as if stopped by a signal or a long collection, and does not know."""
        if self._awake is None and not self.dead:
            self.world.note(self, "paused")
            self._awake = trio.Event()

    def wake(self) -> None:
        """It goes on as if nothing had been."""
        if self._awake is not None:
            self.world.note(self, "woken")
            self._awake.set()
            self._awake = None

    @property
    def stands(self) -> bool:
        """Whether it stands still."""
        return self._awake is not None

    async def running(self) -> None:
        """Back when it does not stand still."""
        while self._awake is not None:
            await self._awake.wait()


class World:
    """Everything there is, from one seed.

    Args:
        seed: decides the order of everything, and each delay.
        script: what befalls a call at a point of it ("begin", "effect", "reply").
        page: how many keys a listing reads at one moment.
        delays: the longest that a request or a reply takes, in virtual seconds.
        asleep: how long a paused process stands still.
        pace: the longest that a node takes.
        tidy: snapshots and merges come after every other commit, and not after dozens.
        poll: see `Runtime`.
        blob: bytes from which on a value is kept in a file of its own.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        script: Callable[[Call, str], Fate | None] = lambda call, point: None,
        page: int = 1000,
        delays: float = 0.05,
        asleep: float = 4 * LEASE,
        pace: float = 1.0,
        tidy: bool = False,
        poll: tuple[float, float] = POLL,
        blob: int = BLOB_MIN,
    ) -> None:
        self.seed = seed
        self.chance = Random(seed)
        self.bucket = Bucket()
        self.page = page
        self.pace = pace
        self._tidy = tidy
        self._poll = poll
        self._blob = blob
        self.processes: list[Process] = []
        self.told = Told()
        self.heard = Heard()
        self.receipts = itertools.count(1)
        self.trace: list[str] = []
        self.calls: list[Call] = []
        self._script = script
        self._delays = delays
        self._asleep = asleep
        self._clock: Any = None
        self._nursery: Any = None
        self._in_flight = 0

    @property
    def now(self) -> float:
        """Virtual seconds since the beginning."""
        return self._clock.current_time()

    @property
    def digest(self) -> str:
        """Of all that happened, in order."""
        return hashlib.blake2b("\n".join(self.trace).encode()).hexdigest()

    def newest(self, run_id: str) -> int:
        """The highest number in the bucket."""
        numbers = (checkpoint_seq(key.rpartition("/")[2]) for key in self.bucket.list(log_prefix(run_id)))
        return max((number for number in numbers if number is not None), default=-1)

    def note(self, process: Process, what: str) -> None:
        """Something happened in the world."""
        self.trace.append(f"{self.now:.9f} {process.name} {what}")

    def run(self, scene: Callable[[World], Awaitable[None]]) -> None:
        """Play the scene; what it still has in flight lands before this returns."""
        with simulated(self.seed, self._at, skew=_skew) as self._clock, pytest.MonkeyPatch.context() as patch:
            defaults = HeartbeatIncarnation.__init__.__kwdefaults__
            assert defaults is not None
            patch.setitem(defaults, "clock", self._clock.current_time)
            patch.setattr(actorflow.runtime.committer, "INLINE_UNDER", -1.0)  # a bucket is never so quick
            patch.setattr(turns, "HANDLED_IN_CRASHES", 1_000_000)  # so many kills in a row are no fault of a message
            for module in (claiming, large, pending):
                patch.setattr(module, "BLOB_MIN", self._blob)
            if self._tidy:
                patch.setattr(ObjectOwnership, "snapshot_every", 2)
                patch.setattr(actorflow.store.object_log, "MERGE_AT", 2)
                patch.setattr(actorflow.store.merging, "MERGE_AT", 2)
            self._listen(patch)
            trio.run(self._play, scene, clock=self._clock)

    def start(self, name: str, body: Callable[[Runtime], Awaitable[None]], *graphs: Graph[Any]) -> Process:
        """Start a process that recovers what it finds orphaned, and does ``body``."""
        process = Process(self, name)
        self.processes.append(process)
        self._nursery.start_soon(self._live, process, body, graphs)
        return process

    async def settled(self, *, within: float) -> None:
        """Back when no marker leads to an unfinished run any more, or after so many virtual seconds."""
        ends = self.now + within
        while self.bucket.list(ACTIVE) and self.now < ends:  # noqa: ASYNC110 - waiting costs no time here
            await trio.sleep(SCAN / 4)

    async def quiet(self) -> None:
        """Back when nothing is on its way, and what came late has been cleared up, if it is."""
        while self._in_flight:  # noqa: ASYNC110 - as above
            await trio.sleep(SCAN)
        await self.settled(within=3 * SCAN)

    async def awake(self) -> None:
        """Back when nobody stands still any more, and who did has had a moment to do something."""
        while any(process.stands for process in self.processes):  # noqa: ASYNC110 - as above
            await trio.sleep(SCAN)
        await trio.sleep(SCAN)

    def open(self) -> Store:
        """The store as it really is, for looking at it: no network, no delay."""
        return open_store(self.bucket, readonly=True)

    def send(self, request: Callable[[], bool]) -> Future[bool]:
        """Let a client do this in a thread of its own; what comes of it will be there."""
        sent: Future[bool] = Future()
        self._nursery.start_soon(self._answer, request, sent)
        return sent

    # -- how ---------------------------------------------------------------------------

    async def _play(self, scene: Callable[[World], Awaitable[None]]) -> None:
        with trio.move_on_after(TOO_LONG) as limit:
            async with trio.open_nursery() as self._nursery:
                await scene(self)
        if limit.cancelled_caught:
            self.told.wrong.append("the world does not come to its end")

    async def _live(self, process: Process, body: Callable[[Runtime], Awaitable[None]], graphs: Any) -> None:
        _HERE.set(process)
        try:
            with process.scope:
                async with Runtime(
                    process.network, graphs=graphs, lease=LEASE, drain="park", max_crashes=1000, poll=self._poll
                ) as runtime:
                    process.runtime = runtime
                    await body(runtime)
        except StoreError as error:
            self.note(process, f"could not go on: {type(error).__name__}")
        except BaseException as error:
            if isinstance(error, Exception):
                self.told.wrong += [] if process.dead else [f"{process.name} ended with {error!r}"]
            elif not process.dead:
                raise
        finally:
            process.over.set()

    async def _answer(self, request: Callable[[], bool], sent: Future[bool]) -> None:
        try:
            sent.set_result(await anyio.to_thread.run_sync(request))
        except BaseException as error:  # noqa: BLE001 - raised again where the answer is looked at
            sent.set_exception(error)

    async def _at(self, stop: Stop) -> BaseException | None:
        """A thread has stopped: what befalls it there, and when it may go on."""
        process = _HERE.get()
        fate: BaseException | None = None
        if stop.call is None:
            await trio.sleep(stop.seconds)
        else:
            fate = self._befall(process, stop.call, stop.point)
            await trio.sleep(self.chance.uniform(0, self._delays))
            await process.running()
            if stop.point == "effect" and fate is None:
                fate = self._befall(process, stop.call, "reply")
        await process.running()
        return Killed() if process.dead else fate

    def _befall(self, process: Process, call: Call, point: str) -> BaseException | None:
        self.note(process, f"{call.number} {call.kind} {call.key} {point}")
        if process.dead:
            return None
        if point == "begin":
            self.calls.append(call)
        match self._script(call, point):
            case "kill":
                process.kill()
            case "kill, lands late":
                self._land_later(call)
                process.kill()
            case "pause":
                process.pause()
                self._nursery.start_soon(self._wake_later, process)
            case "jump":
                process.skew = self.chance.choice(JUMPS)
            case "lose the reply" | "drop":
                return LostReply(call.key)
            case "lands late":
                self._land_later(call)
                return LostReply(call.key)
            case None:
                pass
        return None

    def _land_later(self, call: Call) -> None:
        if call.writes:
            self._in_flight += 1
            self._nursery.start_soon(self._land, call)

    async def _land(self, call: Call) -> None:
        await trio.sleep(self.chance.uniform(0, LANDS_WITHIN))
        self._in_flight -= 1
        self.note(call.process, f"{call.number} {call.kind} {call.key} lands late")
        call.effect()

    async def _wake_later(self, process: Process) -> None:
        await trio.sleep(self._asleep)
        process.wake()

    def _listen(self, patch: pytest.MonkeyPatch) -> None:
        """Hear what the store tells its owners: what has come to its end there, the runtime builds on."""
        committing, claiming = Ownership.committing, RunLog.claiming

        def told_commit(owned: Ownership, draft: Draft) -> Steps[None]:
            try:
                yield from committing(owned, draft)
            except Exception:
                self._tell("refused", owned)
                raise
            self._tell("acknowledged", owned)

        def told_claim(
            log: RunLog, draft_for: Callable[[Tip | None], Draft], *, actor: bytes, new: bool = False
        ) -> Steps[Ownership]:
            owned = yield from claiming(log, draft_for, actor=actor, new=new)
            self._tell("acknowledged", owned)
            return owned

        patch.setattr(Ownership, "committing", told_commit)
        patch.setattr(RunLog, "claiming", told_claim)

    def _tell(self, what: str, owned: Ownership) -> None:
        process, header, run_id = _HERE.get(), owned.header, owned.file.run_id
        if process.dead:
            return  # nobody is there to hear it
        if what == "refused":
            self.told.refuse(run_id, header.epoch)
        else:
            newest = self.newest(run_id) == header.seq
            lies = is_asleep(header) and asleep_key(sleeper_of(run_id, header)) in self.bucket.list(ASLEEP)
            marked = lies or active_key(run_id, header.opening) in self.bucket.list(ACTIVE)
            self.told.acknowledge(run_id, header, findable=marked or not newest or header.status in ENDED)


def _skew() -> float:
    process = _HERE.get(None)
    return 0.0 if process is None else process.skew


def here() -> Process:
    """The process whose code this is."""
    return _HERE.get()
