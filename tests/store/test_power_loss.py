"""Power loss: a kill proves nothing about syncs, so their order is read from the system calls themselves."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.store.children import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

LOG = r"runs/r/log"

FIRST = """
store = open_store(url)
store.markers.put_active("r", 1)
owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
say("ack 0")
owned.commit(draft("commit", 1, part(store)))
say("ack 1")
owned.commit(draft("commit", 1, part(store), snapshot=True))
say("ack 2")
"""
SECOND = """
store = open_store(url)
owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
say("ack 3")
"""


def trace(code: str, url: str, tmp_path: Path) -> list[str]:
    """The system calls of a child that matter, in order, with descriptors as paths below the store."""
    out = tmp_path / "trace"
    calls = "openat,mkdirat,write,fsync,fdatasync,linkat,ftruncate"
    status, _ = run(code, url, wrap=["strace", "-f", "-y", "-s", "16", "-o", str(out), "-e", f"trace={calls}"])
    assert status == 0
    return [line.split(" ", 1)[1].strip().replace(url, "") for line in out.read_text().splitlines() if " " in line]


def in_order(calls: list[str], *patterns: str) -> bool:
    """Whether calls that match the patterns are there in this order."""
    rest = iter(calls)
    return all(any(re.search(pattern, call) for call in rest) for pattern in patterns)


def temp_of(kind: str) -> str:
    """A call on a temporary file."""
    return rf"{kind}\(\d+</\.tmp-"


def checkpoint(kind: str, seq: int) -> str:
    """A call on that checkpoint."""
    return rf"{kind}\(\d+</{LOG}/0*{seq}\.ckpt>"


def made_here(kind: str) -> str:
    """A call on a checkpoint by the descriptor that made it, which goes by the name that it had then."""
    return rf"{kind}\(\d+</\.tmp-[^>]*>\(deleted\)"


def link(seq: int) -> str:
    """The call that gives a checkpoint its name."""
    return rf'linkat\(\d+<>, "\.tmp-[^"]*", \d+</{LOG}>, "0*{seq}\.ckpt"'


def folder(path: str) -> str:
    """The sync of a folder, "" being the root."""
    return rf"fsync\(\d+<{path and '/'}{path}>\)"


def ack(seq: int) -> str:
    """What the child says when the commit was acknowledged to it."""
    return rf'write\(1<.*"ack {seq}'


def test_nothing_is_acknowledged_before_it_is_synced(store_url: str, tmp_path: Path) -> None:
    """Marker, claim, append and rollover of a new run, each with its folders."""
    calls = trace(FIRST, store_url, tmp_path)

    marker = r"linkat\(\d+<>, \"\.empty\", \d+</active/[0-9a-f]{2}>, \"r\.1\""
    assert in_order(calls, r"openat\(\d+<>, \"\.empty\", .*O_CREAT", r"fsync\(\d+</\.empty>\)", marker)
    for above in ("", "active", "active/[0-9a-f]{2}"):
        assert in_order(calls, marker, folder(above), link(0))
    assert in_order(calls, temp_of("write"), temp_of("fsync"), link(0), folder(LOG), ack(0))
    for parent, name in (("", "runs"), ("/runs", "r"), ("/runs/r", "log")):
        assert in_order(calls, rf'mkdirat\(\d+<{parent}>, "{name}"', folder(parent[1:]), ack(0))
    assert in_order(calls, ack(0), made_here("write"), made_here("fdatasync"), ack(1))
    assert in_order(calls, ack(1), temp_of("write"), temp_of("fsync"), link(2), folder(LOG), ack(2))


def test_a_claim_syncs_what_it_is_built_on_before_it_has_a_name(store_url: str, tmp_path: Path) -> None:
    """The predecessor's file and the folder, since its owner may have died between write and sync."""
    trace(FIRST, store_url, tmp_path)

    calls = trace(SECOND, store_url, tmp_path)

    assert in_order(calls, checkpoint("fdatasync", 2), link(3), ack(3))
    assert in_order(calls, folder(LOG), link(3), folder(LOG), ack(3))
    for above in ("runs", "runs/r"):
        assert in_order(calls, folder(above), ack(3))
    assert in_order(calls, temp_of("fsync"), link(3))


def test_a_claim_syncs_no_folder_again_for_a_file_that_was_appended_to(store_url: str, tmp_path: Path) -> None:
    """Its owner had synced them all before; what may be in doubt is its last write."""
    trace(FIRST + 'owned.commit(draft("commit", 1, part(store)))', store_url, tmp_path)

    calls = trace(SECOND.replace("ack 3", "ack 4"), store_url, tmp_path)

    assert in_order(calls, checkpoint("fdatasync", 2), temp_of("fsync"), link(4), folder(LOG), ack(4))
    assert [call for call in calls if re.match(folder("runs.*"), call)] == [
        call for call in calls if re.match(folder(LOG), call)
    ]
    assert sum(bool(re.match(folder(LOG), call)) for call in calls) == 1


@pytest.mark.parametrize(
    ("planted", "missing"),
    [
        ("AppendLog._secure = lambda *args: None", [checkpoint("fdatasync", 2), link(3)]),
        ("LocalBackend.fsync = lambda self, fd: None", [temp_of("fsync"), link(3)]),
        ("LocalBackend._settle = lambda *args: None", [folder("runs/r"), ack(3)]),
    ],
)
def test_a_missing_sync_would_be_seen(store_url: str, tmp_path: Path, planted: str, missing: list[str]) -> None:
    """Planted: without it, the order above is not there."""
    trace(FIRST, store_url, tmp_path)
    imports = "from actorflow.store.append_log import AppendLog\nfrom actorflow.store.local import LocalBackend\n"

    calls = trace(f"{imports}{planted}\n{SECOND}", store_url, tmp_path)

    assert in_order(calls, link(3), ack(3))
    assert not in_order(calls, *missing)
