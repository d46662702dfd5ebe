"""Senders under fire: processes that send messages to one actor, each killed and begun again until all are kept."""

from __future__ import annotations

import faulthandler
import logging
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from msgspec import Struct, field

from actorflow import Graph, Mailbox, Message, Runtime, State, Update, append
from actorflow.engine import turns
from actorflow.errors import RunOwned, StoreError

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

PATIENCE = 60.0  # seconds that a process may take, far more than it needs

# One process imports everything once; those to be killed are forked from it.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.kill.senders"])


class Account(State, version=1):
    """What came, each by its label."""

    balance: int = 0
    labels: Annotated[list[str], append] = []


class Deposit(Message, version=1):
    """An amount that no other message has."""

    amount: int
    label: str


account = Graph("account", Account, lifetime="actor", mailbox=Mailbox(messages=200, ids=20_000))


@account.on(Deposit)
async def deposit(state: Account, msg: Deposit) -> Update:
    """Count it."""
    return {"balance": state.balance + msg.amount, "labels": msg.label}


class Job(Struct, frozen=True):
    """What one process is to do."""

    url: str
    options: dict[str, Any]
    lease: float
    folder: str
    seed: int
    backend: str
    sender: int | None  # its number; None: it is the receiver
    count: int = 0
    takes_over: bool = False  # it has the graph, and may come to own the run
    stays: bool = False  # it sends half, and does not end by itself


def amount_of(sender: int, number: int) -> int:
    """Different for each message."""
    return sender * 1_000_000 + number + 1


def work(job: Job) -> None:
    """The life of a process. Made by fork, so that the random state is renewed."""
    errors = os.open(f"{job.folder}/errors", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(errors, sys.stderr.fileno())
    faulthandler.enable(errors)
    logging.disable(logging.WARNING)  # that others own the run, and take it
    random.seed(job.seed)
    turns.HANDLED_IN_CRASHES = 1_000_000  # so many kills in a row are no fault of a message
    anyio.run(_receive if job.sender is None else _send_all, job, backend=job.backend)


def runtime(job: Job, **options: Any) -> Runtime:
    """A runtime on the store of the siege."""
    return Runtime(job.url, storage_options=job.options or None, lease=job.lease, **options)


async def _receive(job: Job) -> None:
    async with runtime(job, graphs=[account], recover="always", scan_every=0.1):
        await anyio.sleep_forever()


async def _send_all(job: Job) -> None:
    done = kept_by(job.folder, job.sender)
    numbers = random.sample(range(job.count), job.count)  # in another order each time
    graphs = [account] if job.takes_over else []
    limiter = anyio.CapacityLimiter(4)
    if job.stays:
        numbers = numbers[: job.count // 2]
    log = os.open(f"{job.folder}/{job.sender}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with (
        runtime(job, graphs=graphs, recover="never", drain="park") as rt,
        anyio.create_task_group() as tasks,
    ):
        for number in numbers:
            if number not in done or random.random() < 0.05:
                tasks.start_soon(_send, rt, job, number, limiter, log)
        if job.stays:
            await anyio.sleep_forever()


async def _send(rt: Runtime, job: Job, number: int, limiter: anyio.CapacityLimiter, log: int) -> None:
    assert job.sender is not None
    label = f"{job.sender}-{number}"
    message = Deposit(amount=amount_of(job.sender, number), label=label)
    async with limiter:
        for _ in range(random.choice((1, 1, 1, 2))):
            try:
                await rt.get("account").send(message, id=label)
            except (StoreError, RunOwned):  # whether it is kept is not known: the next process sends it again
                return
            os.write(log, b"%d\n" % number)
            await anyio.sleep(random.uniform(0, 0.01))


def kept_by(folder: str, sender: int | None) -> set[int]:
    """The numbers of which a sender was told that they are kept."""
    path = Path(folder) / str(sender)
    return {int(line) for line in path.read_text().splitlines()} if path.exists() else set()


_STAYS = 0
"""The sender that waits for the first kill of one: all might be done before, and how quick they are must not decide."""


class Fire(Struct):
    """Some senders and a receiver, killed at random. The seed decides everything but timing."""

    job: Job
    senders: int
    most_kills: int
    longest: float = 0.4  # seconds until the next kill
    kills: dict[str, int] = field(default_factory=lambda: {"sender": 0, "receiver": 0})

    def rage(self, *, enough: float) -> None:
        """Kill and begin again until every sender knows that all it sent is kept; fail after so many seconds."""
        choice, began = random.Random(self.job.seed), time.monotonic()
        running: dict[int | None, ForkServerProcess] = {}
        turn = 0
        try:
            while waiting := [one for one in range(self.senders) if not self._is_done(one)]:
                assert time.monotonic() - began < enough, f"{len(waiting)} senders are not done\n{self.errors()}"
                for who in (None, *waiting):
                    if who not in running or not running[who].is_alive():
                        running[who] = self._start(who, choice)
                turn += 1  # by turns, so that on a machine on which all is done soon both are killed, too
                victim = None if turn % 2 else choice.choice(waiting)
                running[victim].join(choice.uniform(0.02, self.longest))
                spared = sum(self.kills.values()) >= self.most_kills and victim != _STAYS
                if not spared and running[victim].is_alive():
                    running[victim].kill()
                    running[victim].join(PATIENCE)
                    self.kills["receiver" if victim is None else "sender"] += 1
                self._check(running)
        finally:
            for process in running.values():
                process.kill()
                process.join(PATIENCE)

    def _is_done(self, sender: int) -> bool:
        return len(kept_by(self.job.folder, sender)) == self.job.count

    def _start(self, who: int | None, choice: random.Random) -> ForkServerProcess:
        from msgspec.structs import replace

        seed, backend = choice.getrandbits(32), choice.choice(("asyncio", "trio"))
        job = replace(
            self.job,
            sender=who,
            seed=seed,
            backend=backend,
            takes_over=who is not None and who % 2 == 0,
            stays=who == _STAYS and not self.kills["sender"],
        )
        process = _processes.Process(target=work, args=(job,), daemon=True)
        process.start()
        return process

    def _check(self, running: dict[int | None, ForkServerProcess]) -> None:
        for who, process in running.items():
            assert process.exitcode in (None, 0, -signal.SIGKILL), f"{who} ended, {process.exitcode}\n{self.errors()}"

    def errors(self) -> str:
        """What the processes complained of."""
        path = Path(self.job.folder) / "errors"
        return path.read_text()[-3000:] if path.exists() else ""


async def begin(job: Job) -> None:
    """Make the account, and let go of it."""
    async with runtime(job, drain="park") as rt:
        await rt.spawn(account, id="account")


async def outcome(job: Job) -> Account:
    """The account when nothing more is to come."""
    async with runtime(job, graphs=[account], recover="always", scan_every=0.1, drain="park") as rt:
        run = rt.get("account")
        with anyio.fail_after(PATIENCE):
            while await run.mailbox():  # noqa: ASYNC110 - nobody tells when the last file goes
                await anyio.sleep(0.02)
        assert [(one.reason, one.error) for one in await run.dead_letters()] == []
        state: Account = await run.state()
        return state


def problems(state: Account, senders: int, count: int) -> list[str]:
    """What is missing, what is there twice, and whether the sum is wrong."""
    expected = {f"{sender}-{number}" for sender in range(senders) for number in range(count)}
    total = sum(amount_of(sender, number) for sender in range(senders) for number in range(count))
    found = [f"{label} is missing" for label in sorted(expected - set(state.labels))]
    found += [f"{label} counted twice" for label, times in sorted(Counter(state.labels).items()) if times > 1]
    if state.balance != total:
        found.append(f"the sum is {state.balance}, not {total}")
    return found
