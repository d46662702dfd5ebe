"""Statistics of what lives here: per run, per supervisor, and of all."""

# ruff: noqa: SIM117 - a runtime and its supervisors are left one after the other, and should look so

from __future__ import annotations

import anyio
import anyio.lowlevel

from actorflow import Context, Graph, RestartPolicy, Runtime, Update
from actorflow.testing import VirtualClock
from tests.runtime.graphs import Trail, chain
from tests.runtime.mailing import Deposit, Gate, Hold, banking


def crashing(times: int, entered: list[str], gate: anyio.Event) -> Graph[Trail]:
    """A node that crashes so many times in each run, and then waits."""
    graph = Graph("crashing", Trail)

    @graph.node
    async def work(state: Trail, ctx: Context) -> Update:
        entered.append(ctx.run_id)
        if entered.count(ctx.run_id) <= times:
            raise ConnectionError(ctx.run_id)
        await gate.wait()
        return {"n": 1}

    return graph


async def test_stats_of_a_run_tell_its_restarts_and_its_last_commit(store_url: str) -> None:
    """While it lives, and of its last life after it; the numbers are those of the store."""
    entered, gate = list[str](), anyio.Event()
    async with Runtime(store_url, recover="never", restarts=RestartPolicy(backoff=0.0)) as rt:
        run = await rt.spawn(crashing(2, entered, gate), Trail(), id="x")
        while len(entered) < 3:
            await anyio.lowlevel.checkpoint()

        stats = run.stats()

        assert stats is not None
        tip = (await rt.tip("x")).header
        assert (stats.run_id, stats.activity, stats.restarts) == ("x", "live", 2)
        assert (stats.seq, stats.committed) == (tip.seq, tip.time)
        assert (stats.mailbox, stats.oldest) == (0, None)
        gate.set()
        await run.result()
        over = run.stats()
        assert over is not None
        assert (over.activity, over.restarts) == ("over", 2)
        assert rt.get("x").stats() is None
        assert rt.get("nobody").stats() is None


async def test_stats_of_a_supervisor_are_those_of_its_children_and_the_roots_of_all(store_url: str) -> None:
    """Restarts, who waits for one, and when somebody committed last."""
    entered, gate = list[str](), anyio.Event()
    graph = crashing(1, entered, gate)
    async with VirtualClock(auto=False) as clock, Runtime(store_url, recover="never") as rt:
        async with rt.supervise("outer", backoff=100.0, max_backoff=100.0) as outer, outer.supervise("inner") as inner:
            await outer.spawn(graph, Trail(), id="a")
            await inner.spawn(chain("one"), Trail(), id="b")
            while outer.stats().restarting != 1 or inner.stats().runs != 0:
                await anyio.lowlevel.checkpoint()

            assert (outer.stats().path, outer.stats().runs, outer.stats().restarts) == ("outer", 1, 1)
            assert (inner.stats().runs, inner.stats().restarts, inner.stats().committed) == (0, 0, None)
            everything = rt.stats()
            assert (everything.path, everything.runs, everything.restarting, everything.restarts) == ("", 1, 1, 0)
            await clock.advance(100.0)
            gate.set()
        assert rt.stats().restarts == 1
        assert rt.stats().runs == 0


async def test_stats_tell_how_many_messages_wait_and_for_how_long(store_url: str) -> None:
    """While a handler holds the actor up: of the run, of its supervisor, and of all."""
    gate = Gate()
    async with VirtualClock(auto=False) as clock, Runtime(store_url, recover="never") as rt:
        async with rt.supervise("group") as group:
            account = await group.spawn(banking(), id="account", context=gate)
            await account.send(Hold())
            await gate.inside.wait()
            for amount in (1, 2):
                await account.send(Deposit(amount=amount))
                await clock.advance(30.0)

            for stats in (account.stats(), group.stats(), rt.stats()):
                assert stats is not None
                assert (stats.mailbox, stats.oldest) == (2, 60.0)
            gate.open.set()
            assert await account.ask(Deposit(amount=3), type=int) == 6
            assert (group.stats().mailbox, group.stats().oldest) == (0, None)
            await account.cancel()


async def test_stats_of_a_group_tell_its_longest_wait_and_its_newest_commit(store_url: str) -> None:
    """Of two that are held up, one for twice as long as the other. Planted: the shortest, and the oldest."""
    gates = {name: Gate() for name in ("early", "late")}
    async with VirtualClock(auto=False) as clock, Runtime(store_url, recover="never") as rt:
        async with rt.supervise("group") as group:
            for name, gate in gates.items():
                account = await group.spawn(banking(), id=name, context=gate)
                await account.send(Hold())
                await gate.inside.wait()
                await account.send(Deposit(amount=1))
                await clock.advance(30.0)

            early, late = rt.get("early").stats(), rt.get("late").stats()
            assert early is not None
            assert late is not None
            assert early.committed < late.committed
            for stats in (group.stats(), rt.stats()):
                assert (stats.mailbox, stats.oldest, stats.committed) == (2, 60.0, late.committed)
            for name, gate in gates.items():
                gate.open.set()
                await rt.get(name).cancel()
