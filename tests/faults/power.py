"""Power loss: what a store writes is recorded call by call, and every legal state of the disk after a cut is built.

A file keeps what it held at its last sync; what was written since may be
there, lost, cut in the middle, or zeros. A folder keeps the names it had at its
last sync; of what changed since, all, nothing, or any single change may have
survived, or be missing.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, Literal

import actorflow.store.append_log
import actorflow.store.append_ownership
import actorflow.store.folders
import actorflow.store.local

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

Fate = Literal["kept", "lost", "cut", "zeros"]
FATES: tuple[Fate, ...] = ("kept", "lost", "cut", "zeros")
Change = tuple[tuple[str, "Node | None"], ...]
Tree = dict[str, "bytes | Tree"]


class Node:
    """A file or a folder: as the system shows it, and as it is on the disk for certain."""

    def __init__(self, *, folder: bool) -> None:
        self.folder = folder
        self.data = b""
        self.durable = b""
        self.names: dict[str, Node] = {}
        self.changes: list[Change] = []  # since the last sync, in order

    def change(self, *changes: tuple[str, Node | None]) -> None:
        """Names that come and go, together."""
        self.changes.append(changes)

    def sync(self) -> None:
        """What is there now survives."""
        self.durable = self.data
        for change in self.changes:
            _apply(self.names, change)
        self.changes = []


class Recorder:
    """Stands in for the module ``os`` in the store: does what is asked, and takes it down.

    ``history`` holds functions that play each call on the model, and whatever else was noted between them.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.history: list[Any] = []
        self._count = 1
        self._nodes = {_identity(root.stat()): 0}  # which number a living inode has in the model
        store = actorflow.store
        for module in (store.folders, store.local, store.append_log, store.append_ownership):
            patch.setattr(module, "os", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def note(self, what: object) -> None:
        """Something that the user was told at this moment."""
        self.history.append(what)

    def open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """Open; perhaps a new file."""
        there = flags & os.O_CREAT and _exists(path, dir_fd)
        fd = os.open(path, flags, mode, dir_fd=dir_fd)
        if flags & os.O_CREAT and not there:
            assert dir_fd is not None
            parent, node = self._node(dir_fd), self._new(os.fstat(fd))
            self.history.append(lambda nodes: _make(nodes, parent, path, node, folder=False))
        return fd

    def mkdir(self, path: str, mode: int = 0o777, *, dir_fd: int) -> None:
        """A new folder."""
        os.mkdir(path, mode, dir_fd=dir_fd)
        parent, node = self._node(dir_fd), self._new(os.stat(path, dir_fd=dir_fd))
        self.history.append(lambda nodes: _make(nodes, parent, path, node, folder=True))

    def link(self, src: str, dst: str, *, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool) -> None:
        """A second name."""
        os.link(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)
        node = self._nodes[_identity(os.stat(dst, dir_fd=dst_dir_fd))]
        parent = self._node(dst_dir_fd)
        self.history.append(lambda nodes: nodes[parent].change((dst, nodes[node])))

    def unlink(self, path: str, *, dir_fd: int) -> None:
        """A name less."""
        os.unlink(path, dir_fd=dir_fd)
        parent = self._node(dir_fd)
        self.history.append(lambda nodes: nodes[parent].change((path, None)))

    def rename(self, src: str, dst: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        """Another name, at once."""
        os.rename(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        assert self._node(src_dir_fd) == self._node(dst_dir_fd)
        node = self._nodes[_identity(os.stat(dst, dir_fd=dst_dir_fd))]
        parent = self._node(dst_dir_fd)
        self.history.append(lambda nodes: nodes[parent].change((src, None), (dst, nodes[node])))

    def write(self, fd: int, data: Any) -> int:
        """More bytes at the end."""
        written = os.write(fd, data)
        node, part = self._node(fd), bytes(data[:written])
        self.history.append(lambda nodes: setattr(nodes[node], "data", nodes[node].data + part))
        return written

    def ftruncate(self, fd: int, size: int) -> None:
        """Fewer bytes."""
        os.ftruncate(fd, size)
        node = self._node(fd)
        self.history.append(lambda nodes: setattr(nodes[node], "data", nodes[node].data[:size]))

    def fsync(self, fd: int) -> None:
        """What the model believes is durable from here on; the real disk need not be troubled."""
        node = self._node(fd)
        self.history.append(lambda nodes: nodes[node].sync())

    fdatasync = fsync

    def _node(self, fd: int) -> int:
        return self._nodes[_identity(os.fstat(fd))]

    def _new(self, found: os.stat_result) -> int:
        self._nodes[_identity(found)] = self._count
        self._count += 1
        return self._count - 1


def crash_states(history: list[Any]) -> Iterator[tuple[Tree, list[Any]]]:
    """Every distinct state of the disk after a cut at any moment, with what had been noted until then."""
    seen: set[str] = set()
    for end in range(len(history) + 1):
        nodes, noted = _play(history[:end])
        count = sum(len(node.changes) for node in nodes)
        choices = [set[int](), set(range(count))]
        choices += [{one} for one in range(count)] + [set(range(count)) - {one} for one in range(count)]
        for kept in choices:
            for fate in FATES:
                tree = _tree(nodes, kept, fate)
                image = repr((tree, len(noted)))
                if image not in seen:
                    seen.add(image)
                    yield tree, noted


def build(tree: Tree, place: Path) -> None:
    """Make this state real."""
    place.mkdir()
    for name, content in tree.items():
        if isinstance(content, bytes):
            (place / name).write_bytes(content)
        else:
            build(content, place / name)


def _play(history: list[Any]) -> tuple[list[Node], list[Any]]:
    nodes, noted = [Node(folder=True)], []
    for one in history:
        if callable(one):
            one(nodes)
        else:
            noted.append(one)
    return nodes, noted


def _tree(nodes: list[Node], kept: set[int], fate: Fate) -> Tree:
    """The disk with these of the unsynced changes of names, in order, and that fate of unsynced bytes."""
    number = 0
    names: dict[int, dict[str, Node]] = {}
    for node in nodes:
        there = names[id(node)] = dict(node.names)
        for change in node.changes:
            if number in kept:
                _apply(there, change)
            number += 1

    def content(node: Node) -> bytes | Tree:
        if node.folder:
            return {name: content(below) for name, below in sorted(names[id(node)].items())}
        return _after(node, fate)

    tree = content(nodes[0])
    assert isinstance(tree, dict)
    return tree


def _after(node: Node, fate: Fate) -> bytes:
    old, new = node.durable, node.data
    if new[: len(old)] != old:  # it was cut back since
        return new if fate == "kept" else old
    grown = len(new) - len(old)
    match fate:
        case "kept":
            return new
        case "lost":
            return old
        case "cut":
            return new[: len(old) + grown // 2]
        case "zeros":
            return old + bytes(grown)


def _apply(names: dict[str, Node], change: Change) -> None:
    for name, node in change:
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _make(nodes: list[Node], parent: int, name: str, number: int, *, folder: bool) -> None:
    assert len(nodes) == number
    nodes.append(Node(folder=folder))
    nodes[parent].change((name, nodes[number]))


def _exists(path: str, dir_fd: int | None) -> bool:
    try:
        found = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
