"""The floors: what the same bytes cost without a library, as bare loops.

They keep no guarantee. They write the files that a run of actorflow writes, in the same order and with the
same syncs, and nothing else: no graph, no fold, no digest, no claim that anybody could lose.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import anyio
import msgspec
from measure import UNSAVED, Answer, answer, clocked, median

if TYPE_CHECKING:
    from pathlib import Path

THREADS = 16
FRAMES = 6  # that a fan-out may take: its spawn, its start, what the branches bring, the join, the end
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
    (root / ".empty").touch()

    def run(number: int) -> None:
        name = f"run-{number:05}"
        marker = root / "active" / f"{number % 256:02x}" / f"{name}.1"
        # A file of its own, deleted, would hold up whoever makes files in the minutes after.
        os.link(root / ".empty", marker)
        fsync_folder(marker.parent)
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


def fan_out(root: Path, width: int, repeat: int, backend: str) -> Answer:
    """A task group of trivial tasks, and six appends of what they made, synced; the median of so many times."""

    async def branch(made: list[int], number: int) -> None:
        made.append(number)

    async def measure() -> Answer:
        fd = os.open(root / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        spans: list[Answer] = []
        for _ in range(repeat):
            with clocked() as span:
                made: list[int] = []
                async with anyio.create_task_group() as tasks:
                    for number in range(width):
                        tasks.start_soon(branch, made, number)
                for n in range(FRAMES):
                    os.write(fd, b"".join(msgspec.msgpack.encode(RECORD | {"n": n}) for _ in range(width // FRAMES)))
                    os.fdatasync(fd)
            spans.append({"wall": span.wall, "cpu": span.cpu})
        os.close(fd)
        return median(spans)

    return anyio.run(measure, backend=backend)


def unsaved(root: Path, nodes: int, backend: str) -> Answer:
    """Each trivial node started in a task group of its own, one after the other; nothing is written."""

    async def tick(state: dict[str, int], out: list[dict[str, int]]) -> None:
        out.append({"n": state["n"] + 1})

    async def measure() -> Answer:
        spans: list[Answer] = []
        for _ in range(UNSAVED):
            with clocked() as span:
                state, out = {"n": 0}, list[dict[str, int]]()
                for _ in range(nodes):
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(tick, state, out)
                    state |= out.pop()
            assert state["n"] == nodes
            spans.append({"wall": span.wall, "cpu": span.cpu})
        return median(spans)

    return anyio.run(measure, backend=backend)


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
    answer({"sequential": sequential, "concurrent": concurrent, "fan_out": fan_out, "unsaved": unsaved})
