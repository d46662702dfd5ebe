"""The measurement behind docs/design/group-commit.md: how should many commits reach a local disk at once?

Three questions, each printed as one table of ratios, the better the higher:

    syncs    n runs commit together: one fdatasync a file in threads, or one syncfs for all; alone and by a neighbour
    hops     one run commits again and again: inline, through a thread for each commit, or one hop for k commits
    opening  what a new run costs: temp + link against O_TMPFILE + linkat, and its folders, marker and claim

Run it on a real disk, never on tmpfs: ``python bench/spike_group_commit.py --root /a/folder/on/the/disk``.
Linux only: syncfs, sync_file_range and O_TMPFILE have no portable twin.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

RECORD = b"r" * 200  # about one small commit's frame
ROUNDS = 5
WAIT_BEFORE, WRITE, WAIT_AFTER = 1, 2, 4  # the flags of sync_file_range(2)
AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> None:
    """Raise what errno says if a C call failed: a sync that fails unseen would measure nothing."""
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def syncfs(fd: int) -> None:
    """Flush everything dirty on the file system of `fd`, whoever wrote it."""
    checked(libc.syncfs(fd))


def write_out(fd: int) -> None:
    """Hand a file's dirty pages to the disk without waiting; on its own this makes nothing durable."""
    checked(libc.sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(0), WRITE))


def append_and_sync(fd: int) -> None:
    """One commit, as the append log makes it."""
    os.write(fd, RECORD)
    os.fdatasync(fd)


# --- syncs: n runs, one commit each, together ------------------------------------------------------------------------


class Pool:
    """A thread pool and the ways to sync a batch of files through it, each file by its own fdatasync."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.executor = ThreadPoolExecutor(threads)

    def deal(self, work: Callable[[int], None], fds: Sequence[int]) -> None:
        """Give each thread an equal share of the batch, so that a thread is entered once and not once a file."""

        def share(part: Sequence[int]) -> None:
            for fd in part:
                work(fd)

        list(self.executor.map(share, (fds[i :: self.threads] for i in range(min(self.threads, len(fds))))))

    def one_hop_a_file(self, fds: Sequence[int]) -> None:
        """Append and sync file by file, each handed to the pool on its own."""
        list(self.executor.map(append_and_sync, fds))

    def append_and_sync_each(self, fds: Sequence[int]) -> None:
        """Append and sync file by file."""
        self.deal(append_and_sync, fds)

    def append_all_first(self, fds: Sequence[int]) -> None:
        """Append to all, then sync: one journal commit of the file system then serves many of the syncs."""
        for fd in fds:
            os.write(fd, RECORD)
        self.deal(os.fdatasync, fds)

    def write_out_first(self, fds: Sequence[int]) -> None:
        """Append to all and start their writeback, then sync: the syncs find the data under way."""
        for fd in fds:
            os.write(fd, RECORD)
            write_out(fd)
        self.deal(os.fdatasync, fds)


def one_syncfs(fds: Sequence[int]) -> None:
    """Append to all, then one syncfs."""
    for fd in fds:
        os.write(fd, RECORD)
    syncfs(fds[0])


NEIGHBOUR = """
import os, sys
block, turn = os.urandom(1 << 20), 0
while True:
    turn = 1 - turn
    with open(os.path.join(sys.argv[1], f"neighbour-{turn}"), "wb") as file:
        for _ in range(200):
            file.write(block)
"""


@contextmanager
def neighbour(root: Path) -> Iterator[None]:
    """Another process that keeps up to 200 MB of this file system dirty and never syncs."""
    with subprocess.Popen([sys.executable, "-c", NEIGHBOUR, str(root)]) as process:
        time.sleep(1)  # it needs dirty pages before there is anything to be slowed by
        try:
            yield
        finally:
            process.kill()


def syncs(root: Path) -> None:
    """Print the time per commit of each way beside one thread that syncs file by file, and how batches spread."""
    pools = {threads: Pool(threads) for threads in (1, 4, 16, 32)}
    ways: dict[str, Callable[[Sequence[int]], None]] = {
        f"append and sync each, {threads} threads": pool.append_and_sync_each for threads, pool in pools.items()
    }
    ways["the same, one hop a file, 16 threads"] = pools[16].one_hop_a_file
    ways["append all, then sync, 16 threads"] = pools[16].append_all_first
    ways["the same, written out first"] = pools[16].write_out_first
    ways["append all, one syncfs"] = one_syncfs
    for dirty in (False, True):
        with neighbour(root) if dirty else nullcontext():
            for runs in (1, 10, 100, 1000):
                with tempfile.TemporaryDirectory(dir=root) as folder, ExitStack() as stack:
                    files = [stack.enter_context(Path(folder, str(i)).open("ab", buffering=0)) for i in range(runs)]
                    title = f"syncs: {runs} runs, {'dirty neighbour' if dirty else 'alone'}"
                    compare(title, ways, [file.fileno() for file in files], max(4, 200 // runs))
    for pool in pools.values():
        pool.executor.shutdown()


def compare(title: str, ways: dict[str, Callable[[Sequence[int]], None]], fds: Sequence[int], repeats: int) -> None:
    """Time every way in turn, round after round, so that a slow moment of the machine hits them all."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            for _ in range(repeats):
                start = time.perf_counter()
                way(fds)
                spent[name].append(time.perf_counter() - start)
    show(title, {name: statistics.median(times) / len(fds) for name, times in spent.items()}, spent)


# --- hops: one run, commit after commit ------------------------------------------------------------------------------


class WriterThread:
    """One thread of our own that takes jobs from a queue and wakes the event loop when each is done."""

    def __init__(self, wake: Callable[[Callable[[], object]], object]) -> None:
        self.jobs: queue.SimpleQueue[tuple[Callable[[], None], Callable[[], object]] | None] = queue.SimpleQueue()
        self.wake = wake
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self) -> None:
        """Run jobs until told to end."""
        while job := self.jobs.get():
            work, done = job
            work()
            self.wake(done)

    async def run(self, work: Callable[[], None]) -> None:
        """Hand one job over and wait for it."""
        done = anyio.Event()
        self.jobs.put((work, done.set))
        await done.wait()


def loop_waker(backend: str) -> Callable[[Callable[[], object]], object]:
    """How a foreign thread wakes this event loop, at the lowest level that each backend has."""
    if backend == "trio":
        import trio

        return trio.lowlevel.current_trio_token().run_sync_soon
    import asyncio

    return asyncio.get_running_loop().call_soon_threadsafe


async def hop_times(backend: str, fd: int, commits: int) -> dict[str, tuple[float, float]]:
    """Wall and CPU seconds a commit, for each way to reach the disk from this event loop."""
    times: dict[str, tuple[float, float]] = {}

    def several(count: int) -> None:
        for _ in range(count):
            append_and_sync(fd)

    async def clocked(name: str, hops: int, hop: Callable[[], Any]) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(hops):
            await hop()
        times[name] = ((time.perf_counter() - wall) / commits, (time.process_time() - cpu) / commits)

    async def inline() -> None:
        append_and_sync(fd)
        await anyio.lowlevel.checkpoint()

    writer = WriterThread(loop_waker(backend))
    await clocked("inline", commits, inline)
    await clocked("to_thread, 1 commit a hop", commits, lambda: anyio.to_thread.run_sync(append_and_sync, fd))
    await clocked("own thread, 1 commit a hop", commits, lambda: writer.run(lambda: append_and_sync(fd)))
    for batch in (10, 100):
        hop = functools.partial(anyio.to_thread.run_sync, several, batch)
        await clocked(f"to_thread, {batch} commits a hop", commits // batch, hop)
    writer.jobs.put(None)
    writer.thread.join()
    return times


def hops(root: Path) -> None:
    """Print what a thread hop costs beside the sync it carries."""
    for backend in ("asyncio", "trio"):
        wall: dict[str, list[float]] = {}
        cpu: dict[str, list[float]] = {}
        with tempfile.TemporaryFile(dir=root) as file:
            for _ in range(ROUNDS):
                for name, (seconds, busy) in anyio.run(hop_times, backend, file.fileno(), 500, backend=backend).items():
                    wall.setdefault(name, []).append(seconds)
                    cpu.setdefault(name, []).append(busy)
        show(f"hops: {backend}, wall", {name: statistics.median(times) for name, times in wall.items()})
        show(f"hops: {backend}, CPU", {name: statistics.median(times) for name, times in cpu.items()})


# --- opening: what a new run costs -----------------------------------------------------------------------------------


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def put_by_temp(folder: Path, name: str) -> None:
    """Create a file exclusively and whole: temp file, fsync, link, unlink, fsync of the folder."""
    temp = folder / f".{name}.temp"
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(fd, RECORD)
    os.fsync(fd)
    os.close(fd)
    os.link(temp, folder / name)
    temp.unlink()
    fsync_folder(folder)


def put_by_tmpfile(folder: Path, name: str) -> None:
    """The same without a second name: O_TMPFILE, fsync, linkat, fsync of the folder."""
    fd = os.open(folder, os.O_WRONLY | os.O_TMPFILE)
    os.write(fd, RECORD)
    os.fsync(fd)
    source = f"/proc/self/fd/{fd}".encode()
    checked(libc.linkat(AT_FDCWD, source, AT_FDCWD, os.fsencode(folder / name), AT_SYMLINK_FOLLOW))
    os.close(fd)
    fsync_folder(folder)


def new_folders(root: Path, name: str) -> Path:
    """``<run>/log``, each level durable in its parent."""
    run = root / "runs" / name
    run.mkdir()
    fsync_folder(run.parent)
    (run / "log").mkdir()
    fsync_folder(run)
    return run / "log"


def whole_opening(folder: Path, put: Callable[[Path, str], None], name: str) -> None:
    """Everything that is durable before a run's first node starts: marker, folders, claim."""
    put(folder / "active", name)
    put(new_folders(folder, name), "claim")


def opening_times(folder: Path) -> dict[str, float]:
    """Seconds for each piece of an opening, alone and whole, in one round."""
    times: dict[str, float] = {}

    def clock(label: str, work: Callable[[str], object], threads: int = 1, count: int = 200) -> None:
        with ThreadPoolExecutor(threads) as pool:
            start = time.perf_counter()
            list(pool.map(work, (f"{label} {i}" for i in range(count))))
            times[label] = (time.perf_counter() - start) / count

    for name in ("runs", "active"):
        (folder / name).mkdir()
    clock("2 folders", functools.partial(new_folders, folder))
    puts = (("temp + link", put_by_temp), ("O_TMPFILE + linkat", put_by_tmpfile))
    for label, put in puts:
        clock(f"put: {label}", functools.partial(put, folder / "active"))
    for threads in (1, 4, 16):
        for label, put in puts:
            clock(f"opening: {label}, {threads} threads", functools.partial(whole_opening, folder, put), threads)
    return times


def opening(root: Path) -> None:
    """Print what each piece of an opening costs, and whole openings in several threads."""
    rounds: list[dict[str, float]] = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(dir=root) as folder:
            rounds.append(opening_times(Path(folder)))
    show("opening", {name: statistics.median(times[name] for times in rounds) for name in rounds[0]})


# --- output ----------------------------------------------------------------------------------------------------------


def quartiles(times: Sequence[float]) -> list[float]:
    """A quarter of the times lie below the first, half below the second, a quarter above the third."""
    return statistics.quantiles(times, n=4)


def show(title: str, seconds: dict[str, float], batches: dict[str, list[float]] | None = None) -> None:
    """One table: microseconds each, the ratio to the first row, and of timed batches the quartiles and the slowest."""
    print(f"\n{title}")
    first = next(iter(seconds.values()))
    for name, each in seconds.items():
        spread = ""
        if batches:
            low, middle, high = (value * 1e3 for value in quartiles(batches[name]))
            spread = f"  batch {low:8.2f} {middle:8.2f} {high:8.2f} {max(batches[name]) * 1e3:8.2f} ms"
        print(f"  {name:38} {each * 1e6:9.1f} us  {first / each:7.2f}x{spread}")


def main() -> None:
    """Measure what was asked for."""
    parts: dict[str, Callable[[Path], None]] = {"syncs": syncs, "hops": hops, "opening": opening}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="|".join(parts), help="which tables (default: all)")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="a folder on the disk to measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.root) as folder:
        for name in options.parts or parts:
            parts[name](Path(folder))


if __name__ == "__main__":
    main()
