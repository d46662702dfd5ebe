"""Records of a run as a whole: it begins and ends, is owned, and is changed by somebody outside."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from actorflow.engine.error_info import ErrorInfo
from actorflow.engine.node_records import Handed, Open
from actorflow.engine.operations import Operation
from actorflow.engine.supervision import RestartType

Status = Literal["running", "waiting", "paused", "finished", "failed", "cancelled", "quarantined", "deleted"]
ENDED: frozenset[Status] = frozenset({"finished", "failed", "cancelled", "quarantined", "deleted"})
"""The statuses of a run that no actor may go on with until it is reopened."""


class Spawned(Struct, frozen=True, array_like=True, tag="spawned"):
    """The run began, with this input."""

    run_id: str
    life: int
    graph: str
    topology: bytes
    durability: Literal["sync", "async", "exit"]
    digest: bytes  # of the encoded input: another input under this id is another run
    values: dict[str, Any]
    opens: tuple[Open, ...]
    lifetime: Literal["run", "actor"] = "run"


class Claimed(Struct, frozen=True, array_like=True, tag="claimed"):
    """An incarnation became the owner. An ``opening`` above the run's own reopens it, with a fresh budget."""

    epoch: int
    opening: int
    supervisor: str | None = None  # whose child it is from now on, by its path; None: whose it was
    restart: RestartType | None = None  # as a child of that one; None: as is usual there


class Released(Struct, frozen=True, array_like=True, tag="released"):
    """The owner let go; anybody may claim."""


class Updated(Struct, frozen=True, array_like=True, tag="updated"):
    """Somebody outside changed the state; with ``node``, as if that node had finished with this update."""

    operations: tuple[Operation, ...] = ()
    by: str | None = None
    scope: str = ""
    node: str | None = None
    closes: int | None = None  # the open activation of that node
    withdraws: bool = False  # the tokens that wait in front of it
    puts: tuple[tuple[str, str], ...] = ()
    opens: tuple[Open, ...] = ()
    key: bytes = b""  # of the tokens that it puts
    parks: bool = False
    handed: tuple[Handed, ...] = ()


class InputGiven(Struct, frozen=True, array_like=True, tag="input"):
    """More input: it was merged, and the entry is open again."""

    operations: tuple[Operation, ...] = ()
    opens: tuple[Open, ...] = ()
    discards: bool = False  # what was open or waiting before
    by: str | None = None
    queued: bool = False  # it had waited: it is the oldest in the queue


class InputQueued(Struct, frozen=True, array_like=True, tag="queuedinput"):
    """More input that waits until nothing else goes on in the run."""

    values: tuple[Handed, ...]
    by: str | None = None


class Paused(Struct, frozen=True, array_like=True, tag="paused"):
    """Nothing new begins in the run."""

    by: str | None = None


class Unpaused(Struct, frozen=True, array_like=True, tag="unpaused"):
    """The run goes on."""

    by: str | None = None


class Tagged(Struct, frozen=True, array_like=True, tag="tagged"):
    """A commit has a name, or (None) lost it; retention keeps those that have one."""

    name: str
    seq: int | None
    by: str | None = None


class Rewound(Struct, frozen=True, array_like=True, tag="rewound"):
    """The run went back. Its commit carries the run as it is since, in full."""

    seq: int
    record: int | None = None  # inside that commit; None: its last
    by: str | None = None


class Forked(Struct, frozen=True, array_like=True, tag="forked"):
    """The run began as a copy of another one. Its commit carries it in full."""

    run_id: str
    store: bytes
    seq: int
    digest: bytes  # of that commit
    by: str | None = None


class Measured(Struct, frozen=True, array_like=True, tag="measured"):
    """What the values of a scope take encoded. From here on it is kept up to date with each change of them."""

    scope: str
    size: int  # bytes


class Opened(Struct, frozen=True, array_like=True, tag="opened"):
    """Nothing else went on in a scope: its deferred nodes had their turn, or a join that newer code mended opened."""

    scope: str
    opens: tuple[Open, ...]


class Offered(Struct, frozen=True, array_like=True, tag="offered"):
    """A graph that grew: tokens parked at its former leaves went on along the new edges."""

    topology: bytes
    opens: tuple[Open, ...] = ()
    routed: tuple[str, ...] = ()  # leaves whose branches have been asked
    puts: tuple[tuple[str, str], ...] = ()  # (target, leaf): tokens that wait in front of deferred nodes now


class Failed(Struct, frozen=True, array_like=True, tag="failed"):
    """The run failed, by this activation or (None) as a whole. What is open stays open, for `resume`."""

    id: int | None
    error: ErrorInfo


class Ended(Struct, frozen=True, array_like=True, tag="ended"):
    """The run ended in this status, by itself or by somebody's decision."""

    status: Status
    by: str | None = None


class Imported(Struct, frozen=True, array_like=True, tag="imported"):
    """The run came from another store. All commits before this one are copies of those it had there."""

    store: bytes  # the uuid of the other store
    seq: int  # the newest commit that was copied
    digest: bytes  # of that commit, as it is there


class Repaired(Struct, frozen=True, array_like=True, tag="repaired"):
    """Somebody decided that the run goes on from before a damaged commit, whatever came after it."""

    seq: int  # the last commit that counts
    digest: bytes  # of that commit
    skipped: tuple[int, int]  # the first and the last number that do not count
    damaged: bytes  # the digest of the damaged file as it was, by which it was named
    by: str | None = None


RunRecord = (
    Spawned
    | Claimed
    | Released
    | Updated
    | InputGiven
    | InputQueued
    | Paused
    | Unpaused
    | Tagged
    | Rewound
    | Forked
    | Measured
    | Opened
    | Offered
    | Failed
    | Ended
    | Imported
    | Repaired
)
"""What happens to a run as a whole."""
