"""Opening a store: which places are taken, which are refused, and what the refusal says."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from actorflow.errors import (
    BadStoreUrl,
    CorruptCheckpoint,
    ForeignStore,
    StoreError,
    StoreMarkerMissing,
    UnsafeStore,
)
from actorflow.store import filesystem
from actorflow.store.filesystem import check_filesystem, filesystem_of, probe
from actorflow.store.store import open_store
from tests.store.children import run
from tests.store.drafts import ACTOR, claiming, part

if TYPE_CHECKING:
    from actorflow.store.store import Store


def test_a_store_is_made_where_there_is_none(tmp_path: Path) -> None:
    """With the folders above it; opened again it is the same store."""
    place = tmp_path / "a" / "b"

    first = open_store(place)
    first.close()
    second = open_store(f"file://{place}")

    assert second.uuid == first.uuid
    assert second.url == first.url == str(place)
    assert (place.stat().st_mode & 0o777) == 0o700
    second.close()


def test_a_closed_store_leaves_its_marker_only(store_url: str) -> None:
    """No lock, no probe, no temporary file."""
    open_store(store_url).close()

    assert [str(path.relative_to(store_url)) for path in Path(store_url).rglob("*") if path.is_file()] == [
        "actorflow.json"
    ]


def test_a_relative_path_is_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the default, ./.actorflow; a later change of directory does not move it."""
    monkeypatch.chdir(tmp_path)
    store = open_store("./.actorflow")
    monkeypatch.chdir("/")

    store.log("r").claim(claiming(part(store)), actor=ACTOR)

    assert (tmp_path / ".actorflow" / "runs" / "r").is_dir()
    store.close()


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("", "give a folder"),
        ("a\0b", "give a folder"),
        ("s3://", "bucket"),
        ("http://host/x", "can't be a store"),
        ("simplecache::s3://bucket", "chained"),
        ("file://relative/path", "three slashes"),
        ("nosuch://x", "nosuch"),
    ],
)
def test_a_url_that_is_no_store_is_refused_by_name(url: str, hint: str) -> None:
    """And the error says what is one."""
    with pytest.raises(BadStoreUrl, match=hint):
        open_store(url)


def test_a_file_is_no_store(tmp_path: Path) -> None:
    """Neither is what would lie below it."""
    (tmp_path / "file").write_bytes(b"")

    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UnsafeStore, match="no folder"):
            open_store(place)


def test_a_link_is_no_store(tmp_path: Path) -> None:
    """Whether it leads somewhere or not."""
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")

    for name in ("link", "dangling"):
        with pytest.raises(UnsafeStore, match="symbolic link"):
            open_store(tmp_path / name)
    assert list((tmp_path / "target").iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody who may not write")
def test_a_folder_that_can_not_be_written_is_denied(tmp_path: Path) -> None:
    """Typed, with the path."""
    place = tmp_path / "store"
    open_store(place).close()
    for folder in (*tmp_path.parents, tmp_path):
        if folder.is_relative_to(tmp_path.parents[2]):
            folder.chmod(0o755)
    for path in [place, *place.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)

    status, lines = run(
        """
        from actorflow.store.machine import machine_id
        machine_id()  # imports what it needs while this user may
        os.setuid(65534)
        for readonly in (False, True):
            try:
                say("opened", open_store(url, readonly=readonly).log("r").tip())
            except StoreDenied as error:
                say("denied", url in str(error))
        """,
        str(place),
    )

    assert (status, lines) == (0, ["denied True", "opened None"])


def test_a_store_to_be_read_must_be_there(tmp_path: Path) -> None:
    """Looking makes nothing."""
    for place in (tmp_path / "nothing", tmp_path):
        with pytest.raises(BadStoreUrl, match="no store"):
            open_store(place, readonly=True)
    assert list(tmp_path.iterdir()) == []


# -- actorflow.json -------------------------------------------------------------------------


def test_runs_without_a_marker_are_not_touched(store: Store) -> None:
    """Somebody deleted it, or the folder is half a copy: a new identity would orphan every run."""
    store.log("r").claim(claiming(part(store)), actor=ACTOR)
    marker = Path(store.url) / "actorflow.json"
    content = marker.read_bytes()
    marker.unlink()

    with pytest.raises(StoreMarkerMissing, match="put it back"):
        open_store(store.url)
    assert not marker.exists()
    marker.write_bytes(content)

    again = open_store(store.url)
    assert again.uuid == store.uuid
    again.close()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no marker"),
        (b"\xff\xfe", "no marker"),
        (b"[]", "no marker"),
        (b'{"what": "actorflow store", "format": 1}', "no marker"),
        (b'{"what": "something", "format": 1, "uuid": "00"}', "no marker"),
        (b'{"what": "actorflow store", "format": 1, "uuid": "zz"}', "no marker"),
        (b'{"what": "actorflow store", "format": 1, "uuid": "00"}', "no uuid"),
        (b'{"what": "actorflow store", "format": 2, "uuid": "00", "more": 1}', "format 2"),
    ],
)
def test_a_marker_that_is_not_ours_is_left_alone(tmp_path: Path, content: bytes, reason: str) -> None:
    """Damaged, foreign, or of a later format: typed, and not overwritten."""
    (tmp_path / "actorflow.json").write_bytes(content)

    with pytest.raises(ForeignStore, match=reason):
        open_store(tmp_path)
    with pytest.raises(ForeignStore, match=reason):
        open_store(tmp_path, readonly=True)
    assert (tmp_path / "actorflow.json").read_bytes() == content


def test_files_of_another_store_do_not_belong(store: Store, tmp_path: Path) -> None:
    """A run copied from store to store by hand is told, not taken over."""
    other = open_store(tmp_path / "other")
    other.log("r").claim(claiming(part(other)), actor=ACTOR)
    other.close()
    Path(store.url, "runs").mkdir()
    (tmp_path / "other" / "runs" / "r").rename(Path(store.url, "runs", "r"))

    with pytest.raises(CorruptCheckpoint, match="another store"):
        store.log("r").tip()


def test_openers_that_race_agree_on_the_identity(store_url: str) -> None:
    """Whoever's marker was first counts for all."""
    uuids: list[bytes] = []

    def opener() -> None:
        store = open_store(store_url)
        uuids.append(store.uuid)
        store.close()

    threads = [threading.Thread(target=opener) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(uuids) == 8
    assert len(set(uuids)) == 1


# -- file systems ---------------------------------------------------------------------------


def test_a_file_system_off_the_list_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network mounts pass a probe on one machine and then let two own a run."""
    monkeypatch.setattr(filesystem, "_mounts", lambda: iter([("/", "ext4"), (str(tmp_path), "nfs4")]))

    with pytest.raises(UnsafeStore, match="nfs4"):
        open_store(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_system_without_a_mount_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be known is not assumed."""
    monkeypatch.setattr(filesystem, "_mounts", lambda: iter([]))

    with pytest.raises(UnsafeStore, match="can not be named"):
        check_filesystem(str(tmp_path))


def test_the_nearest_and_latest_mount_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel resolves paths: whole names only, a later mount over an earlier one."""
    table = [("/", "ext4"), ("/mnt", "nfs"), ("/mnt", "xfs"), ("/mnt/a", "9p")]
    monkeypatch.setattr(filesystem, "_mounts", lambda: iter(table))

    found = [filesystem_of(path) for path in ("/", "/mnt", "/mnt/ab", "/mnt/a/b", "/mntx")]

    assert found == ["ext4", "xfs", "xfs", "9p", "ext4"]


def test_the_mount_table_of_this_machine_is_understood(tmp_path: Path) -> None:
    """Or no test of the store could have run here."""
    assert filesystem_of(str(tmp_path)) in filesystem.ALLOWED
    assert filesystem_of("/proc/self") == "proc"


def test_a_file_system_without_hard_links_fails_the_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal says what is missing."""

    def link(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(filesystem.os, "link", link)
    with pytest.raises(UnsafeStore, match="no hard links"):
        probe(str(tmp_path), ".tmp-x-")
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_whose_links_replace_fails_the_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exclusive creation is all that keeps two claims apart."""
    real = filesystem.os.link

    def link(source: str, target: str) -> None:
        Path(target).unlink(missing_ok=True)
        real(source, target)

    monkeypatch.setattr(filesystem.os, "link", link)
    with pytest.raises(UnsafeStore, match="take one name"):
        probe(str(tmp_path), ".tmp-x-")
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_whose_locks_do_nothing_fails_the_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some network file systems do."""
    monkeypatch.setattr(filesystem.fcntl, "flock", lambda fd, operation: None)

    with pytest.raises(UnsafeStore, match="one lock twice"):
        probe(str(tmp_path), ".tmp-x-")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_opening_holds_nothing(tmp_path: Path) -> None:
    """No lock and no descriptor stays behind."""
    (tmp_path / "actorflow.json").write_bytes(b"?")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(StoreError):
            open_store(tmp_path)

    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2
    assert [path.name for path in tmp_path.rglob("*.lock")] == []
