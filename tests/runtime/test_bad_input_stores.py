"""Bad input, the store's place: what can't keep runs is refused by name, and one that fails later loses nothing."""
# ruff: noqa: ASYNC240 - nothing else runs while a test looks at files

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from anyio import to_thread

from actorflow import Runtime
from actorflow.errors import BadStoreUrl, StoreDenied, UnsafeStore
from tests.runtime.graphs import chain
from tests.runtime.scenes import scene


def can_mount() -> bool:
    """Whether this process may mount file systems in a namespace of its own."""
    tried = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return (
        shutil.which("unshare") is not None and subprocess.run(tried, capture_output=True, check=False).returncode == 0
    )


needs_mounts = pytest.mark.skipif(not can_mount(), reason="mounting a file system needs root and unshare")


def mounted(options: str, place: Path) -> list[str]:
    """The start of a command that runs with a file system mounted at ``place``, for itself alone."""
    return ["unshare", "--mount", "sh", "-c", f'mount {options} "$0" && exec "$@"', str(place)]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "give a folder"),
        ("s3://", "bucket"),
        ("http://169.254.169.254/latest", "http://"),
        ("simplecache::s3://bucket", "chained"),
        ("file://relative", "three slashes"),
        ("a\0b", "give a folder"),
    ],
)
async def test_a_url_that_names_no_store_is_refused(url: str, words: str) -> None:
    """The error says what would be one."""
    with pytest.raises(BadStoreUrl, match=words):
        async with Runtime(url):
            pass


async def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a folder of that name, which somebody would delete with rm -r."""
    monkeypatch.setenv("HOME", str(tmp_path))

    async with Runtime("~/runs"):
        assert (tmp_path / "runs" / "actorflow.json").exists()


async def test_a_file_is_no_store(tmp_path: Path) -> None:
    """The file stays what it is, also where it is a part of the path."""
    path = tmp_path / "notes.txt"
    path.write_text("mine")

    for url in (path, path / "below"):
        with pytest.raises(UnsafeStore, match=r"notes\.txt.* no folder"):
            async with Runtime(url):
                pass

    assert path.read_text() == "mine"


@pytest.mark.parametrize("link", ["runs", "runs/x", "runs/x/log", "active", "hosts"])
async def test_a_link_out_of_the_store_is_not_followed(tmp_path: Path, link: str) -> None:
    """Whatever folder of the store is replaced by a link, nothing is written where it leads."""
    store, outside = tmp_path / "store", tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    async with Runtime(store) as runtime:
        await runtime.run(chain("a"), id="other")
    (store / link).parent.mkdir(parents=True, exist_ok=True)
    if (store / link).exists():
        shutil.rmtree(store / link)
    (store / link).symlink_to(outside)

    with pytest.raises(UnsafeStore, match="symbolic link"):
        async with Runtime(store) as runtime:
            await runtime.run(chain("a"), id="x")

    assert [path.name for path in outside.iterdir()] == ["mine"]


async def test_a_checkpoint_that_is_a_link_is_not_followed(store_url: str, tmp_path: Path) -> None:
    """A file planted in place of a checkpoint is refused, not read."""
    async with Runtime(store_url) as runtime:
        await runtime.run(chain("a"), id="x")
    file = Path(store_url, "runs", "x", "log", f"{0:020d}.ckpt")
    shutil.move(file, tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")

    async with Runtime(store_url) as runtime:
        with pytest.raises(UnsafeStore, match="symbolic link"):
            await runtime.run(chain("a"), id="x")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere; a read-only mount is tested instead")
async def test_a_store_that_may_not_be_written_is_denied(tmp_path: Path) -> None:
    """Typed, with the path and what is needed."""
    (tmp_path / "store").mkdir(mode=0o500)

    with pytest.raises(StoreDenied, match="needs to read and write"):
        async with Runtime(tmp_path / "store"):
            pass


@needs_mounts
async def test_a_read_only_file_system_is_denied(tmp_path: Path, anyio_backend: str) -> None:
    """A store on a mount that is read-only: typed, with path and remedy."""
    wrap = mounted('--bind "$0" "$0" && mount -o remount,ro,bind', tmp_path)

    with scene("open", str(tmp_path / "store"), anyio_backend, wrap=wrap) as child:
        said = await to_thread.run_sync(child.line)

    assert said.startswith(f"StoreDenied {tmp_path}/store: Read-only file system")


@needs_mounts
async def test_a_file_system_that_is_not_known_to_be_safe_is_refused(tmp_path: Path, anyio_backend: str) -> None:
    """One off the list, though it has hard links and locks: the error names it and those that will do."""
    with scene("open", str(tmp_path / "store"), anyio_backend, wrap=mounted("-t ramfs none", tmp_path)) as child:
        said = await to_thread.run_sync(child.line)

    assert said.startswith(f"UnsafeStore {tmp_path}/store: it is on ramfs")
    assert "ext4" in said


@needs_mounts
def test_a_store_of_two_file_systems_is_refused(tmp_path: Path) -> None:
    """Files are linked to their places, which no file system does into another; the error says so."""
    runs = tmp_path / "store" / "runs"
    runs.mkdir(parents=True)
    script = (
        "from actorflow import Graph, State, run\n"
        "class Empty(State): ...\n"
        "graph = Graph('g', Empty)\n"
        "graph.node(lambda state: None, name='a')\n"
        f"run(graph, store={str(tmp_path / 'store')!r})\n"
    )

    child = subprocess.run(
        [*mounted("-t tmpfs none", runs), sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert "UnsafeStore" in child.stderr
    assert "one file system" in child.stderr


@needs_mounts
async def test_a_full_disk_loses_nothing_and_the_run_goes_on_when_there_is_room(
    tmp_path: Path, anyio_backend: str
) -> None:
    """The run stops with `StoreFull` and its last commit; nothing new can begin; with room it is resumed."""
    ballast = tmp_path / "ballast"
    mount = 'mount -t tmpfs -o size=1m none "$0" && head -c 300000 /dev/zero > "$0/ballast" && exec "$@"'
    wrap = ["unshare", "--mount", "sh", "-c", mount, str(tmp_path)]

    with scene("fill", str(tmp_path / "store"), anyio_backend, str(ballast), wrap=wrap) as child:
        full, kept, again, finished = [await to_thread.run_sync(child.line) for _ in range(4)]

    word, number, activations = kept.split()
    assert full.startswith(f"StoreFull {tmp_path}/store/runs/x/log/")
    assert "make room" in full
    assert word == "kept"
    assert int(number) == int(activations) > 10
    assert again == "StoreFull again"
    # the marker of the run that could not begin stays, since its commit might have been on its way
    assert finished == "finished 3 [('opening 1 was never committed', False)]"


async def test_a_limit_on_the_size_of_files_loses_nothing(tmp_path: Path, anyio_backend: str) -> None:
    """The kernel writes a part of a frame and refuses the rest; the run stops with its last commit whole."""
    with scene("outgrow", str(tmp_path / "store"), anyio_backend) as child:
        full, kept, finished = [await to_thread.run_sync(child.line) for _ in range(3)]

    assert full.startswith("StoreFull")
    assert int(kept.split()[1]) == int(kept.split()[2]) > 3
    assert finished == "finished 3 []"
