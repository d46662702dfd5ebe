"""Bad input, files: damage of any kind is named with its file, changes nothing, and stops no other run."""
# ruff: noqa: ASYNC240 - nothing else runs while a test looks at files

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from actorflow import Runtime
from actorflow.engine.fold import begin
from actorflow.engine.records import Body, Open, Spawned, encode_body
from actorflow.engine.snapshot import dump
from actorflow.errors import CorruptCheckpoint, ForeignStore, StoreMarkerMissing
from actorflow.runtime.replay import replay
from actorflow.store.memory import MemoryBackend
from actorflow.store.store import open_store
from tests.runtime.graphs import chain
from tests.runtime.scenes import ready, waiting
from tests.store.drafts import ACTOR, claiming, part

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST, SECOND = f"{0:020d}.ckpt", f"{3:020d}.ckpt"


async def leave_unfinished(store_url: str, run_id: str) -> Path:
    """A run that one runtime began and another took up, both left: its log has two files. Where they are."""
    for _ in range(2):
        try:
            async with Runtime(store_url, recover="never") as runtime:
                await (await runtime.spawn(waiting(_leave), id=run_id, on_conflict="attach")).result()
        except _Left:
            pass
    log = Path(store_url, "runs", run_id, "log")
    assert sorted(path.name for path in log.iterdir()) == [FIRST, SECOND]
    return log


class _Left(BaseException):
    """Leaves the runtime from inside a node, as Ctrl-C does."""


def _leave() -> None:
    raise _Left


def flip(path: Path, at: int) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def damaged_at_the_end(log: Path) -> str:
    """The newest commit."""
    flip(log / SECOND, -1)
    return SECOND


def damaged_in_the_middle(log: Path) -> str:
    """A commit in a file that a later one follows."""
    flip(log / FIRST, 150)
    return FIRST


def truncated(log: Path) -> str:
    """A file that a later one follows ends too early."""
    data = (log / FIRST).read_bytes()
    (log / FIRST).write_bytes(data[: len(data) // 2])
    return FIRST


def emptied(log: Path) -> str:
    """The newest file has nothing in it."""
    (log / SECOND).write_bytes(b"")
    return SECOND


def swapped(log: Path) -> str:
    """Two files of one run changed places."""
    first = (log / FIRST).read_bytes()
    (log / FIRST).write_bytes((log / SECOND).read_bytes())
    (log / SECOND).write_bytes(first)
    return SECOND


def of_another_run(log: Path) -> str:
    """The newest file is that of another run."""
    shutil.copy(log.parent.parent / "good" / "log" / SECOND, log / SECOND)
    return SECOND


def of_another_kind(log: Path) -> str:
    """Something that was never a checkpoint."""
    (log / SECOND).write_bytes(b"PK\x03\x04" + b"\0" * 4000)
    return SECOND


@pytest.mark.parametrize(
    "damage",
    [damaged_at_the_end, damaged_in_the_middle, truncated, emptied, swapped, of_another_run, of_another_kind],
)
async def test_a_damaged_run_is_set_aside_and_no_other(store_url: str, damage: Callable[[Path], str]) -> None:
    """Every way to it names the file; not a byte is written; listing, recovery and the other run go on."""
    await leave_unfinished(store_url, "good")
    log = await leave_unfinished(store_url, "bad")
    name = damage(log)
    before = {path: path.read_bytes() for path in log.iterdir()}

    async with Runtime(store_url, recover="never") as runtime:
        runtime.register(ready())
        for attempt in (
            lambda: runtime.run(ready(), id="bad"),
            lambda: runtime.resume(ready(), "bad"),
            lambda: runtime.spawn(ready(), id="bad", on_conflict="attach"),
            lambda: runtime.get("bad").state(),
            lambda: runtime.get("bad").cancel(),
        ):
            with pytest.raises(CorruptCheckpoint, match=name) as caught:
                await attempt()
            assert caught.value.path.endswith(f"bad/log/{name}")
            assert "left as it is" in str(caught.value)
        recovered = await runtime.recover()
        assert [run.id for run in recovered] == ["good"]
        assert (await recovered[0].result()).trace == ["first", "wait"]
        findings = [finding for finding in await runtime.verify() if finding.broken]
        assert [Path(finding.path).name for finding in findings] == [name]
        assert "backup" in findings[0].remedy
        assert {info.id for info in await runtime.runs()} == {"good", "bad"}

    assert {path: path.read_bytes() for path in log.iterdir()} == before


async def test_damage_is_healed_by_putting_the_file_back(store_url: str) -> None:
    """The verdict is one of reading, kept nowhere: the next look decides anew."""
    log = await leave_unfinished(store_url, "x")
    whole = (log / SECOND).read_bytes()
    flip(log / SECOND, 100)

    async with Runtime(store_url, recover="never") as runtime:
        with pytest.raises(CorruptCheckpoint):
            await runtime.run(ready(), id="x")
        (log / SECOND).write_bytes(whole)

        assert (await runtime.run(ready(), id="x")).trace == ["first", "wait"]


async def test_a_run_copied_in_from_another_store_does_not_belong(store_url: str, tmp_path: Path) -> None:
    """Its frames name the store that they are of."""
    other = str(tmp_path / "other")
    await leave_unfinished(other, "x")
    async with Runtime(store_url) as runtime:
        await runtime.run(chain("a"), id="y")
    shutil.copytree(Path(other, "runs", "x"), Path(store_url, "runs", "x"))

    async with Runtime(store_url) as runtime:
        with pytest.raises(CorruptCheckpoint, match="store"):
            await runtime.run(ready(), id="x")
        assert (await runtime.run(chain("a"), id="y")).trace == ["a"]


async def test_a_store_without_its_marker_is_not_touched(store_url: str) -> None:
    """Runs but no actorflow.json: somebody deletes files, and nothing is made of it."""
    await leave_unfinished(store_url, "x")
    marker = Path(store_url, "actorflow.json")
    kept = marker.read_bytes()
    marker.unlink()

    with pytest.raises(StoreMarkerMissing, match="put it back"):
        async with Runtime(store_url):
            pass

    assert not marker.exists()
    marker.write_bytes(kept)
    async with Runtime(store_url) as runtime:
        assert (await runtime.run(ready(), id="x")).trace == ["first", "wait"]


async def test_a_marker_that_is_not_ours_is_left_alone(store_url: str) -> None:
    """A folder that belongs to another program is refused before anything is written into it."""
    Path(store_url).mkdir()
    Path(store_url, "actorflow.json").write_text('{"what": "something else"}')

    with pytest.raises(ForeignStore, match="no marker of actorflow"):
        async with Runtime(store_url):
            pass

    assert [path.name for path in Path(store_url).iterdir() if path.name != "hosts"] == ["actorflow.json"]


DEEP = b"\x91" * 100_000 + b"\xc0"
"""A list in a list in a list..., deeper than any stack."""


@pytest.mark.parametrize("place", ["value", "snapshot"])
def test_what_is_nested_without_an_end_is_damage(place: str) -> None:
    """Behind a digest that is right: no actor wrote it, and who reads it neither falls over nor believes it.

    Planted: too deep for the stack is taken for a failure of this process, and every look at the store ends with it.
    """
    record = Spawned("r", 1, "g", b"", "sync", b"", {"trace": b"deep"}, (Open("a", b"key"),))
    spawned, snapshot, mark = encode_body(Body((record,))), dump(begin(record)), b"\xc4\x04deep"
    assert mark in spawned
    assert mark in snapshot
    body = {
        "value": spawned.replace(mark, DEEP),
        "snapshot": encode_body(Body((), snapshot.replace(mark, DEEP))),
    }[place]
    store = open_store(MemoryBackend())
    store.log("r").claim(claiming(part(store), body), actor=ACTOR).close()

    with pytest.raises(CorruptCheckpoint, match="makes no sense"):
        replay(store.log("r").read())
