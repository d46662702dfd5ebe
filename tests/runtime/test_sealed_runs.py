"""Sealed runs: nothing of a state is in a store's files, they go on as others do, and move to a new key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import pytest

from actorflow import Graph, RestartPolicy, Runtime, State, Update, extend
from actorflow.errors import MissingKey, NoSuchRun, RunFailed
from actorflow.runtime import rekeying
from actorflow.runtime.large import Splitter
from actorflow.runtime.rekeying import _claim_draft, rekey_run, rekey_store
from actorflow.runtime.replay import replay
from actorflow.store.keyring import Keyring
from actorflow.store.sealing import Sealing
from actorflow.store.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from actorflow.store.store import Store

OLD = Sealing("sealed", keys=Keyring({"old": b"o" * 32}), compress="zstd")
BOTH = Sealing("sealed", keys=Keyring({"new": b"n" * 32, "old": b"o" * 32}), compress="zstd")
NEW = Sealing("sealed", keys=Keyring({"new": b"n" * 32}))
SECRET = "attack at dawn "


class Plan(State, version=1):
    """A state that nobody else should see."""

    order: str = SECRET
    large: str = ""
    log: Annotated[list[str], extend] = []


def plan(*, broken: bool = False) -> Graph[Plan]:
    """Draw up, then carry out, which fails if it is ``broken``."""
    graph = Graph("plan", Plan)

    @graph.node
    async def draw_up(state: Plan) -> Update:
        return {"log": [SECRET + "and tell nobody"], "large": SECRET * 30_000}

    @graph.node(after=draw_up)
    async def carry_out(state: Plan) -> Update:
        if broken:
            raise ValueError(SECRET + "is off")
        return {"log": ["done"]}

    return graph


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of each kind of log."""
    return str(tmp_path / "store") if request.param == "local" else f"memory://{tmp_path.name}"


@pytest.fixture
def keep(url: str) -> Iterator[Store]:
    """The store stays, also in memory, as long as somebody has it open."""
    store = open_store(url, sealing=OLD)
    yield store
    store.close()


def stored(store: Store) -> bytes:
    """Every byte of it, and every name."""
    return b"".join(key.encode() + store.backend.get(key) for key in store.backend.list(""))


async def failed_run(url: str) -> None:
    """Run r, failed in its second node, under the old key."""
    async with Runtime(url, sealing=OLD, restarts=RestartPolicy(max_restarts=0)) as rt:
        with pytest.raises(RunFailed):
            await rt.run(plan(broken=True), id="r")


async def test_nothing_of_a_state_is_in_the_files(keep: Store, url: str) -> None:
    """Values, large values and error texts are sealed; the run is resumed and ends as any other."""
    await failed_run(url)

    async with Runtime(url, sealing=OLD) as rt:
        state = await rt.run(plan(), id="r")

    assert state.log == [SECRET + "and tell nobody", "done"]
    assert SECRET.encode() not in stored(keep)


async def test_without_the_key_runs_are_listed_and_left_alone(keep: Store, url: str) -> None:
    """What is in headers can be seen; going on is refused by the key's name, and nothing is written."""
    await failed_run(url)
    before = {key: keep.backend.get(key) for key in keep.backend.list("runs/")}

    async with Runtime(url) as rt:
        listed = {info.id: info.status for info in await rt.runs()}
        for attempt in (lambda: rt.resume(plan(), "r"), lambda: rt.run(plan(), id="r"), rt.get("r").state):
            with pytest.raises(MissingKey, match="key 'old'"):
                await attempt()

    assert listed == {"r": "failed"}
    assert {key: keep.backend.get(key) for key in keep.backend.list("runs/")} == before


async def test_a_rekeyed_run_goes_on_without_the_old_key(keep: Store, url: str) -> None:
    """State, status and large values are under the new key; the history still needs the old one."""
    await failed_run(url)
    store = open_store(url, sealing=BOTH)

    header = rekey_run(store, "r")
    store.close()

    assert (header.status, header.kind, header.opening) == ("failed", "release", 1)
    async with Runtime(url, sealing=NEW) as rt:
        history = rt.get("r").views()
        with pytest.raises(MissingKey, match="key 'old'"):
            [checkpoint async for checkpoint in history]
        assert (await rt.run(plan(), id="r")).large == SECRET * 30_000
    assert SECRET.encode() not in stored(keep)


async def test_history_needs_no_key_and_states_do(keep: Store, url: str) -> None:
    """Headers are not encrypted: who may read the files may know when what ran, and nothing of what it did."""
    await failed_run(url)

    async with Runtime(url) as rt:
        assert {one.node async for one in rt.get("r").history()} == {None, "draw_up"}
        with pytest.raises(MissingKey, match="key 'old'"):
            await rt.get("r").at(0)


async def test_the_archive_of_a_sealed_store_is_sealed(keep: Store, url: str) -> None:
    """Under the same keys, large values included, without anybody having to say so."""
    await failed_run(url)
    archive = open_store(f"{url}/archive", sealing=OLD)  # a store in memory stays as long as it is open

    async with Runtime(url, sealing=OLD) as rt:
        await rt.archive("r")
    async with Runtime(f"{url}/archive", sealing=OLD) as over:
        assert (await over.get("r@1").at()).values["large"] == SECRET * 30_000
        assert await over.verify() == []

    assert SECRET.encode() not in stored(archive)
    assert b"draw_up" in stored(archive)
    archive.close()


async def test_a_whole_store_is_rekeyed_and_a_second_time_only_what_needs_it(keep: Store, url: str) -> None:
    """Ended runs, too. What a live actor owns is left, and said."""
    small = Graph("small", Plan)

    @small.node
    async def nothing(state: Plan) -> Update:
        return {}

    async with Runtime(url, sealing=OLD) as rt:
        for name in ("one", "two"):
            await rt.run(small, id=name)
    owner, store = open_store(url, sealing=OLD), open_store(url, sealing=BOTH)
    owned = owner.log("two").claim(lambda tip: _claim_draft(owner, tip), actor=b"actor")  # type: ignore[arg-type]

    first = rekey_store(store)
    owned.close()
    owner.close()
    second = rekey_store(store)
    third = rekey_store(store)

    assert first.done == ("one",)
    assert list(first.left) == ["two"]
    assert "owned" in first.left["two"]
    assert (second.done, second.fresh, second.left) == (("two",), ("one",), {})
    assert (third.done, third.fresh) == ((), ("one", "two"))
    store.close()
    async with Runtime(url, sealing=NEW, graphs=[small]) as rt:
        assert {info.status for info in await rt.runs()} == {"finished"}
        assert (await rt.get("two").state()).order == SECRET


async def test_a_rekeying_that_died_halfway_is_done_again(keep: Store, url: str) -> None:
    """Between its claim and its snapshot the run is as it was, only claimed once more."""
    await failed_run(url)
    store = open_store(url, sealing=BOTH)
    store.log("r").claim(lambda tip: _claim_draft(store, tip), actor=b"actor").close()  # type: ignore[arg-type]

    header = rekey_run(store, "r")

    assert (header.status, header.epoch, header.crashes) == ("failed", 3, 0)
    with pytest.raises(NoSuchRun):
        rekey_run(store, "another")
    store.close()


async def test_a_snapshot_with_the_old_large_values_would_need_the_old_key(
    keep: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: a rekeying that refers to the blobs that are there, and the run can't go on under the new key alone."""
    await failed_run(url)
    store = open_store(url, sealing=BOTH)
    joiner = rekeying.Joiner(store.blobs("r"))
    replay(store.log("r").read(), joiner)
    monkeypatch.setattr(
        rekeying, "Splitter", lambda blobs, *, epoch, known: Splitter(blobs, epoch=epoch, known=joiner.known)
    )

    rekey_run(store, "r")
    store.close()

    async with Runtime(url, sealing=NEW) as rt:
        with pytest.raises(MissingKey, match="key 'old'"):
            await rt.run(plan(), id="r")


async def test_a_runtime_rekeys_one_run_or_all(url: str) -> None:
    """What became of each is told; from then on the old key is not needed."""
    async with Runtime(url, sealing=OLD) as rt:
        for name in ("a", "b"):
            await rt.run(plan(), Plan(), id=name)
    async with Runtime(url, sealing=BOTH) as rt:
        assert (await rt.rekey("a")).done == ("a",)
        assert {"b"} <= {*(await rt.rekey()).done}
        with pytest.raises(NoSuchRun):
            await rt.rekey("c")
    async with Runtime(url, sealing=NEW) as rt:
        rt.register(plan())
        for name in ("a", "b"):
            assert (await rt.get(name).state()).log == [SECRET + "and tell nobody", "done"]
