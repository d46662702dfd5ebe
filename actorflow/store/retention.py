"""Retention: how much of a run's history is kept, and where what is kept begins.

What can be let go of is a prefix of the history, up to a snapshot: whatever is
kept can be read from its first commit on. Never let go of are the newest
commit, anything at or above the newest snapshot, and the name of a claim's
number (but of a claim on top of a release: there was no owner left to fence)
or of a repair's.
A stalled old owner always aims at the number of the claim that fenced it; were
that number free, its commit would get in (guarantee 3).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct

from actorflow.store.deletion import DELETED
from actorflow.store.frames import Header

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from actorflow.store.frames import Frame
    from actorflow.store.log import Tip


class Retention(Struct, frozen=True, kw_only=True):
    """What `Runtime.gc` keeps. Without any of it everything is kept.

    A commit that was named (`Run.tag`) is kept whatever the policy, and with it what came after.

    Example:
        >>> from actorflow import Retention
        >>> day = 86400
        >>> policy = Retention(last=100, age=7 * day, ended=90 * day)
    """

    last: int | None = None
    """Commits of each run whose checkpoints are kept: at least so many, the newest ones."""

    age: float | None = None
    """Seconds: younger commits are kept. With ``last``, whatever either of them keeps."""

    ended: float | None = None
    """Seconds after its end at which a run is deleted as a whole, as `Runtime.delete` does it."""

    tagged: dict[str, str] = {}
    """Runs that have all of these tags are left as they are."""

    def __post_init__(self) -> None:
        for name, least in (("last", 1), ("age", 0), ("ended", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                msg = f"Retention({name}={value!r}): give a number that is at least {least}, or None to keep all"
                raise ValueError(msg)

    def spares(self, header: Header) -> bool:
        """Whether a run with this newest header is left as it is."""
        return bool(self.tagged) and self.tagged.items() <= header.tags.items()


class Snapshot(Struct, frozen=True):
    """A commit that holds a snapshot, and the header of the commit before it: None if that one is not kept."""

    seq: int
    before: Header | None


class Freed(Struct, frozen=True):
    """What became of a run's files: how many are gone or shrunk, and the number of the oldest commit kept."""

    floor: int
    files: int = 0


def floor_of(policy: Retention, tip: Tip, snapshots: Iterable[Snapshot], *, now: float, named: float = math.inf) -> int:
    """The number of the oldest commit to keep: a snapshot's, or 0 for all of them.

    Args:
        policy: see `Retention`.
        tip: the newest commit.
        snapshots: those of the run, newest first; read only as far as needed.
        now: seconds since 1970. A clock that jumps changes only how much is kept.
        named: the oldest commit that has a name: it is kept, and with it what came after.
    """
    if policy.last is None and policy.age is None:
        return 0
    for snapshot in snapshots:
        before = snapshot.before
        if before is None or not (before.seq >= named or _keeps(policy, before, tip, now)):
            return snapshot.seq
    return 0


def _keeps(policy: Retention, header: Header, tip: Tip, now: float) -> bool:
    if policy.last is not None and header.seq > tip.header.seq - policy.last:
        return True
    return policy.age is not None and header.time > now - policy.age


def freeable(frame: Frame, releases: Collection[bytes]) -> bool:
    """Whether the number of a commit may come free, once nothing needs to be read under it.

    Args:
        frame: the commit.
        releases: the digests of commits that are known to be releases.
    """
    header = frame.header
    if header.status == DELETED:
        return False
    if header.kind == "release" and header.snapshot == header.seq:
        return False  # put by a repair, it fences as a claim does: an owner that was found gone may aim at its number
    return header.seq > 0 and (header.kind != "claim" or header.parent in releases)


def releases_among(frames: Iterable[Frame]) -> set[bytes]:
    """The digests of those that are releases."""
    return {frame.digest for frame in frames if frame.header.kind == "release"}
