"""Callers: messages that come with an id instead of a number, and the window in which an id counts once.

Who sends from outside of any run has no counter that survives, so a lane is
nothing for them. They give each message an **id**; sent again, it is the same
message, and with another content it is refused. A run can't remember ids for
ever: it remembers each for T hours and besides the last N of them, whichever
is longer. If N came within T hours, the window is full and takes no other id,
rather than forgetting one too early.

Pure. The window is part of the run's state; like the marks it is never set
back, not by a rewind either.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec import Struct

from actorflow.errors import WindowFull

if TYPE_CHECKING:
    from collections.abc import Collection

HOUR = 3600.0
_RANDOM_BITS = 12

Verdict = Literal["new", "seen", "conflict"]


class Seen(NamedTuple):
    """One id that was used: for which content, and when it was taken."""

    content: bytes
    time: float  # seconds since 1970, never less than that of the one before


class Limits(Struct, frozen=True, kw_only=True):
    """How many ids a run remembers at least, and for how long at least."""

    ids: int = 10_000
    hours: float = 24.0

    def __post_init__(self) -> None:
        if self.ids < 1 or not self.hours >= 0:
            raise ValueError(f"a window of {self.ids} ids and {self.hours} hours remembers nothing")


class Window(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The ids that a run remembers, by the name that they have in keys; oldest first."""

    ids: dict[str, Seen] = {}

    def verdict(self, name: str, content: bytes) -> Verdict:
        """What a message with this id and content is: a new one, one that was taken, or a misuse of an old id."""
        seen = self.ids.get(name)
        if seen is None:
            return "new"
        return "seen" if seen.content == content else "conflict"

    def admitting(
        self,
        name: str,
        content: bytes,
        *,
        run_id: str,
        now: float,
        present: Collection[str] = (),
        limits: Limits | None = None,
    ) -> Window:
        """The window when a new id is taken; it is committed together with what the message does.

        Args:
            name: of the id, from `caller_name`.
            content: digest of what the message says.
            run_id: for the error.
            now: seconds since 1970. A clock that was set back makes ids stay longer, never shorter.
            present: names that a listing still shows. They are not forgotten: the file would be taken again.
            limits: of this run.

        Raises:
            WindowFull: no id may be forgotten yet.
        """
        limits = limits or Limits()
        newest = next(reversed(self.ids.values())).time if self.ids else now
        now = max(now, newest)
        ids = self.ids
        if len(ids) >= limits.ids:
            ids = dict(ids)
            for old in _forgettable(ids, before=now - limits.hours * HOUR, present=present, most=limits.ids - 1):
                del ids[old]
        if len(ids) >= limits.ids:
            due = next(iter(ids.values())).time + limits.hours * HOUR
            raise WindowFull(run_id, ids=len(ids), hours=limits.hours, wait=max(0.0, due - now))
        return Window({**ids, name: Seen(content, now)})


def caller_number(now: float) -> int:
    """A number for a caller's message: it sorts by time, and no other message with that id has it.

    So a file that comes back, or a deletion that comes late, never meets
    another message under its name; not even when the id was forgotten and is
    used again.
    """
    return (int(now * 1e6) << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)


def content_digest(said: bytes) -> bytes:
    """What the window remembers of a content: BLAKE2b-128."""
    return hashlib.blake2b(said, digest_size=16, person=b"actorflow-1").digest()


def _forgettable(ids: dict[str, Seen], *, before: float, present: Collection[str], most: int) -> list[str]:
    """The oldest ids that may go, no more than must: so that ``most`` are left."""
    names: list[str] = []
    for name, seen in ids.items():
        if len(ids) - len(names) <= most or seen.time > before:
            break
        if name not in present:
            names.append(name)
    return names
