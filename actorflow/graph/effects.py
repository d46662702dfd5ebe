"""Effects: the words in which a step says how it may run, and whoever is asked says what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

Mode = Literal["at_least_once", "at_most_once"]
"""How often a step may run whose result nobody recorded: again, or not."""


class Intent(Struct, frozen=True, kw_only=True):
    """A step with ``mode="at_most_once"`` that was begun, and that nobody knows the outcome of.

    Args:
        name: of the step.
        key: as it was given; None: it was not.
        idempotency_key: under which it was done, if it was.
        when: it was begun.
    """

    name: str
    key: str | None
    idempotency_key: str
    when: datetime


class Done(Struct, frozen=True):
    """What ``reconcile=`` says of a step that was done: its result, as if the step had returned it.

    Example:
        >>> from actorflow import Done, Intent, NotDone
        >>> paid = {"k-1": "receipt 7"}
        >>> async def look(intent: Intent) -> Done | NotDone:
        ...     receipt = paid.get(intent.idempotency_key)
        ...     return NotDone() if receipt is None else Done(receipt)
    """

    value: Any = None


class NotDone(Struct, frozen=True):
    """What ``reconcile=`` says of a step that was not done, and will not be by itself: it runs now."""


class Unknown(Struct, frozen=True):
    """What ``reconcile=`` says of a step that it can't tell of either: the node gets `OutcomeUnknown`."""


Verdict = Done | NotDone | Unknown

Reconcile = Callable[[Intent], Verdict | Awaitable[Verdict]]
"""Says what became of a step, sync (in a worker thread) or async."""
