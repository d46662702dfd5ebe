"""Traps that others fell into while runs run: two writers that both succeed, and a recovery that looks only once."""

from __future__ import annotations

import anyio

from actorflow import END, Graph, Runtime, State, Update
from actorflow.store.memory import MemoryBackend
from tests.runtime.links import Link

LEASE = 0.3


class Count(State):
    """How far it counted, and who did."""

    n: int = 0
    by: tuple[str, ...] = ()


def counting(name: str, gate: anyio.Event, *, until: int) -> Graph[Count]:
    """Counts; what ``name`` counts says so. The second time it waits for the gate."""
    graph = Graph("count", Count)

    @graph.node(entry=True)
    async def count(state: Count) -> Update:
        if state.n == 1:
            await gate.wait()
        return {"n": state.n + 1, "by": (*state.by, name)}

    @graph.branch(after=count, to=(count, END))
    def again(state: Count) -> object:
        return "count" if state.n < until else END

    return graph


async def test_of_two_writers_one_succeeds_and_the_other_knows_it() -> None:
    """Trap: two processes go on with one run, both are told that they saved it, and one of the histories is gone.

    The one that was cut off counts on as soon as it can; nothing of that is
    ever in the run, and it tells its caller what the other one made.
    """
    bucket = MemoryBackend()
    link = Link(bucket)
    closed, opened = anyio.Event(), anyio.Event()
    opened.set()
    with anyio.fail_after(45):
        async with Runtime(link, lease=LEASE, drain="park") as a:
            lost = await a.spawn(counting("A", closed, until=5), id="r")
            while (await lost.state()).n != 1:  # noqa: ASYNC110 - another process would look, too
                await anyio.sleep(0.01)
            async with Runtime(Link(bucket), lease=LEASE, graphs=[counting("B", opened, until=5)]) as b:
                link.cut = True
                theirs = await b.get("r").result()
                link.cut = False
                closed.set()
                ours = await lost.result()
                history = [point.seq async for point in b.get("r").history()]

    assert theirs == ours == Count(n=5, by=("A", "B", "B", "B", "B"))
    assert history == list(range(history[0], -1, -1))


async def test_a_recovery_that_the_store_did_not_answer_looks_again() -> None:
    """Trap: what is to be recovered is looked up once, at the start; if the store hiccups then, it is stranded."""
    bucket = MemoryBackend()
    closed, opened = anyio.Event(), anyio.Event()
    opened.set()
    with anyio.fail_after(45):
        async with Runtime(bucket, lease=LEASE, drain="park") as a:
            run = await a.spawn(counting("A", closed, until=3), id="r")
            while (await run.state()).n != 1:  # noqa: ASYNC110 - as above
                await anyio.sleep(0.01)
            a._lives.get("r").let_go()  # type: ignore[union-attr] - as a process that is killed in the middle
        link = Link(bucket)
        async with Runtime(link, lease=LEASE, recover="always", graphs=[counting("B", opened, until=3)]) as b:
            link.cut = True
            await anyio.sleep(3 * LEASE)  # several scans, all of them in vain
            assert b.get("r").id not in b._lives  # type: ignore[operator]
            link.cut = False
            assert (await b.get("r").result()).by == ("A", "B", "B")
