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

from actorflow import Graph, Message, Reply, RestartPolicy, Run, Runtime, State, Update
from actorflow.engine.fold import fold
from actorflow.engine.operations import Put
from actorflow.engine.records import Body, Finished, Formed, Received, TurnOpened, encode_body
from actorflow.engine.spawn import spawn
from actorflow.store.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable


class Account(State, version=1):
    """What is in it."""

    balance: int = 0


class Deposit(Message, version=1):
    """Is added."""

    amount: int
    note: bytes = b""


def account(**options: Any) -> Graph[Account]:
    """An actor that adds, and says what it has."""
    graph = Graph("account", Account, lifetime="actor", **options)

    @graph.on(Deposit)
    async def deposit(state: Account, msg: Deposit) -> Reply:
        balance = state.balance + msg.amount
        return Reply(balance, {"balance": balance})

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


def idle(root: Path, actors: int, seconds: float, backend: str) -> Answer:
    """Memory of so many live actors that wait, and the CPU that they take while they do."""

    async def measure() -> Answer:
        graph = account()
        async with Runtime(root, linger=10_000.0) as rt:
            gc.collect()
            before = resident_bytes()
            for number in range(actors):
                await rt.spawn(graph, Account(), id=f"a{number}")
            await anyio.sleep(2.0)  # from when on they own no task
            gc.collect()
            each = (resident_bytes() - before) / actors
            cpu = time.process_time()
            await anyio.sleep(seconds)
            share = (time.process_time() - cpu) / seconds
        return {"each": each, "share": share}

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
