"""A process under fire: carries every run as far as it lives, and tells the side log what it was promised."""

from __future__ import annotations

import faulthandler
import importlib
import os
import random
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from actorflow import Runtime
from actorflow.errors import RunExists, RunOwned
from actorflow.store import crashpoints
from actorflow.store.log import RunLog
from actorflow.store.ownership import Ownership
from tests.kill.bugs import BUGS
from tests.kill.graphs import graphs, run_ids
from tests.kill.sidelog import SideLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from actorflow.store.backend import Steps
    from actorflow.store.frames import Draft
    from actorflow.store.log import Tip
    from tests.kill.graphs import Durability


@dataclass(frozen=True, slots=True)
class Job:
    """What one process is to do, and where it is to die if at a named point."""

    store: Path
    log: Path
    errors: Path
    seed: int
    backend: str
    version: int
    crash: str = ""  # name:n
    bug: str = ""


def work(job: Job) -> None:
    """The process's life. Made by fork, so what hangs on import and on the random state is renewed."""
    errors = os.open(job.errors, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(errors, sys.stderr.fileno())
    faulthandler.enable(errors)
    random.seed(job.seed)
    os.environ[crashpoints.VARIABLE] = job.crash
    importlib.reload(crashpoints)
    log = SideLog(job.log)
    if job.bug:
        BUGS[job.bug]()
    _tell_acknowledgements(log)
    anyio.run(_carry_all, job, log, backend=job.backend)


async def _carry_all(job: Job, log: SideLog) -> None:
    made = graphs(job.version, log)
    ids = random.sample(run_ids(), len(run_ids()))
    async with (
        Runtime(job.store, graphs=made.values(), scan_every=0.02, max_crashes=1_000_000) as runtime,
        anyio.create_task_group() as tasks,
    ):
        for run_id in ids:
            tasks.start_soon(_carry, runtime, made, run_id, job, log)


async def _carry(runtime: Runtime, made: dict, run_id: str, job: Job, log: SideLog) -> None:
    shape, _, kept = run_id.partition("-")
    durability: Durability = "async" if job.bug == "successor before its commit" else kept
    try:
        try:
            run = await runtime.spawn(made[shape], id=run_id, durability=durability)
        except RunExists:  # not attached to: whether another process has it is what is to be known
            run = await runtime.resume(made[shape], run_id)
        await run.result()
    except RunOwned:
        log.tell("owned", run_id)
    except Exception as error:  # noqa: BLE001 - whatever it is, the oracle wants to know
        log.tell("error", run_id, text=repr(error))
    else:
        log.tell("result", run_id)


def _tell_acknowledgements(log: SideLog) -> None:
    """Watch the seam where the store acknowledges: what has come to its end there, the runtime builds on."""
    committing, claiming = Ownership.committing, RunLog.claiming

    def told_commit(self: Ownership, draft: Draft) -> Steps[None]:
        yield from committing(self, draft)
        header = self.header
        log.tell("acknowledged", self.file.run_id, seq=header.seq, nonce=header.nonce.hex())

    def told_claim(
        self: RunLog, draft_for: Callable[[Tip | None], Draft], *, actor: bytes, new: bool = False
    ) -> Steps[Ownership]:
        ownership = yield from claiming(self, draft_for, actor=actor, new=new)
        header = ownership.header
        log.tell("acknowledged", self.run_id, seq=header.seq, nonce=header.nonce.hex())
        return ownership

    Ownership.committing, RunLog.claiming = told_commit, told_claim  # type: ignore[method-assign]
