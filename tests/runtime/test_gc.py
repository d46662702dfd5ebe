"""gc: what it leaves can be read and goes on, whoever runs the runs meanwhile; and what a bucket is asked for."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.lowlevel
import pytest

from actorflow import RestartPolicy, Runtime
from actorflow.errors import CheckpointGone, RunDeleted, RunFailed, StoreDenied
from actorflow.store.merging import MERGE_AT
from actorflow.store.object_log import SNAPSHOT_EVERY
from actorflow.store.retention import Retention
from tests.runtime.graphs import Trail, chain, counter, failing
from tests.store.object_runs import PAGE, Watched

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

T = TypeVar("T")


def keys(bucket: Watched) -> list[str]:
    """The objects of runs."""
    return bucket.inner.list("runs/")


class Requests:
    """The requests about runs, in which heartbeats do not count."""

    def __init__(self, bucket: Watched) -> None:
        self.calls: Counter[str] = Counter()
        self._bucket = bucket
        bucket.before = self._count

    def _count(self, kind: str, key: str) -> None:
        if key.startswith("runs/"):
            self.calls[kind] += 1
            if kind == "list":
                self.calls[kind] += max(0, len(self._bucket.inner.list(key)) - 1) // PAGE


ONCE = RestartPolicy(max_restarts=0)


async def until(ask: Callable[[], Awaitable[T]], enough: Callable[[T], bool]) -> None:
    """Ask again and again; the test's own timeout bounds it."""
    while not enough(await ask()):  # noqa: ASYNC110 - there is no event: it is the store that is asked
        await anyio.sleep(0.005)


# -- a bucket stays small by itself ------------------------------------------------------


async def test_a_run_on_a_bucket_stays_small_by_itself() -> None:
    """Snapshots come by number, the log is merged beside the commits, and nothing of the history is lost."""
    bucket = Watched()
    async with Runtime(bucket) as runtime:
        run = await runtime.spawn(counter(400), id="a")
        assert (await run.result()).n == 400

        assert len(keys(bucket)) < MERGE_AT < 400
        assert len([one async for one in run.views()]) > 400
        assert (await run.at(100)).values["n"] == (await run.at(99)).values["n"] + 1
        assert await runtime.verify() == []


async def test_a_commit_is_one_put() -> None:
    """Between two snapshots nothing else is asked of the bucket; with the merges little more."""
    bucket = Watched()
    async with Runtime(bucket) as runtime:
        requests = Requests(bucket)
        await (await runtime.spawn(counter(40), id="a")).result()

        assert requests.calls["put"] == 41
        assert requests.calls["get"] == 0
        assert requests.calls["list"] <= 3


async def test_a_long_run_is_resumed_with_few_requests() -> None:
    """Some thousand commits behind it, and stopped in the middle of a stretch between two snapshots."""
    bucket = Watched()
    async with Runtime(bucket, drain="park") as runtime:
        run = await runtime.spawn(counter(1_000_000, max_activations=2_000_000), id="a")
        await until(lambda: runtime.tip(run.id), lambda tip: tip.header.seq >= 2_100)

    async with Runtime(bucket, drain="park", recover="never") as runtime:
        tip = await runtime.tip("a")
        requests = Requests(bucket)
        asked: Counter[str] = Counter()
        resumed = await runtime.resume(counter(1_000_000, max_activations=2_000_000), "a")
        asked.update(requests.calls)
        assert resumed.id == "a"

    since = tip.header.seq - tip.header.snapshot + 1
    assert since <= SNAPSHOT_EVERY
    assert asked["list"] <= 3
    assert asked["get"] <= 4 + since


# -- gc ---------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "disk"])
def place(request: pytest.FixtureRequest, store_url: str) -> Any:
    """A store of each kind, with snapshots now and then."""
    return Watched() if request.param == "memory" else store_url


async def test_history_begins_with_the_oldest_commit_kept(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is gone is told from what never was, and the rest is what it was."""
    monkeypatch.setattr("actorflow.runtime.pending.SNAPSHOT_FLOOR", 2_000)  # so that a disk gets some, too
    async with Runtime(place) as runtime:
        run = await runtime.spawn(counter(400), id="a")
        await run.result()
        before = [(one.seq, one.values) async for one in run.views()]

        done = await runtime.gc(Retention(last=20))

        after = [(one.seq, one.values) async for one in run.views()]
        assert done.failed == {}
        assert done.files > 0
        assert len(after) < len(before)
        with pytest.raises(CheckpointGone):
            await run.at(0)
        assert after == before[: len(after)]
        assert len(after) >= 19
        with pytest.raises(LookupError, match="has no commit 9999"):
            await run.at(9999)
        assert (await run.result()).n == 400
        assert await runtime.verify() == []


async def test_a_dry_run_says_what_would_be_done() -> None:
    """And does nothing of it."""
    bucket = Watched()
    async with Runtime(bucket) as runtime:
        await (await runtime.spawn(counter(300), id="a")).result()
        before = keys(bucket)

        said = await runtime.gc(Retention(last=1), dry_run=True)

        assert keys(bucket) == before
        assert await runtime.gc(Retention(last=1)) == said


async def test_a_run_that_is_alive_is_not_disturbed() -> None:
    """It is collected again and again, by its own runtime and by another."""
    bucket = Watched()
    async with Runtime(bucket) as runtime, Runtime(bucket, recover="never") as other:
        run = await runtime.spawn(counter(600), id="a")
        async with anyio.create_task_group() as tasks:

            async def collect(of: Runtime) -> None:
                while True:
                    done = await of.gc(Retention(last=1))
                    assert done.failed == {}
                    await anyio.lowlevel.checkpoint()

            tasks.start_soon(collect, runtime)
            tasks.start_soon(collect, other)
            assert (await run.result()).n == 600
            tasks.cancel_scope.cancel()
        await runtime.gc(Retention(last=1))
        assert len(keys(bucket)) < 2 * SNAPSHOT_EVERY
        assert await runtime.verify() == []


async def test_runs_that_ended_long_ago_are_deleted(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a whole, their summaries, too; a run with a tag that spares it, a younger and an unfinished one stay."""
    calls: list[int] = []
    async with Runtime(place, restarts=ONCE) as runtime:
        await runtime.run(chain("only"), id="old")
        await (await runtime.spawn(chain("only"), id="kept", tags={"keep": "yes"})).result()
        with pytest.raises(RunFailed):
            await runtime.run(failing(1, calls), id="failed")
        policy = Retention(ended=3600, tagged={"keep": "yes"})
        assert (await runtime.gc(policy)).deleted == ()

        now = time.time()
        monkeypatch.setattr("actorflow.runtime.clock.time.time", lambda: now + 7200)
        assert set((await runtime.gc(policy, dry_run=True)).deleted) == {"old", "failed"}
        done = await runtime.gc(policy)
        monkeypatch.undo()

        assert set(done.deleted) == {"old", "failed"}
        assert [info.id for info in await runtime.runs()] == ["kept"]
        with pytest.raises(RunDeleted):
            await runtime.get("old").status()
        assert (await runtime.gc(policy)).deleted == ()


async def test_an_end_that_was_reopened_is_not_deleted(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between gc's look and its claim the run was resumed, and failed anew: that end is young."""
    from actorflow.runtime import care

    calls: list[int] = []
    graph = failing(1, calls)
    look = care._is_long_over
    async with Runtime(store_url, restarts=ONCE) as runtime:
        with pytest.raises(RunFailed):
            await runtime.run(graph, id="a")
        store = runtime._open().store

        def resumed_meanwhile(policy: Retention, tip: Any, now: float) -> bool:
            claim = care.sweep_unowned  # a claim and a release, as a resume makes them
            store.backend.put_new(f"runs/a/blobs/{'0' * 64}.1.1", b"x")
            claim(store, store.log("a"), dry_run=False)
            return look(policy, tip, now + 10)

        monkeypatch.setattr(care, "_is_long_over", resumed_meanwhile)
        done = await runtime.gc(Retention(ended=1))

        assert done.deleted == ()
        assert await runtime.get("a").status() == "failed"


async def test_one_bad_run_never_stops_the_others(tmp_path: Path) -> None:
    """It is named, and left as it is (guarantee 8)."""
    async with Runtime(tmp_path / "store") as runtime:
        for name in ("a", "b", "c"):
            await runtime.run(chain("only"), id=name)
        log = tmp_path / "store/runs/b/log"
        damaged = next(iter(log.iterdir()))
        damaged.write_bytes(b"damaged")

        done = await runtime.gc(Retention(last=1, ended=0))

        assert set(done.deleted) == {"a", "c"}
        assert list(done.failed) == ["b"]
        assert damaged.read_bytes() == b"damaged"


async def test_large_values_that_nothing_refers_to_go(place: Any) -> None:
    """Those that the kept history needs stay."""
    async with Runtime(place) as runtime:
        await runtime.run(chain("only"), Trail(trace=["x" * 1_000_000]), id="a")
        store = runtime._open().store
        stray = f"runs/a/blobs/{'0' * 64}.1.99"
        store.backend.put_new(stray, b"of a commit that never was")
        assert (await runtime.gc(Retention(), dry_run=True)).blobs == 1

        done = await runtime.gc(Retention())

        assert (done.blobs, done.failed) == (1, {})
        assert len(store.blobs("a").names()) == 1
        assert len((await runtime.get("a").state()).trace) == 2
        assert await runtime.get("a").status() == "finished"
        assert (await runtime.gc(Retention())).blobs == 0


async def test_a_large_value_of_a_run_that_lives_elsewhere_stays(place: Any) -> None:
    """Its owner may be about to refer to it; so who sweeps claims the run first. When that is over, it goes."""
    gate = anyio.Event()
    async with Runtime(place) as owner:
        run = await owner.spawn(counter(1, after=gate), id="a")
        backend = owner._open().store.backend
        on_its_way = f"runs/a/blobs/{'0' * 64}.1.99"
        backend.put_new(on_its_way, b"of the commit that comes next")
        async with Runtime(place, recover="never") as other:
            assert (await other.gc(Retention())).blobs == 0
            assert backend.list("runs/a/blobs/") == [on_its_way]

            gate.set()
            await run.result()

            assert (await other.gc(Retention())).blobs == 1
            assert (await other.tip("a")).header.epoch == 2


async def test_summaries_that_a_later_one_replaced_go(store_url: str) -> None:
    """A run that was reopened has one for each end."""
    calls: list[int] = []
    graph = failing(1, calls)
    async with Runtime(store_url, restarts=ONCE) as runtime:
        with pytest.raises(RunFailed):
            await runtime.run(graph, id="a")
        await runtime.run(graph, id="a")

        assert (await runtime.gc(Retention())).summaries == 1

        assert [info.status for info in await runtime.runs()] == ["finished"]
        assert (await runtime.gc(Retention())).summaries == 0


async def test_who_only_looks_may_only_ask(store_url: str) -> None:
    """A dry run writes nothing, so a runtime that only looks may do it."""
    async with Runtime(store_url) as runtime:
        await runtime.run(chain("only"), id="a")
    async with Runtime(store_url, readonly=True) as runtime:
        assert (await runtime.gc(Retention(ended=0), dry_run=True)).deleted == ("a",)
        with pytest.raises(StoreDenied):
            await runtime.gc(Retention(ended=0))
        with pytest.raises(StoreDenied):
            await runtime.delete("a")


async def test_what_is_kept_can_be_copied_into_another_store(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy begins where the history did, whichever life of its id it is; what was deleted is not copied."""
    monkeypatch.setattr("actorflow.runtime.pending.SNAPSHOT_FLOOR", 2_000)
    other = tmp_path / "other"
    async with Runtime(place) as runtime:
        await runtime.run(chain("only"), id="a")
        await runtime.delete("a")
        with pytest.raises(RunDeleted):
            await runtime.export("a", other)
        run = await runtime.spawn(counter(200), id="a", reuse=True)
        await run.result()
        await runtime.gc(Retention(last=5))
        kept = [one.values async for one in run.views()]

        await runtime.export("a", other)

    async with Runtime(other) as runtime:
        copied = [one.values async for one in runtime.get("a").views()]
        assert copied[-len(kept) :] == kept
        assert (await runtime.run(counter(200), id="a")).n == 200
        assert await runtime.verify() == []
