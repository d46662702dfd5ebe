"""Messages: what sending and asking takes, beside a bare loop that folds and appends the same batches."""

from __future__ import annotations

import gc
import os
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from measure import Answer, answer, clocked

from actorflow import Context, Graph, Message, Reply, RestartPolicy, Run, Runtime, State, Update
from actorflow.engine.fold import fold
from actorflow.engine.operations import Put
from actorflow.engine.records import Body, Finished, Formed, Received, TurnOpened, encode_body
from actorflow.engine.spawn import spawn
from actorflow.store.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable


TOGETHER = 50
"""So many actors are begun, and sent to, at once where there are thousands."""


class Account(State, version=1):
    """What is in it."""

    balance: int = 0


class Deposit(Message, version=1):
    """Is added."""

    amount: int
    note: bytes = b""


class Wind(Message, version=1):
    """Sets the alarm."""

    at: float


class Alarm(Message, version=1):
    """Goes off."""


def account(**options: Any) -> Graph[Account]:
    """An actor that adds, and says what it has."""
    graph = Graph("account", Account, lifetime="actor", **options)

    @graph.on(Deposit)
    async def deposit(state: Account, msg: Deposit) -> Reply:
        balance = state.balance + msg.amount
        return Reply(balance, {"balance": balance})

    return graph


def clock() -> Graph[Account]:
    """An actor that sets a timer when it is told to, and counts how often one goes off."""
    graph = Graph("clock", Account, lifetime="actor")

    @graph.on(Wind)
    async def wind(state: Account, msg: Wind, ctx: Context) -> None:
        ctx.set_timer("alarm", Alarm(), at=msg.at)

    @graph.on(Alarm)
    async def alarm(state: Account, msg: Alarm) -> Update:
        return {"balance": state.balance + 1}

    return graph


def send(root: Path, messages: int, senders: int, backend: str) -> Answer:
    """Durable sends to one actor in this process by so many tasks; until all are handled."""

    async def measure() -> Answer:
        async with Runtime(root) as rt:
            run = await rt.spawn(account(), Account(), id="x")

            async def sender() -> None:
                for _ in range(messages // senders):
                    await run.send(Deposit(amount=1))

            before = await newest(run)
            with clocked() as span:
                async with anyio.create_task_group() as tasks:
                    for _ in range(senders):
                        tasks.start_soon(sender)
                assert await run.ask(Deposit(amount=0), type=int) == messages // senders * senders
            commits = await newest(run) - before
            await run.cancel()
        return {"wall": span.wall, "cpu": span.cpu, "commits": commits}

    return anyio.run(measure, backend=backend)


async def newest(run: Run[Any]) -> int:
    """The number of its newest commit."""
    async for point in run.history(limit=1):
        return point.seq
    raise AssertionError


def bare(root: Path, messages: int, commits: int) -> Answer:
    """The same records in as many batches: folded, encoded, appended, synced; nothing else."""
    run = spawn(account().plan, Account(), run_id="x").run
    run = fold(run, Formed("Deposit", 1, (("amount", "int", False), ("note", "bytes", True))))
    fd = os.open(root / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    balance = 0
    with clocked() as span:
        for number in range(commits):
            records: list[Any] = []
            for _ in range(messages * (number + 1) // commits - messages * number // commits):
                balance += 1
                message = os.urandom(16)
                values = {"amount": 1, "note": b""}
                records.append(Received(message, 1e9, "Deposit", values, size=20))
                run = fold(run, records[-1])
                records.append(TurnOpened(message, "deposit", message))
                run = fold(run, records[-1])
                assert run.turn is not None
                records.append(Finished(run.turn, (Put("balance", balance),)))
                run = fold(run, records[-1])
            os.write(fd, encode_body(Body(tuple(records))))
            os.fdatasync(fd)
    os.close(fd)
    return {"wall": span.wall, "cpu": span.cpu}


def ask(root: Path, asks: int, backend: str) -> Answer:
    """Asks, one after the other."""

    async def measure() -> Answer:
        async with Runtime(root) as rt:
            run = await rt.spawn(account(), Account(), id="x")
            await run.ask(Deposit(amount=0))
            with clocked() as span:
                for _ in range(asks):
                    await run.ask(Deposit(amount=1))
            await run.cancel()
        return {"wall": span.wall, "cpu": span.cpu}

    return anyio.run(measure, backend=backend)


def restart(root: Path, backend: str) -> Answer:
    """A node crashes, and runs again: from its exception to its next call, without a pause between."""

    async def measure() -> Answer:
        graph = Graph("crashing", Account)
        calls: list[float] = []

        @graph.node
        async def node(state: Account) -> Update:
            calls.append(time.perf_counter())
            if len(calls) < 22:
                raise RuntimeError("again")
            return {"balance": 1}

        async with Runtime(root, restarts=RestartPolicy(max_restarts=100, backoff=0.0)) as rt:
            await rt.run(graph, Account(), id="x")
        spans = sorted(after - before for before, after in pairwise(calls))
        return {"wall": spans[len(spans) // 2], "cpu": 0.0}

    return anyio.run(measure, backend=backend)


def idle(root: Path, actors: int, seconds: float, spread: float, backend: str) -> Answer:
    """Memory and CPU of so many live actors that wait: without timers, and with one each.

    They are an hour ahead first, and then within ``spread`` seconds, so that one after the other goes off.
    """

    async def measure() -> Answer:
        graph = clock()
        async with Runtime(root, linger=10_000.0) as rt:
            gc.collect()
            before = resident_bytes()
            async with anyio.create_task_group() as tasks:
                for first in range(TOGETHER):
                    tasks.start_soon(begin, rt, graph, range(first, actors, TOGETHER))
            each, share = await at_rest(before)
            await wind(rt, [time.time() + 3600.0] * actors)
            wound, waiting = await at_rest(before)
            began = time.time() + 30.0  # setting them takes that long
            await wind(rt, [began + spread * number / actors for number in range(actors)])
            await anyio.sleep(max(0.0, began - time.time()))
            cpu = time.process_time()
            await anyio.sleep(seconds)
            firing = (time.process_time() - cpu) / seconds
        return {"each": each, "share": share, "wound": wound, "waiting": waiting, "firing": firing}

    async def begin(rt: Runtime, graph: Graph[Account], numbers: range) -> None:
        for number in numbers:
            await rt.spawn(graph, id=f"a{number}")

    async def wind(rt: Runtime, times: list[float]) -> None:
        async def some(first: int) -> None:
            for number in range(first, actors, TOGETHER):
                await rt.get(f"a{number}").send(Wind(at=times[number]))

        async with anyio.create_task_group() as tasks:
            for first in range(TOGETHER):
                tasks.start_soon(some, first)

    async def at_rest(before: int) -> tuple[float, float]:
        """Bytes for each, and the share of a core, once they own no task."""
        await anyio.sleep(2.0)
        gc.collect()
        each = (resident_bytes() - before) / actors
        cpu = time.process_time()
        await anyio.sleep(seconds)
        return each, (time.process_time() - cpu) / seconds

    return anyio.run(measure, backend=backend)


class Slow(MemoryBackend):
    """A store that takes its time for each write."""

    seconds = 0.0

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Write late."""
        time.sleep(self.seconds)
        return super().put_new(key, data, durable=durable)


def flood(root: Path, messages: int, size: int, backend: str) -> Answer:
    """Five producers send as fast as they may while the store takes two seconds a write; the memory that takes."""

    async def measure() -> Answer:
        store = Slow()
        highest = resident_bytes()
        done = threading.Event()

        def look() -> None:
            nonlocal highest
            while not done.wait(0.01):
                highest = max(highest, resident_bytes())

        async with Runtime(store) as rt:
            run = await rt.spawn(account(), Account(), id="x")
            await run.send(Deposit(amount=0))
            gc.collect()
            before = resident_bytes()
            watcher = threading.Thread(target=look)
            watcher.start()
            Slow.seconds = 2.0

            async def producer() -> None:
                for _ in range(messages):
                    await run.send(Deposit(amount=1, note=os.urandom(size)))

            with anyio.move_on_after(20):
                async with anyio.create_task_group() as tasks:
                    for _ in range(5):
                        tasks.start_soon(producer)
            Slow.seconds = 0.0
            done.set()
            watcher.join()
            await run.cancel()
        return {"grew": highest - before}

    return anyio.run(measure, backend=backend)


def resident_bytes() -> int:
    """What this process keeps in memory now."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    workloads: dict[str, Callable[..., Answer]] = {
        "send": send,
        "bare": bare,
        "ask": ask,
        "restart": restart,
        "idle": idle,
        "flood": flood,
    }
    answer(workloads)
