"""RunState: a run as of one record: its scopes, what is open in them, and what waits or is parked there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

from actorflow.engine.operations import Values
from actorflow.engine.records import ENDED, ErrorInfo, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = ""
"""The path of the root scope."""

Unseen = frozenset[str]
"""Fields without reducer whose last write in the scope is not in the holder's causal past."""

NOTHING: Unseen = frozenset()


class Token(Struct):
    """What an activation left on an edge: it waits at a join, or is parked at a leaf."""

    key: bytes
    unseen: Unseen = NOTHING
    offered: frozenset[str] = NOTHING  # parked only: the targets that a grown graph has been offered


class Activation(Struct):
    """One scheduled execution of one node. ``base`` is its scope's values after the record that opened it."""

    id: int  # a counter of the log, used by records only
    key: bytes  # a hash of what caused it: the same in every execution of this history
    node: str
    scope: str
    base: Values
    unseen: Unseen = NOTHING
    attempt: int = 0  # recorded attempts that failed
    due: float | None = None  # not before this time, seconds since the epoch
    merged: bool = False  # its update is in, its routing is still to come


class Scope(Struct):
    """Where activations live: its own values, the tokens waiting at its joins, those parked at its leaves."""

    path: str
    values: Values
    owner: int | None = None  # the activation that owns this scope; the root has none
    waiting: dict[str, dict[str, list[Token]]] = field(default_factory=dict[str, dict[str, list[Token]]])
    parked: dict[str, Token] = field(default_factory=dict[str, Token])


class RunState(Struct):
    """A run as of one record. `fold` makes the next one of it; nothing else changes it."""

    run_id: str
    life: int
    graph: str
    topology: bytes
    durability: Literal["sync", "async", "exit"]
    digest: bytes
    scopes: dict[str, Scope]
    open: dict[int, Activation] = field(default_factory=dict[int, Activation])
    status: Status = "running"
    epoch: int = 1
    opening: int = 1
    next_id: int = 1
    activations: int = 0  # opened since the run was last opened
    last_node: str | None = None
    failed_in: str | None = None
    error: ErrorInfo | None = None

    @property
    def root(self) -> Scope:
        """The outermost scope, whose values are the run's state."""
        return self.scopes[ROOT]

    @property
    def ended(self) -> bool:
        """Whether no actor may go on with the run until it is reopened."""
        return self.status in ENDED

    def open_in(self, scope: str) -> Iterator[Activation]:
        """The activations that are open in a scope, oldest first."""
        return (activation for activation in self.open.values() if activation.scope == scope)

    def tokens_in(self, scope: str) -> Iterator[Token]:
        """All tokens that wait or are parked in a scope."""
        held = self.scopes[scope]
        for legs in held.waiting.values():
            for tokens in legs.values():
                yield from tokens
        yield from held.parked.values()
