"""Recovery: how much one look takes up, at what pace and in which order, so that many processes share the work."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING

import anyio

from actorflow import Graph, Runtime, Update
from actorflow.engine.spawn import spawn
from actorflow.runtime import recovery
from actorflow.runtime.claiming import creating_run
from actorflow.store.backend import whole
from actorflow.store.memory import MemoryBackend
from actorflow.store.store import open_store
from tests.runtime.graphs import Trail, chain
from tests.store.drafts import ACTOR, claiming, part

if TYPE_CHECKING:
    import pytest

    from actorflow.runtime.lives import Lives
    from actorflow.store.backend import Backend


def held(*, open_: bool) -> Graph[Trail]:
    """One node, which comes to its end or never does."""
    graph = Graph("held", Trail)

    @graph.node
    async def only(state: Trail) -> Update:
        if not open_:
            await anyio.sleep_forever()
        return {"trace": ["only"]}

    return graph


async def leave_unfinished(store: str, ids: list[str]) -> None:
    """Runs that somebody began, and let go of in their first node."""
    with anyio.CancelScope() as scope:
        async with Runtime(store, recover="never") as rt:
            for run_id in ids:
                await rt.spawn(held(open_=False), Trail(), id=run_id)
            scope.cancel()
            await anyio.sleep_forever()


async def test_a_look_takes_up_no_more_than_its_share(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a dead process's runs are spread over those that live; the looks after it take the rest."""
    monkeypatch.setattr(recovery, "SHARE", 2)
    taken: list[int] = []
    recover = recovery.recover

    async def counted(lives: Lives, *args: object, **options: object) -> object:
        found = await recover(lives, *args, **options)  # type: ignore[arg-type]
        taken.append(len(found))
        return found

    monkeypatch.setattr(recovery, "recover", counted)
    ids = [f"r{number}" for number in range(5)]
    await leave_unfinished(store_url, ids)
    async with Runtime(store_url, graphs=[held(open_=True)], scan_every=0.01) as rt:
        with anyio.fail_after(20):
            for run_id in ids:
                assert (await rt.get(run_id).result()).trace == ["only"]

    assert (sum(taken), max(taken)) == (5, 2)


async def pauses_of(store: str | Backend, monkeypatch: pytest.MonkeyPatch, **of_heartbeat: object) -> list[float]:
    """How long a scan rests between looks, twenty times."""
    pauses: list[float] = []
    enough = anyio.Event()

    async def rest(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 20:
            enough.set()
            await anyio.sleep_forever()

    async with Runtime(store, recover="never") as rt:
        for name, value in of_heartbeat.items():
            monkeypatch.setattr(rt.living().store.heartbeat, name, value)
        monkeypatch.setattr(recovery, "clock", SimpleNamespace(rest=rest))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(recovery.scan, rt.living(), {}, every=10.0, anywhere=True))
            await enough.wait()
            tasks.cancel_scope.cancel()
    return pauses


async def test_no_two_processes_look_in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pause is of a length of its own, around what was asked for."""
    pauses = await pauses_of("memory://", monkeypatch)

    assert len(set(pauses)) == 20
    assert 5.0 <= min(pauses) < max(pauses) <= 15.0


async def test_a_look_comes_when_a_lease_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """If somebody's will be before the next look was due. Planted: two scans and a lease pass until a takeover."""
    pauses = await pauses_of(MemoryBackend(), monkeypatch, missed_in=lambda: 7.0)

    assert max(pauses) == 7.0


def test_each_look_has_an_order_of_its_own() -> None:
    """Else all would try for the same run first, and all but one in vain."""
    bucket = MemoryBackend()
    store = open_store(bucket)
    for number in range(20):
        run_id = f"r{number}"
        store.markers.put_active(run_id, 1)
        store.log(run_id).claim(claiming(part(store, run_id)), actor=ACTOR).close()

    looks = [recovery.orphans(store, (), anywhere=True, known={}) for _ in range(5)]

    assert all(sorted(look) == sorted(looks[0]) and len(look) == 20 for look in looks)
    assert any(before != after for before, after in pairwise(looks))


async def test_what_this_process_owns_and_nobody_in_it_has_is_taken_up(store_url: str) -> None:
    """A ghost: the process that owns it lives, and has no actor for it. The scan finds it, and needs no restart."""
    graph = chain("a")
    async with Runtime(store_url, graphs=[graph], scan_every=0.01) as rt:
        store = rt.living().store
        born = whole(creating_run(store, graph, "r", spawn(graph.plan, Trail(), run_id="r", life=1), {}))
        assert born.ownership.header.owner.incarnation == store.incarnation.name
        born.ownership.close()

        with anyio.fail_after(20):
            assert (await rt.get("r").result()).trace == ["a"]
