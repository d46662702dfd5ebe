"""Retry: how often a node is called again when it raises, and how long to wait before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct

from actorflow.graph.timeouts import is_time

if TYPE_CHECKING:
    from collections.abc import Iterator

On = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception, Any], bool]
"""Which exceptions are worth another attempt: types, or a function of exception and state."""


class Retry(Struct, frozen=True, kw_only=True):
    """Calls a node again when it raises, with growing pauses.

    A node with a `Retry` that is used up fails its run; it is not restarted by
    the supervisor as well. Attempts are counted over all restarts of the process.

    Of several, ``retry=[Retry(...), Retry(...)]``, the first counts whose ``on``
    is for the error. They share one count: a node was called three times,
    whichever errors it raised.

    Args:
        attempts: calls in all, the first included; 1 never calls again.
        backoff: seconds before the second call.
        factor: each further pause is this many times longer.
        max_backoff: seconds that no pause exceeds.
        jitter: take a random part off each pause, at most half of it, so that
            many runs that failed together don't come back together.
        on: exception types, or ``(exception, state) -> bool``.
        deadline: seconds since its first call after which no further one begins; a call that
            runs is not cut off by it (see `Timeout` for that). Counted over all restarts of the process.

    Example:
        >>> from actorflow import Retry
        >>> Retry(attempts=4, backoff=0.5, jitter=False).delay(3, 0.0)
        2.0
    """

    attempts: int = 3
    backoff: float = 0.1
    factor: float = 2.0
    max_backoff: float = 60.0
    jitter: bool = True
    on: On = Exception
    deadline: float | None = None

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or self.attempts < 1:
            raise ValueError(
                f"Retry(attempts={self.attempts!r}): attempts counts calls, the first included; at least 1"
            )
        for name, least in (("backoff", 0.0), ("factor", 1.0), ("max_backoff", 0.0)):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and value >= least):
                raise ValueError(f"Retry({name}={value!r}): must be a finite number of at least {least:g}")
        if self.deadline is not None and not is_time(self.deadline):
            raise ValueError(f"Retry(deadline={self.deadline!r}): give seconds, more than 0, or None for no end")
        if not _is_condition(self.on):
            raise TypeError(
                f"Retry(on={self.on!r}): give an Exception class, a tuple of them, or (exception, state) -> bool; "
                "BaseExceptions such as KeyboardInterrupt are never retried"
            )

    def delay(self, attempt: int, random: float) -> float:
        """Seconds to wait after the failure of call number ``attempt`` (1 is the first).

        ``random`` is a number from 0 up to 1; the caller draws it, so that this stays pure.
        """
        try:
            pause = min(self.backoff * self.factor ** (attempt - 1), self.max_backoff)
        except OverflowError:  # the power left the floats long after it passed max_backoff
            pause = self.max_backoff if self.backoff else 0.0
        return pause * (1.0 - random / 2.0) if self.jitter else pause

    def applies(self, error: Exception, state: Any) -> bool:
        """Whether this exception is worth another attempt; how many there were is not asked here."""
        if isinstance(self.on, type) or not callable(self.on):  # a class can be called too
            return isinstance(error, self.on)
        return bool(self.on(error, state))


Retries = Retry | Sequence[Retry] | None
"""What ``retry=`` takes: one policy, several of which the first that applies counts, or None for none."""


def policies_of(given: Retries) -> tuple[Retry, ...]:
    """What ``retry=`` was given, as the engine reads it."""
    if given is None:
        return ()
    return (given,) if isinstance(given, Retry) else tuple(given)


def first_applying(policies: Iterable[Retry], error: Exception, state: Any) -> Retry | None:
    """The policy that counts for this error; None: it is not worth another attempt."""
    return next((policy for policy in policies if policy.applies(error, state)), None)


def problems_of_retry(given: object) -> Iterator[str]:
    """Why this can't be what ``retry=`` is given."""
    if given is None or isinstance(given, Retry):
        return
    several = cast("Sequence[object]", given) if isinstance(given, list | tuple) else ()
    if not several or not all(isinstance(one, Retry) for one in several):
        yield f"retry={given!r}: give a Retry, or a list of them"


def _is_condition(on: object) -> bool:
    if isinstance(on, tuple):
        types = cast("tuple[object, ...]", on)
        return bool(types) and all(isinstance(type_, type) and issubclass(type_, Exception) for type_ in types)
    return issubclass(on, Exception) if isinstance(on, type) else callable(on)
