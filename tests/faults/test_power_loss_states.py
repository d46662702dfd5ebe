"""Power loss at any moment: in every legal state of the disk, what was acknowledged is there, and the run goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from actorflow.errors import StoreError
from actorflow.store import chain
from actorflow.store.append_log import AppendLog
from actorflow.store.keys import log_prefix
from actorflow.store.local import LocalBackend
from actorflow.store.store import open_store
from actorflow.store.syncing import FolderSyncs
from tests.faults.power import Recorder, build, crash_states
from tests.store.drafts import ACTOR, claiming, draft, part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actorflow.store.ownership import Ownership
    from actorflow.store.store import Store


def life(store: Store, record: Recorder) -> None:
    """A run that is begun, goes on, gets a new file, is handed over in order, and ends."""
    store.markers.put_active("r", 1)
    owned = claim(store, record)
    commit(store, owned, record)
    commit(store, owned, record, snapshot=True)
    commit(store, owned, record)
    owned.close()
    owned = claim(store, record)
    commit(store, owned, record)
    owned.commit(draft("release", owned.header.epoch, part(store), status="finished"))
    record.note((owned.header.seq, owned.header.nonce))


def takeover(store: Store, record: Recorder) -> None:
    """A process is killed between write and sync; the next one finds its frame in the page cache, and builds on it."""
    owned = claim(store, record)
    commit(store, owned, record)
    next(owned.committing(draft("commit", 1, part(store), b"written, never synced")))
    store.incarnation._abandon()  # killed: the kernel frees its lock, and that is all
    heir = open_store(store.url)
    commit(heir, claim(heir, record), record)


def stillborn(store: Store, record: Recorder) -> None:
    """A process is killed when its claim has a name, and nobody synced the folder; the next one builds on that."""
    claiming_it = store.log("r").claiming(claiming(part(store)), actor=ACTOR)
    while not any((Path(store.url) / log_prefix("r")).glob("*")):
        next(claiming_it)
    store.incarnation._abandon()
    heir = open_store(store.url)
    commit(heir, claim(heir, record), record)


def second(store: Store, record: Recorder) -> None:
    """A run that begins in folders which this process has synced for another one."""
    store.log("q").claim(claiming(part(store, "q")), actor=ACTOR)
    commit(store, claim(store, record), record)


def sync_fails(store: Store, record: Recorder) -> None:
    """A commit whose sync failed is made durable in a new file."""
    owned = claim(store, record)
    commit(store, owned, record)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalBackend, "fdatasync", fail)
        commit(store, owned, record)
    commit(store, owned, record)


SCENARIOS: dict[str, Callable[[Store, Recorder], None]] = {
    "life": life,
    "takeover": takeover,
    "stillborn": stillborn,
    "second": second,
    "a sync fails": sync_fails,
}
PLANTED: dict[str, tuple[str, list[tuple[Any, str, Any]]]] = {
    "files are not synced": ("life", [(LocalBackend, "fsync", lambda *args: None)]),
    "appends are not synced": ("life", [(LocalBackend, "fdatasync", lambda *args: None)]),
    "new folders are not synced": ("life", [(LocalBackend, "_settle", lambda *args: None)]),
    "a sync that began before is relied on": (
        "second",
        [(FolderSyncs, "survives", lambda self, folder, made: folder in self._synced)],
    ),
    "every file is taken for one that was appended to": (
        "stillborn",
        [(AppendLog, "_secure", lambda self, fd, tip: self._backend.note_lasting(self._chain.prefix))],
    ),
    "what a claim is built on is neither synced nor read from the claim's copy": (
        "takeover",
        [
            (AppendLog, "_secure", lambda *args: None),
            (chain, "_parted", lambda frames, first: (None, [one for one in frames if one.header.seq >= first])),
        ],
    ),
}
"""Scenario and patches. Of the two of the last either one is enough: a claim takes both precautions."""


def fail(self: LocalBackend, fd: int) -> None:
    """A disk that can't write."""
    raise OSError(5, "Input/output error")


def claim(store: Store, record: Recorder) -> Ownership:
    """Claim run r, and note the acknowledgement."""
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    record.note((owned.header.seq, owned.header.nonce))
    return owned


def commit(store: Store, owned: Ownership, record: Recorder, *, snapshot: bool = False) -> None:
    """Commit, and note the acknowledgement."""
    header = owned.commit(draft("commit", owned.header.epoch, part(store), b"x" * 200, snapshot=snapshot))
    record.note((header.seq, header.nonce))


def after_each_cut(scenario: str, place: Path) -> Iterator[list[str]]:
    """What is wrong in each state in which a power loss may leave the disk."""
    root, copy = place / "store", place / "after"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        record = Recorder(root, patch)
        SCENARIOS[scenario](open_store(root), record)
    with pytest.MonkeyPatch.context() as patch:
        for sync in ("fsync", "fdatasync"):  # no second power loss
            patch.setattr(LocalBackend, sync, lambda self, fd: None)
        for tree, acknowledged in crash_states(record.history):
            build(tree, copy)
            try:
                yield wrong(str(copy), dict(acknowledged))
            except StoreError as error:
                yield [str(error)]
            shutil.rmtree(copy)


def wrong(url: str, acknowledged: dict[int, bytes]) -> list[str]:
    """What of this is not there, or can't be gone on with."""
    store = open_store(url)
    try:
        owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
        owned.commit(draft("commit", owned.header.epoch, part(store), b"again"))
        owned.close()
        there = {frame.header.seq: frame.header.nonce for frame in store.log("r").read(first=0)}
        return [f"commit {seq} is lost" for seq, nonce in acknowledged.items() if there.get(seq) != nonce]
    finally:
        store.close()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_was_acknowledged_survives_in_every_state_of_the_disk(scenario: str, tmp_path: Path) -> None:
    """And anybody can claim the run and go on, whatever was lost of what nobody was told."""
    found = list(after_each_cut(scenario, tmp_path))

    assert found == [[]] * len(found)
    assert len(found) > 100


@pytest.mark.parametrize("bug", PLANTED)
def test_a_sync_that_is_left_out_is_found(bug: str, tmp_path: Path) -> None:
    """Planted: without it there is a state of the disk in which something acknowledged is gone."""
    scenario, patches = PLANTED[bug]
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, instead in patches:
            patch.setattr(owner, name, instead)

        assert any(after_each_cut(scenario, tmp_path))
