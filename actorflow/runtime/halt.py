"""Halt: a run that lives here stands still between two actors, all of it committed, until somebody is done with it."""

from __future__ import annotations

from anyio import Event
from msgspec import Struct, field

from actorflow.engine.run import RunState


class Halt(Struct, eq=False):
    """What somebody asked of a life who wants its run to stand still: its next actor goes on where the last one left.

    The run is not let go of meanwhile: no other process can claim it.
    """

    settled: Event = field(default_factory=Event)  # it stands, or its life is over
    over: Event = field(default_factory=Event)  # it goes on, or is left
    run: RunState | None = None  # as it goes on; None: as it stood
