"""Recall: several runs are stopped one after the other, and started again one after the other, by their supervisor."""

from __future__ import annotations

from anyio import Event
from msgspec import Struct, field


class Recall(Struct, eq=False):
    """The restart of several runs as one of them has it: it stops, waits for its turn, and says when it is back.

    What runs of it is cancelled, unrecorded; the run stays claimed meanwhile.
    """

    stopped: Event = field(default_factory=Event)
    turn: Event = field(default_factory=Event)  # or it need not be waited for any more
    back: Event = field(default_factory=Event)  # or it will not be: its life is over, or waits for the store
