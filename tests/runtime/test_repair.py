"""A damaged run goes on only if somebody names the damage, and then from the last commit before it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

import actorflow.runtime.repair
from actorflow import END, Graph, Overwrite, RestartPolicy, Retention, Runtime, Update
from actorflow.errors import CorruptCheckpoint, Fenced, NoSuchRun, RunError, RunFailed, RunOwned
from actorflow.runtime.claiming import Limits, claiming_run
from actorflow.store import merging, pruning
from actorflow.store.backend import Backend, whole
from actorflow.store.damage import find_damage
from actorflow.store.frames import Draft
from actorflow.store.liveness import MemoryIncarnation
from actorflow.store.memory import MemoryBackend
from actorflow.store.store import open_store
from tests.runtime.graphs import Trail, chain, counter

if TYPE_CHECKING:
    from collections.abc import Collection

    from actorflow.store.frames import Frame
    from actorflow.store.ownership import Ownership

ONCE = RestartPolicy(max_restarts=0)


class Files:
    """The files of a run's log in either kind of store, to be damaged."""

    def __init__(self, store: str | Backend) -> None:
        self.store = store

    def names(self) -> list[str]:
        if isinstance(self.store, Backend):
            return [key for key in self.store.list("runs/") if key.endswith(".ckpt")]
        return sorted(str(path) for path in Path(self.store).glob("runs/*/log/*.ckpt"))

    def read(self, name: str) -> bytes:
        return self.store.get(name) if isinstance(self.store, Backend) else Path(name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        if isinstance(self.store, Backend):
            self.store.delete([name])
            self.store.put_new(name, data)
        else:
            Path(name).write_bytes(data)

    def spoil(self, name: str, at: int) -> None:
        data = bytearray(self.read(name))
        data[at] ^= 1
        self.write(name, bytes(data))

    def all(self) -> dict[str, bytes]:
        return {name: self.read(name) for name in self.names()}


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, store_url: str) -> str | Backend:
    """One whose files grow, or one with an object per commit."""
    return store_url if request.param == "folder" else MemoryBackend()


def digest_of(store: str | Backend, run_id: str = "r") -> str:
    """The digest by which the damage is named."""
    opened = open_store(store, readonly=True)
    try:
        damage = find_damage(opened, run_id)
        assert damage is not None
        return damage.digest.hex()
    finally:
        opened.close()


def trail(ran: list[str], *, fails: bool = True) -> Graph[Trail]:
    """Nodes a, b, c; c fails while it is to."""
    graph = chain("a", "b", ran=ran)

    @graph.node(after="b")
    async def c(state: Trail) -> Update:
        if fails:
            raise ValueError
        ran.append("c")
        return {"trace": ["c"]}

    return graph


async def fail(store: str | Backend, graph: Graph[Trail]) -> None:
    """Run until c fails."""
    async with Runtime(store, restarts=ONCE) as rt:
        with pytest.raises(RunFailed):
            await rt.run(graph, Trail(), id="r")


def newest_commit(files: Files) -> tuple[str, int]:
    """A file and an offset in the newest commit of its run."""
    name = files.names()[-1]
    return name, len(files.read(name)) - 40


async def test_a_repaired_run_goes_on_from_before_the_damage(store: str | Backend) -> None:
    """The damaged commit is passed over, what came before counts, and the bad file stays as it is."""
    ran: list[str] = []
    await fail(store, trail(ran))
    files = Files(store)
    files.spoil(*newest_commit(files))
    before = files.all()
    digest = digest_of(store)

    async with Runtime(store) as rt:
        with pytest.raises(CorruptCheckpoint):
            await rt.resume(trail(ran, fails=False), "r")
        seq = await rt.repair("r", skip=digest[:12], by="ada")
        result = await (await rt.resume(trail(ran, fails=False), "r")).result()
        told = [one.kind async for one in rt.get("r").views()]
        findings = await rt.verify("r")

    assert result.trace == ["a", "b", "c"]
    assert ran == ["a", "b", "c"]
    assert "repaired" in told
    assert b"repaired" in body_of(store, seq)
    assert [finding for finding in findings if finding.broken] == []
    assert {name: files.read(name) for name in before} == before


def body_of(store: str | Backend, seq: int) -> bytes:
    """What a commit of the run holds."""
    opened = open_store(store, readonly=True)
    try:
        return next(frame.body for frame in opened.log("r").read(first=0) if frame.header.seq == seq)
    finally:
        opened.close()


async def test_damage_has_to_be_named(store: str | Backend) -> None:
    """Without the digest of the very damage nothing is written: too short, wrong, or of a run that is sound."""
    await fail(store, trail([]))
    files = Files(store)
    async with Runtime(store) as rt:
        with pytest.raises(RunError, match="nothing to repair"):
            await rt.repair("r", skip="0" * 64)
        with pytest.raises(NoSuchRun):
            await rt.repair("missing", skip="0" * 64)
    files.spoil(*newest_commit(files))
    before, digest = files.all(), digest_of(store)

    async with Runtime(store) as rt:
        for wrong in ("", digest[:11], "0" * 64):
            with pytest.raises(RunError, match=digest):
                await rt.repair("r", skip=wrong)

    assert files.all() == before


async def test_planted_a_repair_without_a_name_would_give_up_what_nobody_saw(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: were any digest good enough, the empty one would be, and the refusals above could not fail."""
    monkeypatch.setattr(actorflow.runtime.repair, "NAMED", 0)
    await fail(store_url, trail([]))
    files = Files(store_url)
    files.spoil(*newest_commit(files))

    async with Runtime(store_url) as rt:
        await rt.repair("r", skip="")

    assert len(files.names()) == 2


async def test_every_commit_may_be_the_damaged_one(store: str | Backend) -> None:
    """Whichever it is, the run goes on from the one before it; where there is none, that is said."""
    await fail(store, trail([]))
    files = Files(store)
    places = places_in(store)
    whole = files.all()

    for index, (name, at) in enumerate(places):
        for other, data in whole.items():
            files.write(other, data)
        for extra in set(files.names()) - set(whole):
            remove(store, extra)
        files.spoil(name, at)
        digest = digest_of(store)
        async with Runtime(store, restarts=ONCE) as rt:
            if index == 0:
                with pytest.raises(RunError, match="backup"):
                    await rt.repair("r", skip=digest)
                continue
            await rt.repair("r", skip=digest)
            result = await (await rt.resume(trail([], fails=False), "r")).result()
            told = [one async for one in rt.get("r").views()]
        assert result.trace == ["a", "b", "c"]
        assert told[0].status == "finished"


def places_in(store: str | Backend) -> list[tuple[str, int]]:
    """A file and an offset inside each commit of the run."""
    opened = open_store(store, readonly=True)
    try:
        frames = opened.log("r").read(first=0)
        return [(frame.path, frame.offset + frame.size - 40) for frame in frames]
    finally:
        opened.close()


def remove(store: str | Backend, name: str) -> None:
    """Take away what a repair has put."""
    if isinstance(store, Backend):
        store.delete([name, *(key for key in store.list("runs/") if key.endswith(".floor"))])
    else:
        Path(name).unlink()


async def test_a_live_owner_is_not_passed_over(store_url: str) -> None:
    """As long as somebody owns the run nobody repairs it, not even in the same process."""
    graph, begun, held = chain("a"), anyio.Event(), anyio.Event()

    @graph.node(after="a")
    async def b(state: Trail) -> None:
        begun.set()
        await held.wait()

    files = Files(store_url)
    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph, Trail(), id="r")
        await begun.wait()
        name, at = newest_commit(files)
        files.spoil(name, at)
        digest = digest_of(store_url)
        async with Runtime(store_url) as other:
            with pytest.raises(RunOwned):
                await other.repair("r", skip=digest)
        with pytest.raises(RunOwned):
            await rt.repair("r", skip=digest)
        files.spoil(name, at)
        held.set()
        await run.result()


async def test_damage_below_the_newest_snapshot_keeps_nobody_from_going_on(store: str | Backend) -> None:
    """History can't be told any more, and verify says so; there is nothing to give up for that."""
    graph = Graph("long", Trail)

    @graph.node(entry=True)
    async def step(state: Trail) -> Update:
        return {"trace": Overwrite(["x" * 9000]), "n": state.n + 1}

    graph.branch(lambda state: "step" if state.n < 30 else END, after=step, to=("step", END))
    async with Runtime(store) as rt:
        await rt.run(graph, Trail(), id="r")
    files = Files(store)
    files.spoil(files.names()[0], 200)

    async with Runtime(store) as rt:
        assert (await rt.run(graph, None, id="r")).n == 30
        assert [finding.broken for finding in await rt.verify("r")][:1] == [True]
        with pytest.raises(RunError, match="nothing to repair"):
            await rt.repair("r", skip="0" * 64)


async def stalled_repaired_collected(bucket: MemoryBackend) -> Ownership:
    """An owner stalls and is taken for dead; its run is repaired, goes on, and is collected. It wakes up."""
    graph = counter(200)
    async with Runtime(bucket, recover="never", drain="park") as rt:
        await rt.spawn(graph, id="r")
    there = open_store(bucket)
    stalled = whole(claiming_run(there, graph, "r", Limits(migration_timeout=10, max_crashes=3), reopen=None)).ownership
    there.close()
    Files(bucket).spoil(stalled.path, -40)

    async with Runtime(bucket, recover="never") as rt:
        await rt.repair("r", skip=digest_of(bucket))
        await (await rt.resume(graph, "r")).result()
        await rt.gc(Retention(last=1))

    stalled._incarnation = MemoryIncarnation("memory://woken")
    return stalled


def next_of(owner: Ownership) -> Draft:
    """Something to commit."""
    header = owner.header
    return Draft(
        kind="commit",
        epoch=header.epoch,
        status=header.status,
        opening=header.opening,
        crashes=0,
        file=owner.file,
        body=b"too late",
    )


async def test_a_repair_fences_for_ever() -> None:
    """Its number never comes free: the owner whose run it was aims at just that one (guarantee 3)."""
    stalled = await stalled_repaired_collected(MemoryBackend())

    with pytest.raises(Fenced):
        stalled.commit(next_of(stalled))


async def test_planted_a_repair_whose_number_comes_free_lets_an_owner_back_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: only claims' numbers are kept. What the stalled owner commits is acknowledged, and in no history."""

    def only_claims(frame: Frame, releases: Collection[bytes]) -> bool:
        return frame.header.seq > 0 and (frame.header.kind != "claim" or frame.header.parent in releases)

    monkeypatch.setattr(merging, "freeable", only_claims)
    monkeypatch.setattr(pruning, "freeable", only_claims)
    bucket = MemoryBackend()
    stalled = await stalled_repaired_collected(bucket)

    stalled.commit(next_of(stalled))

    assert all(frame.body != b"too late" for frame in open_store(bucket).log("r").read(first=0))
