"""The story of a run as its history tells it: when each activation was opened, and which are over."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct, field

from actorflow.engine.fold import begin, fold
from actorflow.engine.operations import thaw
from actorflow.engine.records import Spawned, TurnOpened, decode_body
from actorflow.engine.snapshot import load
from actorflow.runtime.large import Joiner, references

if TYPE_CHECKING:
    from actorflow.engine.run import RunState
    from actorflow.store.frames import Frame
    from actorflow.store.store import Store


class Story(Struct):
    """Activations by their idempotency keys, items of fan-outs and those of inner graphs among them."""

    opened: dict[str, int] = field(default_factory=dict[str, int])
    """The number of the commit that first opened it. Not of turns: those may begin before that."""
    over: Counter[str] = field(default_factory=Counter[str])
    """How often it was open and then was not any more: once, if it is over."""


def story_of(store: Store, run_id: str, frames: list[Frame]) -> Story:
    """Fold a whole history, from its first commit or a snapshot on, and watch what is open."""
    story, joiner = Story(), Joiner(store.blobs(run_id))
    run: RunState | None = None
    before: dict[int, str] = {}
    for frame in frames:
        body = decode_body(frame.body)
        restore, records = thaw, body.records
        if refs := references(frame.body):
            joiner.fetch(refs.values())
            restore, records = joiner.value, joiner.records(records)
        if body.snapshot is not None:
            run = load(body.snapshot, restore=restore)
        for record in records:
            if isinstance(record, Spawned):
                run = begin(record)
            elif run is not None:
                run = fold(run, record)
            now: dict[int, str] = {} if run is None else {id_: one.key.hex() for id_, one in run.open.items()}
            for id_ in () if isinstance(record, TurnOpened) else now.keys() - before:
                story.opened.setdefault(now[id_], frame.header.seq)
            story.over.update(before[id_] for id_ in before.keys() - now)
            before = now
    return story
