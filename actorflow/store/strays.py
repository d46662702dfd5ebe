"""Strays: files that belong to no chain, and messages that can't be taken. They are told, and left where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.errors import CorruptCheckpoint, CorruptMessage, MissingExtra, MissingKey
from actorflow.store.backend import Missing
from actorflow.store.dead_letters import DeadLetters
from actorflow.store.keys import DEAD, INBOX, parse_letter
from actorflow.store.messages import read_message
from actorflow.store.object_log import ObjectLog
from actorflow.store.verify import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.store.frames import Frame
    from actorflow.store.log import RunLog
    from actorflow.store.store import Store

_STRANGER = "a file that is no message"
_NOT_OURS = "none needed: nothing of actorflow reads it; take it away if nobody knows it"


def strays_of(log: RunLog, chain: list[Frame]) -> Iterator[Finding]:
    """Objects of a log that are off its chain: a claim that was too late, or a damaged copy of what was merged.

    A log whose files grow has none: each of its files holds the commit that it is named after.
    """
    if not isinstance(log, ObjectLog):
        return
    names = log.chain.names()
    digests = {frame.header.seq: frame.digest for frame in chain}
    doubtful = [seq for seq in names.loose if seq < names.floor or names.span_of(seq) is not None]
    for place, frames in log.chain.look(doubtful):
        path = log.chain.key(place)
        if frames is None:
            remedy = "none needed: the commit is in a merged file, or was let go of; a number is never used again"
            yield Finding(path=path, what="a damaged file that is not part of the history any more", remedy=remedy)
        elif frames[0].digest != digests.get(frames[0].header.seq, frames[0].digest):
            remedy = "none needed: a claim that came too late, and that nobody was told of"
            yield Finding(path=path, what="a commit that is not part of the history", remedy=remedy)


def stray_letters(store: Store) -> Iterator[Finding]:
    """Messages and dead letters that can't be read, and files among them that are none."""
    for key in store.backend.list(INBOX):
        if (letter := parse_letter(key)) is None:
            yield Finding(path=key, what=_STRANGER, remedy=_NOT_OURS)
            continue
        try:
            read_message(store.backend.get(key), key, letter=letter, store=store.uuid, sealing=store.sealing)
        except (Missing, MissingKey, MissingExtra):
            continue  # taken meanwhile; or for somebody else to read
        except (CorruptMessage, CorruptCheckpoint) as error:
            remedy = "none needed: it becomes a dead letter under its number, and what was sent after it is taken"
            yield Finding(path=key, what=error.reason, remedy=remedy)
    for key in store.backend.list(DEAD):
        if (letter := parse_letter(key)) is None:
            yield Finding(path=key, what=_STRANGER, remedy=_NOT_OURS)
            continue
        try:
            DeadLetters(store.backend, store=store.uuid).read(letter)
        except Missing:
            continue
        except (CorruptMessage, CorruptCheckpoint) as error:
            remedy = "restore this file from a backup, if it is still of interest: no run takes it"
            yield Finding(path=key, what=error.reason, remedy=remedy)
