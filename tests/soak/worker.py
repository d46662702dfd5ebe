"""A process under fire: carries runs on, or lets go of what retention allows, until it is told to leave.

It watches the seam where the store acknowledges, and tells the side log what
it tries there and what comes of it. SIGTERM asks it to leave in order, SIGUSR1
sets its clock.
"""

from __future__ import annotations

import faulthandler
import importlib
import itertools
import logging
import os
import random
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import anyio
import msgspec

from actorflow import Retention, Runtime
from actorflow.engine import turns
from actorflow.errors import (
    ActorflowError,
    Blocked,
    CommitUnknown,
    CorruptCheckpoint,
    Fenced,
    NoSuchRun,
    RunDeleted,
    RunEnded,
    RunOwned,
    SchemaTooNew,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from actorflow.store import crashpoints
from actorflow.store.deletion import DELETED
from actorflow.store.log import RunLog
from actorflow.store.ownership import Ownership
from tests.soak.bugs import BUGS
from tests.soak.graphs import durability_of, graphs, new_id, problem_of_result, shape_of
from tests.soak.ledger import LEDGER, LEDGERS, Close, Entry
from tests.soak.told import SideLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from actorflow.store.backend import Steps
    from actorflow.store.frames import Draft
    from actorflow.store.log import Tip
    from tests.soak.told import What

Role = Literal["carry", "collect", "finish"]

HOUR, YEAR = 3600.0, 365 * 86_400.0
JUMPS = (0.0, HOUR, -HOUR, 10 * YEAR, -10 * YEAR)  # seconds
LEASE = 2.0  # seconds
PATIENCE = 20.0  # seconds that who asks waits for a reply before it asks again
SPARED = {"spared": "yes"}
"""The tags of runs whose history retention leaves whole, for the oracle to read from its first commit."""


@dataclass(frozen=True, slots=True)
class Job:
    """What one process is to do, and where it is to die if at a named point."""

    url: str
    storage_options: dict[str, Any] | None
    log: Path
    errors: Path
    until: float  # on the monotonic clock; a process that nobody stops ends by itself then
    at_once: int  # runs that it begins
    who: int = 0
    role: Role = "carry"
    seed: int = 0
    backend: str = "asyncio"
    version: int = 1
    clock: float = 0.0  # seconds that its clock is off
    crash: str = ""  # name:n
    bug: str = ""
    again: float = 0.0  # of its messages it sends twice
    ids: tuple[str, ...] = field(default=(), repr=False)  # of the runs to finish


def work(job: Job) -> None:
    """The process's life. Made by fork, so what hangs on import and on the random state is renewed."""
    errors = os.open(job.errors, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(errors, sys.stderr.fileno())
    faulthandler.enable(errors)
    random.seed(job.seed)
    os.environ[crashpoints.VARIABLE] = job.crash
    importlib.reload(crashpoints)
    turns.HANDLED_IN_CRASHES = 1_000_000  # so many kills in a row are no fault of a message
    clock = Clock(job.clock)
    log = SideLog(job.log, who=job.who)
    if job.bug:
        BUGS[job.bug]()
    watch_the_store(job, log)
    logging.getLogger("actorflow").addHandler(Listener(log))
    anyio.run(_live, job, log, clock, backend=job.backend)


class Clock:
    """The wall clock of this process, off by so many seconds."""

    def __init__(self, offset: float) -> None:
        self.offset = offset
        real = time.time
        time.time = lambda: real() + self.offset


class Listener(logging.Handler):
    """Tells what the runtime met, which nobody waits for to be raised."""

    def __init__(self, log: SideLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One warning: the run is its first argument, if there is one; the error another, or the one that is traced."""
        given = record.args if isinstance(record.args, tuple) else ()
        errors = [one for one in (*given, *(record.exc_info or ())) if isinstance(one, Exception)]
        run = next((one for one in given if isinstance(one, str)), "")
        for error in errors[:1]:
            _tell(self._log, run, error)


def _tell(log: SideLog, run: str, error: Exception) -> None:
    if isinstance(error, RunOwned | RunDeleted):
        return  # somebody else was faster
    kinds: tuple[tuple[type[Exception], What], ...] = (
        (CorruptCheckpoint, "corrupt"),
        (Blocked, "blocked"),
        (SchemaTooNew, "blocked"),  # newer code has brought it to its end, and this one can't read the result
        (Fenced, "fenced"),
        (CommitUnknown, "outage"),
        (StoreUnavailable, "outage"),
        (StoreDenied, "outage"),
    )
    what: What = next((what for kind, what in kinds if isinstance(error, kind)), "error")
    log.tell(what, run, text=repr(error))
    if what == "error":
        logging.getLogger("soak").error("run %r", run, exc_info=error)


async def _live(job: Job, log: SideLog, clock: Clock) -> None:
    parent = os.getppid()
    async with anyio.create_task_group() as tasks:

        async def obey() -> None:
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGUSR1) as signals:
                async for number in signals:
                    if number == signal.SIGTERM:
                        tasks.cancel_scope.cancel()
                    else:
                        clock.offset = random.choice(JUMPS)

        async def end_with_others() -> None:
            while os.getppid() == parent and time.monotonic() < job.until:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)

        tasks.start_soon(obey)
        tasks.start_soon(end_with_others)
        while not await _open_and_work(job, log):  # noqa: ASYNC110 - it is tried again, not waited for
            await anyio.sleep(random.uniform(0, 0.5))
        tasks.cancel_scope.cancel()


async def _open_and_work(job: Job, log: SideLog) -> bool:
    """One life of a Runtime; whether all is done. A store that can't be reached is opened again."""
    made = graphs(job.version, log)
    runtime = Runtime(
        job.url,
        storage_options=job.storage_options,
        lease=LEASE,
        graphs=() if job.role == "collect" else made.values(),
        recover="never" if job.role == "collect" else "always",
        drain="park",
        scan_every=0.5,
        max_crashes=1_000_000,
    )
    try:
        async with runtime, anyio.create_task_group() as tasks:
            if job.role == "collect":
                tasks.start_soon(_collect, runtime, log)
            elif job.role == "finish":
                await _finish_all(runtime, made, job.ids, log)
            else:
                await _begin_ledgers(runtime, made, log)
                numbers = itertools.count()
                for _ in range(job.at_once):
                    tasks.start_soon(_carry, runtime, made, job, numbers, log)
                    tasks.start_soon(_send, runtime, job, numbers, log)
    except StoreError as error:
        _tell(log, "", error)
        return False
    return True


async def _carry(runtime: Runtime, made: dict[str, Any], job: Job, numbers: itertools.count[int], log: SideLog) -> None:
    """One run after the other."""
    while True:
        run_id = new_id(job.who, next(numbers))
        tags = SPARED if random.random() < 0.5 else {}
        try:
            run = await runtime.spawn(made[shape_of(run_id)], id=run_id, durability=durability_of(run_id), tags=tags)
            result = await run.result()
        except Exception as error:  # noqa: BLE001 - whatever it is, the oracle wants to know
            _tell(log, run_id, error)
        else:
            log.tell("result", run_id)
            if (problem := problem_of_result(run_id, msgspec.structs.asdict(result))) is not None:
                log.tell("error", run_id, text=f"its result is wrong: {problem}")
        await anyio.sleep(random.uniform(0, 0.5))


async def _begin_ledgers(runtime: Runtime, made: dict[str, Any], log: SideLog) -> None:
    """All of them, before any courier sets out: a message to nobody is a dead letter."""
    for target in LEDGERS:
        while True:
            try:
                await runtime.get(target).status()
            except NoSuchRun:
                with suppress(ActorflowError):  # somebody else is faster, or the next look says what is wrong
                    await runtime.spawn(made[LEDGER], id=target)
            except Exception as error:  # noqa: BLE001 - whatever it is, the oracle wants to know
                _tell(log, target, error)
                await anyio.sleep(random.uniform(0, 1))
            else:
                break


async def _send(runtime: Runtime, job: Job, numbers: itertools.count[int], log: SideLog) -> None:
    """One message after the other, each under its id until it is known to be kept, and now and then once more."""
    while True:
        target, label, asks = random.choice(LEDGERS), f"{job.who}-{next(numbers)}", random.random() < 0.3
        for _ in range(1 + (random.random() < job.again)):
            log.tell("sent", target, text=label)
            place = None
            while place is None:
                await anyio.sleep(random.uniform(0, 1))
                place = await _kept(runtime, target, label, asks=asks, log=log)
            log.tell("kept", target, text=label, seq=place)


async def _kept(runtime: Runtime, target: str, label: str, *, asks: bool, log: SideLog) -> int | None:
    """Which entry it became, or 0 for who does not ask; None: it is not known to be kept."""
    try:
        run = runtime.get(target)
        if not asks:
            await run.send(Entry(label=label), id=label)
            return 0
        return await run.ask(Entry(label=label), id=label, type=int, timeout=PATIENCE)
    except TimeoutError:
        return None
    except Exception as error:  # noqa: BLE001 - whatever it is, the oracle wants to know
        _tell(log, target, error)
        return None


async def _collect(runtime: Runtime, log: SideLog) -> None:
    """Let go of whatever may be let go of, again and again."""
    while True:
        policy = Retention(last=1, tagged=SPARED)
        if random.random() < 0.2:  # now and then ended runs as a whole; rarely those that were spared, too
            policy = Retention(last=1, ended=90.0, tagged=SPARED if random.random() < 0.9 else {})
        try:
            await runtime.gc(policy)
        except StoreError as error:
            _tell(log, "", error)
        await anyio.sleep(random.uniform(0, 2))


async def _finish_all(runtime: Runtime, made: dict[str, Any], ids: tuple[str, ...], log: SideLog) -> None:
    """First those that send, and when nothing waits any more, the ledgers."""
    ledgers = [run_id for run_id in ids if shape_of(run_id) == LEDGER]
    for several in ([run_id for run_id in ids if run_id not in ledgers], ledgers):
        async with anyio.create_task_group() as tasks:
            for run_id in several:
                tasks.start_soon(_finish, runtime, made, run_id, log)


async def _close(runtime: Runtime, run_id: str) -> None:
    """A ledger that has come to all that it was sent."""
    run = runtime.get(run_id)
    while await run.mailbox():  # noqa: ASYNC110 - nobody tells when the last file goes
        await anyio.sleep(0.1)
    with suppress(RunEnded):
        await run.send(Close(), id="close")


async def _finish(runtime: Runtime, made: dict[str, Any], run_id: str, log: SideLog) -> None:
    """Go on with a run until it is over, however often it can't be had yet."""
    while True:
        try:
            run = await runtime.resume(made[shape_of(run_id)], run_id)
            if shape_of(run_id) == LEDGER:
                await _close(runtime, run_id)
            await run.result()
        except (NoSuchRun, RunDeleted):
            return
        except RunOwned:
            await anyio.sleep(0.2)
        except ActorflowError as error:
            _tell(log, run_id, error)
            await anyio.sleep(0.2)
        else:
            log.tell("result", run_id)
            return


def watch_the_store(job: Job, log: SideLog) -> None:
    """Tell what is tried, and what has come to its end, where the runtime hears of it."""
    committing, claiming = Ownership.committing, RunLog.claiming

    def told_commit(self: Ownership, draft: Draft) -> Steps[None]:
        facts = {"epoch": draft.epoch, "kind": draft.kind, "status": draft.status, "version": draft.file.version}
        log.tell("tried", self.file.run_id, seq=self.header.seq + 1, **facts)
        yield from committing(self, draft)
        log.tell("acknowledged", self.file.run_id, seq=self.header.seq, nonce=self.header.nonce.hex(), **facts)

    def told_claim(
        self: RunLog, draft_for: Callable[[Tip | None], Draft], *, actor: bytes, new: bool = False
    ) -> Steps[Ownership]:
        def told_draft(tip: Tip | None) -> Draft:
            draft = draft_for(tip)
            seq = 0 if tip is None else tip.header.seq + 1
            log.tell("tried", self.run_id, seq=seq, epoch=draft.epoch, kind="claim", status=draft.status)
            needs_code = job.role == "carry" and draft.status != DELETED  # finishing a deletion needs none
            if needs_code and tip is not None and tip.file.version != job.version == 1:
                log.tell(
                    "trespass", self.run_id, seq=seq, text=f"version 1 claims what is of version {tip.file.version}"
                )
            return draft

        ownership = yield from claiming(self, told_draft, actor=actor, new=new)
        header, file = ownership.header, ownership.file
        facts = {"epoch": header.epoch, "kind": "claim", "status": header.status, "version": file.version}
        log.tell("acknowledged", self.run_id, seq=header.seq, nonce=header.nonce.hex(), **facts)
        return ownership

    Ownership.committing, RunLog.claiming = told_commit, told_claim  # type: ignore[method-assign]
