"""A breadth-first model checker: every reachable state of a small model, and the shortest way to a bad one.

A model is written as plain functions over hashable states. Whoever can stall,
can stall between any two steps, because the explorer tries every order; a
process that dies is one that is never tried again. What the explorer exhausts
is therefore true of every interleaving within the model's bounds, and what it
finds comes as the shortest trace that leads there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

S = TypeVar("S", bound="Hashable")

# ACTORFLOW_MODEL_BOUNDS=large explores what is too much for every check: minutes instead of seconds.
LARGE = os.environ.get("ACTORFLOW_MODEL_BOUNDS") == "large"


class Model(Protocol[S]):
    """What is explored: where it starts, what can happen next, and what must never be."""

    def initial(self) -> S:
        """Return the one state in which everything begins."""
        ...

    def steps(self, state: S) -> Iterable[tuple[str, S]]:
        """Return everything that can happen next, each as a sentence and the state it leads to."""
        ...

    def violation(self, state: S) -> str | None:
        """Say what is wrong with this state; None if nothing is."""
        ...


class BoundsTooLarge(Exception):
    """The model has more states than it was allowed: neither exhausted nor refuted."""


@dataclass(frozen=True)
class Exploration:
    """What was found: either all states are right, or ``trace`` leads to ``violation``."""

    states: int
    steps: int
    depth: int
    violation: str | None = None
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        seen = f"{self.states:,} states, {self.steps:,} steps, depth {self.depth}"
        if self.violation is None:
            return f"no violation in {seen}"
        lines = "".join(f"\n  {number:2}. {action}" for number, action in enumerate(self.trace, 1))
        return f"{self.violation} (after {seen}):{lines}"


def explore(model: Model[S], *, limit: int) -> Exploration:
    """Visit every reachable state once, nearest first, until one is wrong or none is left.

    More than ``limit`` states raise `BoundsTooLarge`: a model that was not
    exhausted must not look like one that was.
    """
    first = model.initial()
    states = [first]
    parents = [-1]
    numbers = {first: 0}
    steps = 0
    for current, state in enumerate(states):
        if (violation := model.violation(state)) is not None:
            trace = _trace(model, states, parents, current)
            return Exploration(len(states), steps, len(trace), violation, trace)
        for _, reached in model.steps(state):
            steps += 1
            if reached not in numbers:
                numbers[reached] = len(states)
                states.append(reached)
                parents.append(current)
        if len(states) > limit:
            raise BoundsTooLarge(f"more than {limit:,} states; {current:,} of them were looked at")
    return Exploration(len(states), steps, len(_path(parents, len(states) - 1)) - 1)


def _path(parents: list[int], number: int) -> list[int]:
    """The way from the first state to this one."""
    path = []
    while number >= 0:
        path.append(number)
        number = parents[number]
    return path[::-1]


def _trace(model: Model[S], states: list[S], parents: list[int], number: int) -> tuple[str, ...]:
    """What happened on that way; asked of the model again, because keeping it would cost more than the states."""
    path = _path(parents, number)
    return tuple(
        next(action for action, reached in model.steps(states[before]) if reached == states[after])
        for before, after in pairwise(path)
    )
