"""Records of what nodes do: activations open, finish, ask and fail, and so do the scopes and fan-outs they own."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from actorflow.engine.error_info import ErrorInfo
from actorflow.engine.operations import Operation


class Open(Struct, frozen=True, array_like=True):
    """An activation to open.

    ``takes`` are legs of its join (one that stands there twice gives two
    tokens), ``late`` those whose token of this round is taken in when it comes,
    ``parked`` leaves whose token it continues.
    """

    node: str
    key: bytes
    takes: tuple[str, ...] = ()
    parked: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    sent: list[Any] | None = None  # the inputs that were sent to it: it is a fan-out of these
    error: ErrorInfo | None = None  # what it is to handle
    failed: str | None = None  # the node whose error that was


class Gather(Struct, frozen=True, array_like=True):
    """The results of an activation's own fan-out go into a field: not said again, since each is in its own record."""

    field: str
    part: str  # of each result; empty: the whole
    extends: bool  # added to the list that is there, or put in its place


class Handed(Struct, frozen=True, array_like=True):
    """An update inside a subgraph as it will be merged again outside."""

    field: str
    mark: str  # how to read the value, see `updates`
    value: Any = None


Wait = Literal["ask", "before", "after", "sleep", "receive", "reply", "child"]
"""What an activation waits for: an answer (to its node, or to the graph before or after it), a time, a message of a
type, the reply of a run, the end of one."""


class Ask(Struct, frozen=True, array_like=True):
    """Something that an activation waits for. ``kind`` says who asks: the node, or the graph before or after it."""

    key: str
    kind: Wait
    question: str = ""
    payload: Any = None
    schema: Any = None  # of the answer, as JSON schema; None: anything
    due: float | None = None  # seconds since the epoch, when the default is taken for an answer
    default: Any = None
    asked: float = 0.0  # seconds since the epoch


class Finished(Struct, frozen=True, array_like=True, tag="finished"):
    """An activation finished: its update, and where its tokens go. A leaf parks its token instead."""

    id: int
    operations: tuple[Operation, ...] = ()
    puts: tuple[tuple[str, str], ...] = ()  # (target, leg)
    opens: tuple[Open, ...] = ()
    parks: bool = False
    took: float = 0.0  # seconds, of the attempt that succeeded
    gathers: tuple[Gather, ...] = ()
    handed: tuple[Handed, ...] = ()
    cached: bool = False  # it did not run: its update was known from an earlier run


class Merged(Struct, frozen=True, array_like=True, tag="merged"):
    """An activation's update, while its routing is still to come: a branch raised. The work is not thrown away."""

    id: int
    operations: tuple[Operation, ...] = ()
    took: float = 0.0
    gathers: tuple[Gather, ...] = ()
    handed: tuple[Handed, ...] = ()
    goto: tuple[str, ...] | None = None  # where it leads, if that is known: END by its value
    sends: tuple[tuple[str, list[Any]], ...] = ()
    leaves: bool = False  # it leads to nodes of the graph around, so that the scope ends


class Began(Struct, frozen=True, array_like=True, tag="began"):
    """An activation was begun for the first time, and how long all of its attempts take is limited."""

    id: int
    at: float  # seconds since the epoch


class Attempted(Struct, frozen=True, array_like=True, tag="attempted"):
    """An attempt failed and the next one is far enough away to be worth remembering."""

    id: int
    attempt: int
    due: float  # seconds since the epoch
    error: ErrorInfo


class Handling(Struct, frozen=True, array_like=True, tag="handling"):
    """A node failed for good, and its ``on_error`` goes on in its place. What it owned is dropped."""

    id: int
    error: ErrorInfo
    failed: str  # the node that raised: this one, or one inside


class Rebased(Struct, frozen=True, array_like=True, tag="rebased"):
    """Somebody outside wrote a field that this activation was about to overwrite: it runs again, having seen that."""

    id: int


class Formed(Struct, frozen=True, array_like=True, tag="formed"):
    """The schema of a scope inside, before the first such scope: files say only that of the run's own state."""

    schema: str  # by what scopes refer to it: its name, unless another form is called so
    version: int | str | None
    fields: tuple[tuple[str, str, bool], ...]  # name, type text, has a default
    name: str = ""  # empty: ``schema``


class Entered(Struct, frozen=True, array_like=True, tag="entered"):
    """An activation began a scope of its own, with these values."""

    id: int
    path: str
    schema: str
    values: dict[str, Any]
    opens: tuple[Open, ...]
    hands: tuple[str, ...] = ()  # fields whose updates are kept, to be handed up
    kept: bool = False  # its values stay when the activation finishes


class Queued(Struct, frozen=True, array_like=True, tag="queued"):
    """An activation waits until the kept scope that it is to enter is free."""

    id: int


class Fanned(Struct, frozen=True, array_like=True, tag="fanned"):
    """An activation began a fan-out. Its items are fixed: elements of a field of its base, these, or what was sent."""

    id: int
    total: int
    limit: int
    field: str | None = None
    items: list[Any] | None = None


class ItemDone(Struct, frozen=True, array_like=True, tag="item"):
    """An item of a fan-out finished, with this result; the next one opens."""

    id: int
    result: Any = None
    took: float = 0.0


class ItemFailed(Struct, frozen=True, array_like=True, tag="itemfailed"):
    """An item of a fan-out failed for good, and the others go on."""

    id: int
    error: ErrorInfo


class Asked(Struct, frozen=True, array_like=True, tag="asked"):
    """An activation waits for answers."""

    id: int
    asks: tuple[Ask, ...]
    attempt: int = 0  # those before the one that asks


class Answered(Struct, frozen=True, array_like=True, tag="answered"):
    """Somebody answered, or nobody did in time."""

    id: int
    key: str
    value: Any = None
    by: str | None = None
    expired: bool = False


NodeRecord = (
    Finished
    | Merged
    | Began
    | Attempted
    | Handling
    | Rebased
    | Formed
    | Entered
    | Queued
    | Fanned
    | ItemDone
    | ItemFailed
    | Asked
    | Answered
)
"""What happens by nodes."""
