"""The plugin for pytest, as a project of a user's has it: installed with actorflow, and found by pytest itself."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from actorflow import Graph, State, Update
from actorflow.errors import RunFailed, StateMutated
from tests.test_imports import loaded_by

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from actorflow import Runtime
    from actorflow.testing import FaultyBackend, VirtualClock

ORDERS = """
from actorflow import Context, Graph, State, Update

class Order(State):
    item: str = "lamp"
    paid: bool = False
    days: int = 0

orders = Graph("orders", Order)

@orders.node
async def charge(state: Order) -> Update:
    return {"paid": True}

@orders.node(after=charge)
async def remind(state: Order, ctx: Context) -> Update:
    return {"days": await ctx.interrupt("Shipped?", type=int, timeout=7 * 86_400, default=7)}

returns = Graph("returns", Order)

@returns.node
async def ask(state: Order, ctx: Context) -> Update:
    return {"days": await ctx.interrupt("After how many days?", type=int)}
"""

TESTS = """
import pytest
from actorflow.errors import StoreFull
from orders import orders, returns

pytestmark = pytest.mark.anyio

async def test_a_week_passes(actorflow_clock, actorflow_runtime):
    async with actorflow_runtime() as rt:
        assert (await rt.run(orders)).days == 7
    assert actorflow_clock.elapsed == pytest.approx(7 * 86_400, abs=60)

async def test_the_next_process_finds_it(actorflow_runtime):
    async with actorflow_runtime() as rt:
        run = await rt.spawn(returns, id="x")
        assert await run.wait() == "waiting"
    async with actorflow_runtime(graphs=[returns]) as rt:
        await rt.get("x").answer(3)
        assert (await rt.get("x").result()).days == 3

async def test_each_test_has_a_store_of_its_own(actorflow_runtime, actorflow_store):
    async with actorflow_runtime() as rt:
        assert await rt.runs() == []
        assert rt.url == actorflow_store

async def test_a_disk_is_full(actorflow_faulty):
    from actorflow import Runtime
    backend = actorflow_faulty("full", nth=4, persistent=True)
    with pytest.raises(StoreFull):
        async with Runtime(backend) as rt:
            await rt.run(returns, id="x")
    async with Runtime(backend.inner) as rt:
        assert await (await rt.spawn(returns, id="x", on_conflict="attach")).wait() == "waiting"
"""


def outcome(folder: Path, **files: str) -> tuple[dict[str, int], str]:
    """How many tests of a project passed, failed, and so on, and what pytest said. Warnings are errors there."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, "utf-8")
    child = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    counts = re.findall(r"(\d+) (passed|failed|errors?)", child.stdout.strip().rpartition("\n")[2])
    return {what.rstrip("s"): int(number) for number, what in counts}, child.stdout + child.stderr


def test_a_project_has_the_fixtures_without_a_word(tmp_path: Path) -> None:
    """No conftest, no setting: a marker of anyio's, and each test runs on both event loops."""
    counts, said = outcome(tmp_path, orders=ORDERS, test_orders=TESTS)

    assert counts == {"passed": 8}, said


def test_planted_a_bug_in_the_project_is_told(tmp_path: Path) -> None:
    """Planted: the reminder comes a day late. The test with the clock sees it, on both loops."""
    late = ORDERS.replace("7 * 86_400", "8 * 86_400").replace("default=7", "default=8")

    counts, said = outcome(tmp_path, orders=late, test_orders=TESTS)

    assert counts == {"passed": 6, "failed": 2}, said


def test_a_test_runs_on_both_loops_although_the_project_has_chosen_one(tmp_path: Path) -> None:
    """`both_loops` goes before a fixture of the project's."""
    conftest = "import pytest\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    tests = """
import pytest
from actorflow.testing import both_loops

@both_loops
async def test_twice(actorflow_clock):
    await actorflow_clock.advance(60)
    assert actorflow_clock.elapsed == 60

@pytest.mark.anyio
async def test_once():
    pass
"""
    counts, said = outcome(tmp_path, conftest=conftest, test_loops=tests)

    assert counts == {"passed": 3}, said


def test_a_test_without_an_event_loop_can_have_no_virtual_clock(tmp_path: Path) -> None:
    """It is an error, not a clock that nobody goes by."""
    counts, said = outcome(tmp_path, test_sync="def test_sync(actorflow_clock):\n    pass\n")

    assert counts in ({"error": 1}, {"failed": 1}), said
    assert "actorflow_clock" in said


def test_the_plugin_is_light() -> None:
    """A project that has actorflow installed, and tests something else, loads next to nothing of it."""
    loaded = {name for name in loaded_by("import actorflow.testing.plugin") if name.startswith("actorflow.")}

    assert "actorflow.testing.plugin" in loaded
    assert {name for name in loaded if not name.startswith("actorflow.errors")} == {
        "actorflow.testing",
        "actorflow.testing.plugin",
    }


# -- the fixtures here, where they are installed, too -----------------------------------


class Tally(State):
    """What a node may not change in place."""

    seen: list[int] = []


async def test_a_runtime_of_the_tests_tells_of_states_changed_in_place(
    actorflow_runtime: Callable[..., Runtime],
) -> None:
    """What would go unnoticed in production is an error in a test."""
    graph = Graph("mutates", Tally)

    @graph.node
    async def change(state: Tally) -> Update:
        state.seen.append(1)
        return {}

    async with actorflow_runtime() as rt:
        with pytest.raises(RunFailed) as caught:
            await rt.run(graph)

    assert isinstance(caught.value.__cause__, StateMutated)


async def test_backends_that_fail_share_what_is_stored(
    actorflow_faulty: Callable[..., FaultyBackend], actorflow_clock: VirtualClock
) -> None:
    """What one was told is there for the next, as on a bucket."""
    first, second = actorflow_faulty("slow", nth=9), actorflow_faulty("denied", nth=9)

    first.put_new("a", b"1")

    assert second.get("a") == b"1"
    assert actorflow_clock.elapsed == 0
