"""The newest commit, found from one that was seen before: as it is now, at the cost of what is new."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from actorflow.errors import CorruptCheckpoint
from actorflow.store.chain import FileChain
from actorflow.store.framing import last_appended
from actorflow.store.keys import checkpoint_name
from actorflow.store.local import LocalBackend
from actorflow.store.log import Tip, tip_of
from actorflow.store.memory import MemoryBackend
from actorflow.store.observing import MetricsBackend
from actorflow.store.store import open_store
from tests.store.drafts import ACTOR, claiming, draft, part

if TYPE_CHECKING:
    from actorflow.store.store import Store

KINDS = pytest.mark.parametrize("kind", ["local", "memory", "bucket"])


def store_at(kind: str, url: str) -> Store:
    """A store of that kind."""
    return open_store(MemoryBackend() if kind == "bucket" else url if kind == "local" else "memory://")


def moments(store: Store) -> list[Tip]:
    """What is newest after each commit of a run: several files, owners, a file part of its own, and a release."""
    log, tips = store.log("r"), list[Tip]()

    def look() -> None:
        tip = log.tip()
        assert tip is not None
        tips.append(tip)

    for epoch in (1, 2):
        owned = log.claim(claiming(part(store)), actor=ACTOR)
        look()
        for seq in range(1, 7):
            snapshot = seq == 4
            version = 2 if epoch == 2 or snapshot or seq > 4 else 1
            owned.commit(draft("commit", epoch, part(store, version=version), b"%d" % seq, snapshot=snapshot))
            look()
        owned.commit(draft("release", epoch, part(store, version=2)))
        look()
        owned.close()
    return tips


@KINDS
def test_from_whatever_was_seen_the_newest_is_found(kind: str, store_url: str) -> None:
    """The same as without it: also over new files, claims and releases, and when retention let go of all before."""
    store = store_at(kind, store_url)
    log, tips = store.log("r"), moments(store)

    assert [log.tip(known=known) for known in tips] == [log.tip()] * 16
    log.let_go(tips[-1].header.snapshot)
    assert [log.tip(known=known) for known in tips] == [log.tip()] * 16
    store.close()


def test_in_a_folder_only_what_was_appended_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the file is; and nothing at all if nothing was."""
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    owned.commit(draft("commit", 1, part(store), bytes(100_000)))
    before, sizes = store.log("r").tip(), list[int]()
    get_from = LocalBackend.get_from

    def measured(self: LocalBackend, key: str, start: int) -> bytes | None:
        data = get_from(self, key, start)
        sizes.append(0 if data is None else len(data))
        return data

    monkeypatch.setattr(LocalBackend, "get_from", measured)
    monkeypatch.setattr(LocalBackend, "get", lambda *_: pytest.fail("the whole file was read"))
    nothing = store.log("r").tip(known=before)
    owned.commit(draft("commit", 1, part(store), b"more"))
    more = store.log("r").tip(known=before)

    assert before is not None
    assert more is not None
    assert nothing is before
    assert more.header == owned.header
    assert sizes == [0, more.end - before.end]


def test_in_a_bucket_nothing_is_read_but_a_newer_commit() -> None:
    """One listing, and one object if there is one."""
    backend = MetricsBackend(MemoryBackend())
    store = open_store(backend)
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    known = store.log("r").tip()

    def asked() -> tuple[int, int]:
        calls = backend.statistics()
        return calls["list"].calls, calls["get"].calls

    lists, gets = asked()
    store.log("r").tip(known=known)
    assert asked() == (lists + 1, gets)
    owned.commit(draft("commit", 1, part(store)))
    store.log("r").tip(known=known)
    assert asked() == (lists + 2, gets + 1)
    store.close()


def test_a_listing_that_is_behind_takes_nobody_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was seen was there, whatever a listing shows by now."""
    backend = MemoryBackend()
    store = open_store(backend)
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    owned.commit(draft("commit", 1, part(store)))
    known, there = store.log("r").tip(), backend.list("runs/")

    monkeypatch.setattr(backend, "list", lambda prefix: [key for key in there if not key.endswith("1.ckpt")])

    assert store.log("r").tip(known=known) == known
    store.close()


def appended(store: Store) -> tuple[Tip, Path, int]:
    """What was seen before the last of two commits; the file, and where that last one begins."""
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    known = store.log("r").tip()
    owned.commit(draft("commit", 1, part(store), b"first"))
    between = store.log("r").tip()
    owned.commit(draft("commit", 1, part(store), b"second"))
    assert known is not None
    assert between is not None
    return known, Path(store.url) / "runs/r/log" / checkpoint_name(0), between.end


def test_what_is_torn_is_not_there_yet(store: Store) -> None:
    """Cut anywhere, the newest is the one before."""
    known, file, start = appended(store)
    data = file.read_bytes()

    for size in range(start, len(data), 7):
        file.write_bytes(data[:size])
        tip = store.log("r").tip(known=known)
        assert tip is not None
        assert tip.header.seq == 1


def test_what_is_damaged_is_told(store: Store) -> None:
    """Any changed byte after what was seen is found, as by who reads the whole file (guarantee 7)."""
    known, file, start = appended(store)
    data = file.read_bytes()

    for at in range(known.end, len(data), 23):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(CorruptCheckpoint):
            store.log("r").tip(known=known)
    assert start > known.end


def test_what_does_not_continue_what_was_seen_is_not_believed(store: Store) -> None:
    """Another history may stand there: each frame is compared with the one before it, the first with what was seen."""
    known, file, _ = appended(store)
    data = file.read_bytes()[known.end :]

    for changed in ({"digest": bytes(32)}, {"header": msgspec.structs.replace(known.header, seq=7)}):
        with pytest.raises(CorruptCheckpoint, match="does not continue"):
            last_appended(data, "r", known=msgspec.structs.replace(known, **changed))
    whole = last_appended(data, "r", known=known)
    assert whole is not None
    assert whole.header.seq == 2


def test_planted_a_file_that_is_believed_to_be_the_newest_is_found(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: nobody looks whether there is another file by now."""

    def follow(self: FileChain, known: Tip) -> Tip | None:
        first = int(Path(known.path).stem)
        data = self.backend.get_from(self.key(first), known.end)
        frame = None if data is None else last_appended(data, known.path, known=known)
        return known if frame is None else tip_of(frame)

    tips = moments(store)
    monkeypatch.setattr(FileChain, "follow", follow)

    assert [store.log("r").tip(known=known) for known in tips] != [store.log("r").tip()] * 16


def test_a_file_that_became_a_stub_is_not_followed(store: Store) -> None:
    """Retention has put it there since, and the run has gone on elsewhere."""
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    known = store.log("r").tip()
    owned.commit(draft("commit", 1, part(store), snapshot=True))
    store.log("r").let_go(1)

    tip = store.log("r").tip(known=known)

    assert tip is not None
    assert tip.header == owned.header
