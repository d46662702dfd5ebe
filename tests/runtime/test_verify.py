"""`verify` finds what leads nowhere and what nothing leads to; its repair rights the index and touches no commit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

import actorflow.runtime.deletion
import actorflow.runtime.inspection
from actorflow import END, Graph, RestartPolicy, Runtime, Update
from actorflow.errors import RunFailed, StoreDenied, StoreFull
from actorflow.runtime.deletion import delete_run
from actorflow.store.backend import Backend
from actorflow.store.inbox import Inbox
from actorflow.store.keys import active_key, dead_key, inbox_key
from actorflow.store.memory import MemoryBackend
from actorflow.store.messages import Message
from actorflow.store.store import open_store
from actorflow.store.wrappers import WrappedBackend
from tests.runtime.graphs import Trail, chain

if TYPE_CHECKING:
    from actorflow.store.verify import Finding


DIES = """
import os, signal, sys
from actorflow.store.store import open_store
store = open_store(sys.argv[1])
open(f"{store.backend.root}/.tmp-{store.backend.mark}-9", "w").close()
os.kill(os.getpid(), signal.SIGKILL)
"""


class Keys:
    """What is stored, in either kind of store."""

    def __init__(self, store: str | Backend) -> None:
        self.store = store

    def all(self) -> dict[str, bytes]:
        return {key: self.get(key) for key in self.below("") if not key.startswith("hosts/")}

    def below(self, prefix: str) -> list[str]:
        if isinstance(self.store, Backend):
            return self.store.list(prefix)
        return sorted(str(p.relative_to(self.store)) for p in Path(self.store, prefix).rglob("*") if p.is_file())

    def get(self, key: str) -> bytes:
        return self.store.get(key) if isinstance(self.store, Backend) else Path(self.store, key).read_bytes()

    def put(self, key: str, data: bytes) -> None:
        if isinstance(self.store, Backend):
            self.store.delete([key])
            self.store.put_new(key, data)
        else:
            Path(self.store, key).parent.mkdir(parents=True, exist_ok=True)
            Path(self.store, key).write_bytes(data)

    def drop(self, prefix: str) -> None:
        for key in self.below(prefix):
            if isinstance(self.store, Backend):
                self.store.delete([key])
            else:
                Path(self.store, key).unlink()


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, store_url: str) -> str | Backend:
    """One whose files grow, or one with an object per commit."""
    return store_url if request.param == "folder" else MemoryBackend()


async def finish(store: str | Backend, run_id: str = "r") -> None:
    """A run that has ended well."""
    async with Runtime(store) as rt:
        await rt.run(chain("a"), Trail(), id=run_id)


def with_a_bit_turned(data: bytes) -> bytes:
    """Damaged at its end, whatever it ends with."""
    return data[:-1] + bytes([data[-1] ^ 1])


async def leave_open(store: str | Backend) -> None:
    """A run that is let go of before its end."""
    graph, begun = chain("a"), anyio.Event()

    @graph.node(after="a")
    async def b(state: Trail) -> Update:
        begun.set()
        await anyio.sleep_forever()
        return {}

    with anyio.CancelScope() as scope:
        async with Runtime(store) as rt:
            await rt.spawn(graph, Trail(), id="r")
            await begun.wait()
            scope.cancel()
            await anyio.sleep_forever()


async def looked(store: str | Backend, *, repair: bool = False) -> list[Finding]:
    """What verify finds."""
    async with Runtime(store, recover="never", readonly=not repair) as rt:
        return await rt.verify(repair=repair)


async def test_a_sound_store_has_nothing_to_tell(store: str | Backend) -> None:
    """Runs that ended, failed, were let go of, or are alive: all as it should be."""
    await finish(store, "ended")
    await leave_open(store)
    graph = chain("a")

    @graph.node(after="a")
    async def b(state: Trail) -> None:
        raise ValueError

    async with Runtime(store, restarts=RestartPolicy(max_restarts=0), recover="never") as rt:
        with pytest.raises(RunFailed):
            await rt.run(graph, Trail(), id="failed")
        assert await rt.verify() == []

    assert await looked(store) == []


async def test_a_missing_summary_is_put_again(store: str | Backend) -> None:
    """A listing shows the run again, as it ended."""
    await finish(store)
    before = await listed(store)
    Keys(store).drop("ended/")

    missing = await listed(store)
    [finding] = await looked(store)
    [repaired] = await looked(store, repair=True)

    assert missing == []
    assert (finding.repairable, finding.repaired, finding.broken) == (True, False, False)
    assert repaired.repaired
    assert await listed(store) == before
    assert await looked(store) == []


async def listed(store: str | Backend) -> list[tuple[object, ...]]:
    """A listing."""
    async with Runtime(store, recover="never") as rt:
        return [(one.id, one.status, one.node, one.seq, one.updated) for one in await rt.runs()]


async def test_an_unfinished_run_without_a_marker_is_marked_again(store: str | Backend) -> None:
    """Without it nobody would ever recover the run."""
    await leave_open(store)
    Keys(store).drop("active/")

    found = await looked(store)
    await looked(store, repair=True)

    assert ["no marker leads to it" in one.what for one in found] == [True]
    assert [one[:2] for one in await listed(store)] == [("r", "running")]
    assert await looked(store) == []


async def test_an_ended_run_with_a_marker_is_told_and_cleared(store: str | Backend) -> None:
    """As after the death of its owner between the last commit and the deletion."""
    await leave_open(store)
    markers = {key: Keys(store).get(key) for key in Keys(store).below("active/")}
    async with Runtime(store, recover="never") as rt:
        await rt.get("r").cancel()
    Keys(store).drop("ended/")
    for key, data in markers.items():
        Keys(store).put(key, data)

    found = await looked(store)
    await looked(store, repair=True)

    assert ["a marker still leads to it" in one.what for one in found] == [True]
    assert Keys(store).below("active/") == []
    assert [one[:2] for one in await listed(store)] == [("r", "cancelled")]


async def test_a_marker_without_its_commit_stays(store: str | Backend) -> None:
    """Whoever was to commit may only be slow: it is told, and not even repair takes it away."""
    await finish(store)
    async with Runtime(store, recover="never") as rt:
        await rt.get("r").status()
    Keys(store).put("active/00/r.7", b"")
    Keys(store).put("active/00/never.1", b"")

    found = await looked(store, repair=True)

    assert {one.what for one in found} == {"opening 7 was never committed", "opening 1 was never committed"}
    assert not any(one.repairable or one.repaired for one in found)
    assert Keys(store).below("active/") == ["active/00/never.1", "active/00/r.7"]


async def test_a_marker_of_an_opening_that_is_over_is_told_and_cleared(store: str | Backend) -> None:
    """The run was reopened since, so it leads nowhere: whoever was to drop it died first."""
    await finish(store)
    async with Runtime(store) as rt:
        await (await rt.resume(chain("a", "b"), "r")).result()
    Keys(store).put(active_key("r", 1), b"")

    [finding] = await looked(store)
    [repaired] = await looked(store, repair=True)

    assert finding.what == "opening 1 is over, the run is at opening 2"
    assert (finding.path, finding.repairable, repaired.repaired) == (active_key("r", 1), True, True)
    assert await looked(store) == []


async def test_a_deletion_that_was_cut_off_is_told_and_finished(store: str | Backend) -> None:
    """By repair, as by the scan: what the dead deleter left of the run goes, and nothing is told any more."""
    await finish(store)
    opened = open_store(store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(actorflow.runtime.deletion, "clear_away", lambda *_: None)
        delete_run(opened, "r", by=None)
    opened.close()

    [finding] = await looked(store)
    [repaired] = await looked(store, repair=True)

    assert (finding.repairable, finding.repaired, repaired.repaired) == (True, False, True)
    assert "was cut off" in finding.what
    assert Keys(store).below("active/") == Keys(store).below("ended/") == []
    assert await looked(store) == []


async def test_a_copy_that_was_cut_off_is_told(store: str | Backend) -> None:
    """With the way to finish it, which is not to repair it: what is missing is in the other store."""

    class Stopping(WrappedBackend):
        def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
            if key.endswith("2.ckpt"):
                raise StoreFull(key, "on purpose")
            return super().put_new(key, data, durable=durable)

    async with Runtime(store) as rt:
        await rt.run(chain("a", "b", "c"), Trail(), id="r")
        bucket = MemoryBackend()
        with pytest.raises(StoreFull):
            await rt.export("r", Stopping(bucket))
    before = Keys(bucket).all()

    [finding] = await looked(bucket, repair=True)

    assert (finding.what, finding.repairable) == ("its import has not ended", False)
    assert "import the run again" in finding.remedy
    assert Keys(bucket).all() == before


async def test_summaries_that_lead_nowhere_go(store: str | Backend) -> None:
    """Damaged ones, and those of runs that are not there; what they said is in the commits."""
    await finish(store)
    [good] = Keys(store).below("ended/")
    Keys(store).put(good.replace("-r", "-gone"), Keys(store).get(good))
    Keys(store).put(good, b"damaged")

    found = await looked(store, repair=True)

    assert len([one for one in found if one.repaired]) == 3
    assert [one[:2] for one in await listed(store)] == [("r", "finished")]
    assert await looked(store) == []


async def test_repair_leaves_every_commit_as_it_is(store: str | Backend) -> None:
    """Damage is told with a way out, and nothing of it is touched by this repair."""
    await finish(store)
    keys = Keys(store)
    key = keys.below("runs/")[-1]
    data = bytearray(keys.get(key))
    data[-40] ^= 1
    keys.put(key, bytes(data))
    before = keys.all()

    [finding] = await looked(store, repair=True)

    assert finding.broken
    assert not finding.repaired
    assert "--skip" in finding.remedy
    assert keys.all() == before


async def test_large_values_are_verified(store: str | Backend) -> None:
    """One that is damaged breaks the run; one that nothing refers to is told."""
    async with Runtime(store) as rt:
        await rt.run(chain("a"), Trail(trace=["x" * 1_000_000]), id="r")
    keys = Keys(store)
    [blob] = [key for key in keys.below("runs/") if "/blobs/" in key]
    whole = keys.get(blob)
    digest, epoch, _ = blob.rsplit(".", 2)
    keys.put(f"{digest}.{epoch}.{9:020d}", whole)
    lonely = await looked(store)
    keys.put(blob, with_a_bit_turned(whole))

    damaged = await looked(store)

    assert [(one.broken, one.what) for one in lonely] == [(False, "a large value that no commit refers to")]
    assert [one.broken for one in damaged if one.path == blob] == [True]


def message(number: int) -> Message:
    """One of a lane."""
    return Message(
        run_id="r", sender="s", generation=1, number=number, caller=None, type="t", version=1, time=1.0, body=b"x"
    )


async def test_messages_that_can_not_be_taken_are_told(store: str | Backend) -> None:
    """A damaged one, a damaged dead letter, and what is no message at all; whole ones are nothing to tell."""
    await finish(store)
    opened = open_store(store)
    inbox = Inbox(opened.backend, store=opened.uuid)
    sent = [message(number) for number in (1, 2, 3)]
    for one in sent:
        inbox.send(one)
    inbox.bury(sent[2].letter, reason="refused", detail="on purpose", now=1.0)
    opened.close()
    sound = await looked(store)
    keys = Keys(store)
    for damaged in (inbox_key(sent[0].letter), dead_key(sent[2].letter)):
        keys.put(damaged, with_a_bit_turned(keys.get(damaged)))
    keys.put("inbox/00/stranger", b"")

    found = await looked(store)

    assert sound == []
    assert {one.path for one in found} == {inbox_key(sent[0].letter), dead_key(sent[2].letter), "inbox/00/stranger"}
    assert not any(one.broken for one in found)


async def test_a_claim_that_came_too_late_is_told_as_a_stray() -> None:
    """On the object log a number that retention freed may be taken by a claim that nobody was told of."""
    bucket = MemoryBackend()
    graph = Graph("long", Trail)

    @graph.node(entry=True)
    async def step(state: Trail) -> Update:
        return {"n": state.n + 1}

    graph.branch(lambda state: "step" if state.n < 400 else END, after=step, to=("step", END))
    async with Runtime(bucket) as rt:
        await rt.run(graph, Trail(), id="r")
    sound = await looked(bucket)
    [merged, *_] = [key for key in bucket.list("runs/") if "-" in key.rpartition("/")[2]]
    first = int(merged.rpartition("/")[2].partition("-")[0])
    stray = merged.rpartition("/")[0] + f"/{first + 3:020d}.ckpt"
    other = next(key for key in bucket.list("runs/") if key.endswith(".ckpt") and "-" not in key.rpartition("/")[2])
    bucket.put_new(stray, bucket.get(other))

    found = await looked(bucket)

    assert sound == []
    assert [one.path for one in found] == [stray]


async def test_who_only_looks_repairs_nothing(store: str | Backend) -> None:
    """A readonly runtime refuses."""
    await finish(store)

    async with Runtime(store, readonly=True) as rt:
        with pytest.raises(StoreDenied):
            await rt.verify(repair=True)


async def test_what_the_dead_left_is_told(store_url: str) -> None:
    """A temporary file of a process that was killed while it wrote; the next opening would clear it away."""
    await finish(store_url)
    died = await anyio.run_process([sys.executable, "-c", DIES, store_url], check=False)

    found = await looked(store_url)

    assert died.returncode == -9
    assert [one.what for one in found] == ["a temporary file of a process that is gone"]


async def test_planted_a_check_of_the_index_that_never_looks_finds_nothing(
    store: str | Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: with an index that is always taken for right, the missing marker above would go unnoticed."""
    await leave_open(store)
    Keys(store).drop("active/")
    monkeypatch.setattr(actorflow.runtime.inspection, "_is_right", lambda *_: True)

    assert await looked(store) == []


async def test_a_listing_says_which_runs_nobody_has(store_url: str) -> None:
    """A live owner is told from one that let go, and one that has ended needs none."""
    await leave_open(store_url)
    await finish(store_url, "over")
    graph, begun = chain("a"), anyio.Event()

    @graph.node(after="a")
    async def b(state: Trail) -> None:
        begun.set()
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        async with Runtime(store_url, recover="never") as rt:
            await rt.spawn(graph, Trail(), id="alive")
            await begun.wait()
            async with Runtime(store_url, readonly=True) as other:
                owned = {info.id: info.owned for info in await other.runs()}
            scope.cancel()
            await anyio.sleep_forever()

    assert owned == {"r": False, "over": False, "alive": True}
