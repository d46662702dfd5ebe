"""Reading a local log while its owner goes on, and retention lets go of the file that was the newest a moment ago."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from actorflow.errors import CorruptCheckpoint
from actorflow.store.keys import checkpoint_name
from actorflow.store.store import open_store
from tests.store.drafts import ACTOR, claiming, draft, part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actorflow.store.ownership import Ownership
    from actorflow.store.store import Store


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """An open store."""
    store = open_store(store_url)
    yield store
    store.close()


@pytest.fixture
def owned(store: Store) -> Ownership:
    """Run r, with commits 0 to 2 in one file."""
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    for _ in range(2):
        owned.commit(draft("commit", 1, part(store)))
    return owned


def after_the_listing(monkeypatch: pytest.MonkeyPatch, store: Store, event: Callable[[], object]) -> None:
    """Have something happen once, between a listing of files and the reading of what was listed."""
    backend: Any = store.backend
    names, events = backend.names, [event]

    def names_and_then(prefix: str) -> set[str]:
        found: set[str] = names(prefix)
        if events:
            events.pop()()
        return found

    monkeypatch.setattr(backend, "names", names_and_then)


def goes_on_and_lets_go(store: Store, owned: Ownership) -> None:
    """A snapshot begins a new file, and the one before it becomes a stub."""
    snapshot = owned.commit(draft("commit", 1, part(store), b"snapshot", snapshot=True))
    store.log("r").let_go(snapshot.seq)


def test_the_newest_file_may_become_a_stub_before_it_is_read(
    store: Store, owned: Ownership, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is no damage: the files are listed again. It was found by the soak, as a run that was called corrupt."""
    after_the_listing(monkeypatch, store, lambda: goes_on_and_lets_go(store, owned))

    tip = store.log("r").tip()

    assert tip is not None
    assert tip.header.seq == 3


def test_a_history_may_become_a_stub_before_it_is_read(
    store: Store, owned: Ownership, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read is what is kept by then."""
    after_the_listing(monkeypatch, store, lambda: goes_on_and_lets_go(store, owned))

    assert [frame.body for frame in store.log("r").read(first=0)] == [b"snapshot"]


def test_two_may_let_go_of_the_same_files_at_once(
    store: Store, owned: Ownership, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes second finds stubs, also in the place of the file that proved the one before it."""
    owned.commit(draft("commit", 1, part(store), snapshot=True))
    newest = owned.commit(draft("commit", 1, part(store), b"snapshot", snapshot=True))
    log = store.log("r")
    backend: Any = store.backend
    get, events = backend.get, [lambda: log.let_go(newest.seq)]

    def get_and_then(key: str) -> bytes:
        data: bytes = get(key)
        if events:
            events.pop()()
        return data

    monkeypatch.setattr(backend, "get", get_and_then)

    freed = log.let_go(newest.seq)

    assert freed.floor == newest.seq
    assert [frame.body for frame in log.read(first=0)] == [b"snapshot"]


def test_a_stub_that_nothing_follows_is_damage(store: Store, owned: Ownership, store_url: str) -> None:
    """The file after it is gone: that is not an empty run, and not an outage (guarantee 7)."""
    goes_on_and_lets_go(store, owned)
    Path(store_url, "runs/r/log", checkpoint_name(3)).unlink()

    with pytest.raises(CorruptCheckpoint):
        store.log("r").tip()
