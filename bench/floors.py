"""The floors: what the same bytes cost without a library, as bare loops.

They keep no guarantee. They write the files that a run of actorflow writes, in the same order and with the
same syncs, and nothing else: no graph, no fold, no digest, no claim that anybody could lose.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec
from measure import Answer, answer, clocked

if TYPE_CHECKING:
    from pathlib import Path

THREADS = 16
RECORD = {"kind": "finished", "node": "tick", "n": 0, "nonce": b"n" * 16, "parent": b"p" * 32, "digest": b"d" * 32}


def append(fd: int, n: int) -> None:
    """One commit: encode about 150 bytes, append, fdatasync."""
    os.write(fd, msgspec.msgpack.encode(RECORD | {"n": n}))
    os.fdatasync(fd)


def sequential(root: Path, commits: int) -> Answer:
    """One file, one commit after the other, in the main thread."""
    fd = os.open(root / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with clocked() as span:
        for n in range(commits):
            append(fd, n)
    os.close(fd)
    return {"wall": span.wall, "cpu": span.cpu}


def concurrent(root: Path, runs: int, commits: int) -> Answer:
    """Many runs in 16 threads, a run at a time in each: opening, commits, ending."""
    for shard in range(256):
        (root / "active" / f"{shard:02x}").mkdir(parents=True)
    for name in ("runs", "ended"):
        (root / name).mkdir()

    def run(number: int) -> None:
        name = f"run-{number:05}"
        marker = root / "active" / f"{number % 256:02x}" / f"{name}.1"
        put_new(marker)
        log = new_folder(new_folder(root / "runs" / name) / "log")
        put_new(log / f"{0:020}.ckpt")
        fd = os.open(log / f"{0:020}.ckpt", os.O_WRONLY | os.O_APPEND)
        for n in range(commits):
            append(fd, n)
        os.close(fd)
        (root / "ended" / f"{number}-{name}").write_bytes(msgspec.msgpack.encode(RECORD))
        marker.unlink()

    with ThreadPoolExecutor(THREADS) as pool, clocked() as span:
        list(pool.map(run, range(runs)))
    return {"wall": span.wall, "cpu": span.cpu}


def put_new(path: Path) -> None:
    """Create a file whole and exclusively: temp file, fsync, link, unlink, fsync of the folder."""
    temp = path.with_name(f".{path.name}.temp")
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(fd, msgspec.msgpack.encode(RECORD))
    os.fsync(fd)
    os.close(fd)
    os.link(temp, path)
    temp.unlink()
    fsync_folder(path.parent)


def new_folder(path: Path) -> Path:
    """Make a folder whose name is durable in its parent."""
    path.mkdir()
    fsync_folder(path.parent)
    return path


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


if __name__ == "__main__":
    answer({"sequential": sequential, "concurrent": concurrent})
