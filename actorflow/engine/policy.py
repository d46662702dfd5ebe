"""Restart policy: whether a crashed actor is started again, and when. Pure, so that it is tested as a table."""

from __future__ import annotations

from msgspec import Struct

from actorflow.errors import (
    AmbiguousStep,
    AttemptOver,
    BadAnswer,
    BadStepResult,
    BadUpdate,
    ConcurrentWrite,
    JoinStarved,
    NestedWorkers,
    NoItems,
    NotInWorker,
    OutcomeUnknown,
    ReducerError,
    StateMutated,
    StateTooLarge,
    StepFailed,
    TooDeep,
    TooManyActivations,
    TooManyItems,
    TooManySteps,
    UndeclaredTarget,
    UnknownNode,
    UnknownUndo,
    WaitInMiddleware,
)

PERMANENT: tuple[type[Exception], ...] = (
    AmbiguousStep,
    AttemptOver,
    BadAnswer,
    BadStepResult,
    BadUpdate,
    ConcurrentWrite,
    JoinStarved,
    NestedWorkers,
    NoItems,
    NotInWorker,
    OutcomeUnknown,
    ReducerError,
    StateMutated,
    StateTooLarge,
    StepFailed,
    TooDeep,
    TooManyActivations,
    TooManyItems,
    TooManySteps,
    UndeclaredTarget,
    UnknownNode,
    UnknownUndo,
    WaitInMiddleware,
)
"""Errors that a restart can't make go away: they fail the run at once."""


class RestartPolicy(Struct, frozen=True, kw_only=True):
    """OTP's restart intensity for one run, with backoff.

    More than ``max_restarts`` restarts within ``period`` seconds and the run
    is given up: it is ``failed``, its history intact. The n-th restart waits
    ``backoff * 2**(n - 1)`` seconds, at most ``max_backoff``, of which up to
    half is taken off at random. ``max_restarts=0`` gives up at once.

    A store that does not answer is no crash: its runs wait for it, without
    being counted, and are let go of only after ``max_outage`` seconds.
    """

    max_restarts: int = 3
    period: float = 60.0  # seconds
    backoff: float = 0.1  # seconds
    max_backoff: float = 30.0  # seconds
    max_outage: float = 300.0  # seconds
    never_restart: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        for name in ("max_restarts", "period", "backoff", "max_backoff", "max_outage"):
            value = getattr(self, name)
            if not value >= 0:  # NaN is neither
                raise ValueError(f"RestartPolicy({name}={value}): must be a number of at least 0")


class Restart(Struct, frozen=True):
    """Start again after ``delay`` seconds."""

    delay: float


class GiveUp(Struct, frozen=True):
    """Don't start again."""

    reason: str


def after_crash(
    policy: RestartPolicy, error: BaseException, restarts: tuple[float, ...], *, now: float, chance: float
) -> Restart | GiveUp:
    """What to do after a crash, given the times of earlier restarts. ``chance`` in [0, 1) is the jitter."""
    if (reason := hopeless(policy, error)) is not None:
        return GiveUp(reason)
    recent = sum(1 for at in restarts if now - at < policy.period)
    if recent >= policy.max_restarts:
        return GiveUp(f"{recent} restarts within {policy.period:g} s")
    return Restart(backoff(policy, recent, chance=chance))


def hopeless(policy: RestartPolicy, error: BaseException) -> str | None:
    """Why a restart would be of no use after this error; None: it may be."""
    if isinstance(error, PERMANENT):
        return f"{type(error).__name__} can't go away by itself"
    if isinstance(error, policy.never_restart):
        return f"{type(error).__name__} is never restarted"
    return None


def backoff(policy: RestartPolicy, recent: int, *, chance: float) -> float:
    """Seconds to wait before a restart that follows so many others."""
    doublings = min(recent, 100)  # past any max_backoff; much later the power would leave the floats
    return min(policy.backoff * 2.0**doublings, policy.max_backoff) * (1 - chance / 2)
