"""Overview: what goes on in a run as of its newest commit: its open fan-outs, its open activations, its questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from actorflow.runtime.replay import Opened, opened

if TYPE_CHECKING:
    from actorflow.engine.run import RunState


class OpenMap(Struct, frozen=True):
    """A fan-out that goes on."""

    node: str
    scope: str  # the path of the scope that it is in; "" is the root
    index: int | None  # where it is itself an item of a fan-out
    total: int
    done: int  # items that ended, with those that failed
    failed: int  # whose errors are collected
    open: int  # that are being worked on; the rest is still to begin


class Overview(Struct, frozen=True):
    """A run as of its newest commit: more than its status, less than its history. ``open`` has its questions, too."""

    status: str
    maps: tuple[OpenMap, ...]
    open: tuple[Opened, ...]  # oldest first


def overview_of(run: RunState) -> Overview:
    """What goes on in a run."""
    maps = (
        OpenMap(owner.node, owner.scope, owner.index, fan.total, fan.done, len(fan.failed), fan.open)
        for owner, fan in ((run.open[id_], fan) for id_, fan in run.fans.items())
    )
    return Overview(run.standing, tuple(maps), tuple(map(opened, run.open.values())))
