"""History: what headers tell of a run, newest first, whatever its log is made of and whatever became of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import actorflow.runtime.replay
from actorflow import RestartPolicy, Retention, Runtime
from actorflow.errors import CorruptCheckpoint, NoSuchRun, RunDeleted, RunFailed
from actorflow.store.log import RunLog
from actorflow.store.memory import MemoryBackend
from tests.runtime.graphs import Trail, chain, counter, failing
from tests.runtime.scenes import waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actorflow import Checkpoint
    from actorflow.runtime.history import History
    from actorflow.store.backend import Backend
    from actorflow.store.frames import Frame


@pytest.fixture(params=["disk", "bucket"])
def place(request: pytest.FixtureRequest, store_url: str) -> str | Backend:
    """A store of each kind of log."""
    return store_url if request.param == "disk" else MemoryBackend()


@pytest.fixture
def snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots come soon, so that a disk gets more than one file."""
    monkeypatch.setattr("actorflow.runtime.pending.SNAPSHOT_FLOOR", 2_000)


async def told(rt: Runtime, run_id: str, **filters: Any) -> list[Checkpoint]:
    """A history, as a list."""
    return [one async for one in rt.get(run_id).history(**filters)]


async def test_it_is_told_from_headers_alone(place: str | Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newest first, with all that a header says, and no body is decoded: it could not be."""
    async with Runtime(place) as rt:
        await (await rt.spawn(chain("a", "b"), Trail(), id="r", tags={"team": "x"})).result()
        before = [(view.seq, view.time, view.size, view.owner) async for view in rt.get("r").views()]

        def refuse(*_: object) -> None:
            raise AssertionError("a body is decoded")

        monkeypatch.setattr(actorflow.runtime.replay, "decode_body", refuse)
        found = await told(rt, "r")

    assert [(one.seq, one.parent, one.kind, one.node, one.status) for one in found] == [
        (2, 1, "release", "b", "finished"),
        (1, 0, "commit", "a", "running"),
        (0, None, "claim", None, "running"),
    ]
    assert [(one.seq, one.time, one.size, one.owner) for one in found] == before
    assert {(one.run_id, one.graph, one.schema, one.version, one.life, one.opening, one.epoch) for one in found} == {
        ("r", "chain", "Trail", 1, 1, 1, 1)
    }
    assert [one.tags for one in found] == [{"team": "x"}] * 3
    assert not any(one.pruned for one in found)


@pytest.mark.usefixtures("snapshots")
async def test_all_filters_hold_at_once(place: str | Backend) -> None:
    """Each leaves out what it should, alone and with the others."""
    async with Runtime(place, restarts=RestartPolicy(max_restarts=0)) as rt:
        graph = failing(1, [])
        run = await rt.spawn(graph, Trail(), id="r", tags={"team": "x", "kept": "yes"})
        with pytest.raises(RunFailed):
            await run.result()
        await (await rt.resume(graph, "r")).result()
        everything = await told(rt, "r")
        middle = everything[len(everything) // 2]
        cases: list[tuple[dict[str, Any], Callable[[Checkpoint], bool]]] = [
            ({"kind": "claim"}, lambda one: one.kind == "claim"),
            ({"node": "first"}, lambda one: one.node == "first"),
            ({"status": "failed"}, lambda one: one.status == "failed"),
            ({"tag": "team"}, lambda one: True),
            ({"tag": "other"}, lambda one: False),
            ({"tag": {"team": "x", "kept": "yes"}}, lambda one: True),
            ({"tag": {"team": "x", "kept": "no"}}, lambda one: False),
            ({"since": middle.time}, lambda one: one.time >= middle.time),
            ({"before": middle.seq}, lambda one: one.seq < middle.seq),
        ]

        for given, fits in cases:
            assert await told(rt, "r", **given) == [one for one in everything if fits(one)], given
            for more, fits_too in cases[:4]:
                both = [one for one in everything if fits(one) and fits_too(one)]
                if given.keys().isdisjoint(more):
                    assert await told(rt, "r", **given, **more) == both, (given, more)
        assert {one.status for one in everything} == {"running", "failed", "finished"}
        assert len([one for one in everything if one.kind == "claim"]) == 2


@pytest.mark.usefixtures("snapshots")
async def test_pages_tell_everything_once(place: str | Backend) -> None:
    """The last commit of a page is where the next one begins, over many files and merged ones."""
    async with Runtime(place) as rt:
        await rt.run(counter(200), Trail(), id="r")
        everything = [one.seq for one in await told(rt, "r")]

        pages: list[int] = []
        while page := await told(rt, "r", before=pages[-1] if pages else None, limit=30):
            assert len(page) <= 30
            pages += [one.seq for one in page]

        assert pages == everything == [*range(everything[0], -1, -1)]
        assert await told(rt, "r", limit=0) == []


@pytest.mark.usefixtures("snapshots")
async def test_what_retention_let_go_of_is_told_as_pruned(place: str | Backend) -> None:
    """On a disk the first and the last header of each file are left, and a bucket ends with what is kept."""
    async with Runtime(place) as rt:
        await rt.run(counter(200), Trail(), id="r")
        everything = await told(rt, "r")
        await rt.gc(Retention(last=20))

        found = await told(rt, "r")

    kept = [one for one in found if not one.pruned]
    gone = [one for one in found if one.pruned]
    assert kept == everything[: len(kept)]
    assert 20 <= len(kept) < len(everything)
    if isinstance(place, str):
        whole = {one.seq: one for one in everything}
        assert gone[-1].seq == 0
        assert [(one.node, one.time, one.status) for one in gone] == [
            (whole[one.seq].node, whole[one.seq].time, whole[one.seq].status) for one in gone
        ]
        assert [one.seq for one in found] == sorted({one.seq for one in found}, reverse=True)
    else:
        assert gone == []


@pytest.mark.usefixtures("snapshots")
async def test_damage_is_met_after_all_that_is_newer(store_url: str) -> None:
    """It is named, and what was told before was whole."""
    async with Runtime(store_url) as rt:
        await rt.run(counter(200), Trail(), id="r")
        everything = [one.seq for one in await told(rt, "r")]
        damaged = damage_the_oldest(store_url)

        for story in (rt.get("r").history(), rt.get("r").views()):
            found: list[int] = []
            with pytest.raises(CorruptCheckpoint, match=damaged):
                await collect(story, found)

            assert found
            assert found == everything[: len(found)]


@pytest.mark.usefixtures("snapshots")
async def test_planted_a_history_that_is_read_at_once_tells_nothing_of_a_damaged_run(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: all of the log is read before anything is told."""
    pieces = RunLog.backwards

    def at_once(self: RunLog, *, keyless: bool = False) -> Iterator[list[Frame]]:
        return iter(list(pieces(self, keyless=keyless)))

    monkeypatch.setattr(RunLog, "backwards", at_once)
    with pytest.raises(AssertionError):
        await test_damage_is_met_after_all_that_is_newer(store_url)


async def test_a_run_that_lives_is_told_without_its_owner_noticing(store_url: str) -> None:
    """By a runtime that writes nothing; each loop begins anew, with what is newest then."""
    begun = anyio.Event()
    async with Runtime(store_url) as rt, Runtime(store_url, readonly=True) as other:
        run = await rt.spawn(waiting(begun.set), Trail(), id="r")
        await begun.wait()
        history = other.get("r").history(limit=2)

        first = [one.seq async for one in history]
        async for one in history:
            assert one.seq == 1
            break
        await run.cancel()

        assert first == [1, 0]
        assert [(one.seq, one.status) async for one in history] == [(2, "cancelled"), (1, "running")]


async def test_each_life_of_an_id_has_its_own_history(place: str | Backend) -> None:
    """What was before the deletion is nobody's business any more, its stubs included."""
    async with Runtime(place) as rt:
        await rt.run(chain("a", "b", "c"), Trail(), id="r")
        await rt.delete("r")
        with pytest.raises(RunDeleted):
            await told(rt, "r")

        await (await rt.spawn(chain("a"), Trail(), id="r", reuse=True)).result()

        found = await told(rt, "r")
        assert [(one.life, one.node, one.pruned) for one in found] == [(2, "a", False), (2, None, False)]
        assert found[-1].parent is None


async def test_a_copy_tells_the_statuses_that_the_run_had(place: str | Backend, tmp_path: Path) -> None:
    """While it was copied its headers had to say otherwise; a copy of the copy likewise."""
    async with Runtime(place, restarts=RestartPolicy(max_restarts=0)) as rt:
        graph = failing(1, [])
        with pytest.raises(RunFailed):
            await rt.run(graph, Trail(), id="r")
        await (await rt.resume(graph, "r")).result()
        before = [(one.status, one.node, one.time, one.tags) for one in await told(rt, "r")]
        await rt.export("r", tmp_path / "one")

    async with Runtime(tmp_path / "one") as one:
        await one.export("r", tmp_path / "two")
        told_there = [(c.status, c.node, c.time, c.tags) for c in await told(one, "r")]
    async with Runtime(tmp_path / "two") as two:
        told_at_last = [(c.status, c.node, c.time, c.tags) for c in await told(two, "r")]

    assert told_there[1:-1] == before[:-1]
    assert told_at_last[2:-1] == before[:-1]


async def test_what_can_not_be_told_is_refused(place: str | Backend) -> None:
    """An unknown run is named; a misspelt kind would tell nothing, and a limit below 0 neither."""
    async with Runtime(place) as rt:
        with pytest.raises(NoSuchRun):
            await told(rt, "missing")
        with pytest.raises(ValueError, match="'release'"):
            rt.get("r").history(kind="finished")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match="limit=-1"):
            rt.get("r").history(limit=-1)


async def collect(story: History[Any], found: list[int]) -> None:
    """Note the numbers of what is told, as it is told."""
    async for one in story:
        found.append(one.seq)  # noqa: PERF401 - what was told before an error counts


def damage_the_oldest(url: str) -> str:
    """Change a byte in the oldest file of run r; its name."""
    file = min(Path(url, "runs/r/log").glob("*.ckpt"))
    data = bytearray(file.read_bytes())
    data[-40] ^= 1
    file.write_bytes(data)
    return file.name
