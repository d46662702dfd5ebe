"""Bad input, ownership: two who want one run, and a run with which process after process dies."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from actorflow import Graph, Message, Reply, RestartPolicy, Runtime, Update
from actorflow.errors import Quarantined, RunExists, RunOwned
from actorflow.runtime.claiming import EndedMeanwhile, Limits, claiming_run
from actorflow.store.backend import whole
from actorflow.store.store import open_store
from tests.runtime.graphs import Trail, chain
from tests.runtime.scenes import deadly, ready, scene, waiting


class Ping(Message, version=1):
    """Somebody asks whether it is there."""


async def test_a_second_runtime_of_the_same_process_is_refused(store_url: str) -> None:
    """Running, resuming and cancelling say who owns the run; not a byte of it changes; then it can be had."""
    inside = anyio.Event()

    async with Runtime(store_url) as second:
        with anyio.CancelScope() as scope:
            async with Runtime(store_url) as first:
                await first.spawn(waiting(inside.set), id="x")
                await inside.wait()
                before = _bytes(store_url)

                for attempt in (
                    lambda: second.run(ready(), id="x"),
                    lambda: second.resume(ready(), "x"),
                    lambda: second.get("x").cancel(),
                ):
                    with pytest.raises(RunOwned, match=f"owned by process {os.getpid()} .*this process") as caught:
                        await attempt()
                    assert caught.value.pid == os.getpid()
                with pytest.raises(RunExists, match="resume"):
                    await second.spawn(ready(), id="x")

                assert _bytes(store_url) == before
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        assert (await second.run(ready(), id="x")).trace == ["first", "wait"]


async def test_who_attaches_to_a_run_of_another_process_has_its_handle(store_url: str) -> None:
    """Of several processes that begin the same run, one has it, and all see what becomes of it."""
    inside, go_on = anyio.Event(), anyio.Event()
    graph = Graph("held", Trail)

    @graph.node
    async def held(state: Trail) -> Update:
        inside.set()
        await go_on.wait()
        return {"n": 1}

    async with Runtime(store_url) as first, Runtime(store_url) as second:
        await first.spawn(graph, id="x")
        await inside.wait()

        run = await second.spawn(graph, id="x", on_conflict="attach")
        assert await run.status() == "running"
        go_on.set()

        assert (await run.result()).n == 1
        assert second.life_of("x") is None


async def test_a_second_process_is_refused(store_url: str, anyio_backend: str) -> None:
    """The error names the process that owns the run, and what to do; when that one is killed, the run is free."""
    with scene("hold", store_url, anyio_backend) as child:
        assert await to_thread.run_sync(child.line) == "inside"
        before = _bytes(store_url)
        async with Runtime(store_url, recover="never") as runtime:
            with pytest.raises(RunOwned, match="stop it there, or wait") as caught:
                await runtime.run(ready(), id="x")

            assert caught.value.pid == child.pid
            assert caught.value.host in str(caught.value)
            assert _bytes(store_url) == before
            child.process.kill()
            await to_thread.run_sync(child.wait)
            assert (await runtime.run(ready(), id="x")).trace == ["first", "wait"]


async def test_the_scan_leaves_alone_what_another_process_owns(store_url: str, anyio_backend: str) -> None:
    """Recovery finds nothing while the owner lives, and the run as soon as it is dead."""
    with scene("hold", store_url, anyio_backend) as child:
        assert await to_thread.run_sync(child.line) == "inside"
        async with Runtime(store_url, graphs=[ready()], recover="never") as runtime:  # no scan is there before this one
            assert await runtime.recover() == []
        async with Runtime(store_url, graphs=[ready()], scan_every=0.01) as runtime:
            assert await runtime.recover() == []
            assert await runtime.get("x").status() == "running"

            child.process.kill()

            assert (await runtime.get("x").result()).trace == ["first", "wait"]


async def test_an_end_that_the_claimer_had_not_seen_stays(store_url: str) -> None:
    """Between looking at a run and claiming it, it may finish: then nothing is written, and it stays finished."""
    graph = chain("a")
    async with Runtime(store_url) as runtime:
        await runtime.run(graph, id="x")
    before = _bytes(store_url)
    store = open_store(store_url)

    try:
        for opening in (None, 0, 2):
            with pytest.raises(EndedMeanwhile, match="finished by now"):
                whole(claiming_run(store, graph, "x", Limits(migration_timeout=1, max_crashes=1), reopen=opening))
    finally:
        store.close()

    assert _bytes(store_url) == before


async def test_a_crash_loop_of_processes_is_quarantined_and_resume_lifts_it(store_url: str, anyio_backend: str) -> None:
    """One process more than `max_crashes` dies with the run; the next finds it set aside, until it is resumed."""
    for _ in range(3):
        with scene("die", store_url, anyio_backend, "2") as child:
            assert await to_thread.run_sync(child.line) == ""
            assert child.wait() < 0
    with scene("die", store_url, anyio_backend, "2") as child:
        said = await to_thread.run_sync(child.line)
        assert child.wait() == 0

    assert said.startswith("Quarantined run 'x' is quarantined: 3 processes died with it")
    assert Runtime(store_url).max_crashes == 10  # unless somebody says otherwise
    async with Runtime(store_url, max_crashes=2) as runtime:  # the same limit: who resumes it begins a new count
        assert await runtime.get("x").status() == "quarantined"
        assert await runtime.recover() == []
        for attempt in (lambda: runtime.run(deadly(mended=True), id="x"), lambda: runtime.get("x").result()):
            with pytest.raises(Quarantined, match="resume"):
                await attempt()
        assert (await runtime.get("x").at()).values["trace"] == ["first"]
        resumed = await runtime.resume(deadly(mended=True), "x")
        assert (await resumed.result()).trace == ["first", "last"]


async def test_an_actor_that_waited_until_it_was_let_go_is_in_no_crash_loop(store_url: str) -> None:
    """Processes that are killed while nobody sends it anything did not die of it, however many they are."""
    graph = Graph("idle", Trail, lifetime="actor")

    @graph.on(Ping)
    async def ping(state: Trail, msg: Ping) -> Reply:
        return Reply("there")

    async with Runtime(store_url) as runtime:
        await runtime.spawn(graph, id="x")
    for _ in range(4):
        store = open_store(store_url)
        whole(
            claiming_run(store, graph, "x", Limits(migration_timeout=1, max_crashes=2), reopen=None)
        ).ownership.close()
        store.close()

        async with Runtime(store_url, max_crashes=2) as runtime:
            await runtime.resume(graph, "x")

    async with Runtime(store_url, graphs=[graph], max_crashes=2) as runtime:
        assert await runtime.get("x").ask(Ping()) == "there"
        await runtime.get("x").cancel()


async def test_processes_that_let_go_of_a_run_have_not_died_with_it(store_url: str) -> None:
    """However often it gets nowhere meanwhile. Planted: a release is no better than a death."""
    for _ in range(4):
        inside = anyio.Event()
        with anyio.CancelScope() as scope:
            async with Runtime(store_url, max_crashes=1) as runtime:
                await runtime.spawn(waiting(inside.set), id="x", on_conflict="attach")
                await inside.wait()
                scope.cancel()
                await anyio.sleep_forever()

    async with Runtime(store_url, max_crashes=1) as runtime:
        assert (await runtime.run(ready(), id="x")).trace == ["first", "wait"]


async def test_a_restart_inside_a_process_is_no_death_of_it(store_url: str) -> None:
    """The supervisor counts it. Planted: whoever claims after a claim finds that somebody died."""
    calls = list[int]()
    graph = Graph("crashing", Trail)

    @graph.node
    async def work(state: Trail) -> Update:
        calls.append(1)
        if len(calls) < 5:
            raise ConnectionError
        return {"n": len(calls)}

    restarts = RestartPolicy(max_restarts=9, backoff=0.0)
    async with Runtime(store_url, max_crashes=1, restarts=restarts) as runtime:
        assert (await runtime.run(graph, id="x")).n == 5


async def test_progress_resets_the_count_of_crashes(store_url: str, anyio_backend: str) -> None:
    """An activation that finishes shows that the run is no crash loop."""
    for _ in range(2):
        with scene("die", store_url, anyio_backend, "2") as child:
            assert child.wait() < 0

    async with Runtime(store_url, max_crashes=2) as runtime:
        await runtime.run(deadly(mended=True), id="x")
        crashes = [checkpoint._moment.frame.header.crashes async for checkpoint in runtime.get("x").views()]

    assert crashes == [0, 2, 1, 0, 0]


def _bytes(store_url: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path(store_url, "runs").rglob("*") if path.is_file()}
