"""Figures: what a soak counted and measured, and how it is told."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.soak.oracle import Oracle

_WARM = 1 / 3  # of the time: until then memory grows because caches fill


@dataclass(slots=True)
class Figures:
    """Of one store."""

    seconds: float = 0.0
    rounds: int = 0  # judgements in the middle
    runs: int = 0  # that ended
    judged: int = 0  # whose end the oracle read before retention deleted them
    written: int = 0  # entries in ledgers, those of couriers included
    takeovers: int = 0  # of runs whose owner had not released them
    events: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)  # of the network, that a request met
    told: Counter[str] = field(default_factory=Counter)
    recoveries: list[float] = field(default_factory=list)  # seconds from a death to the claim that followed
    weights: list[tuple[float, float]] = field(default_factory=list)  # seconds, MiB of the process that lived longest

    def take(self, oracle: Oracle, died: dict[int, float], stood: list[tuple[float, float]]) -> None:
        """What the oracle heard in all, and how long the runs of the dead waited while somebody could move."""
        self.told = oracle.told
        self.runs = len(oracle.over)
        self.judged = self.runs - oracle.deleted
        self.written = oracle.written
        self.takeovers = len(oracle.takeovers)
        for before, claim in oracle.takeovers:
            death = died.get(before.who)
            if death is not None and claim.at >= death:
                idle = sum(max(0.0, min(claim.at, end) - max(death, began)) for began, end in stood)
                self.recoveries.append(claim.at - death - idle)

    @property
    def growth(self) -> float | None:
        """MiB a minute that the process that lived longest grew by, when it had warmed up; None: too short to say."""
        late = self.weights[int(len(self.weights) * _WARM) :]
        if len(late) < 3:
            return None
        return statistics.linear_regression(*zip(*late, strict=True)).slope * 60

    def recovery(self, percent: int) -> float:
        """Seconds within which so many percent of the runs of the dead were claimed."""
        if len(self.recoveries) < 2:
            return self.recoveries[0] if self.recoveries else 0.0
        return statistics.quantiles(self.recoveries, n=100, method="inclusive")[percent - 1]

    def shown(self) -> list[str]:
        """Line by line."""
        told, growth = self.told, self.growth
        weights = [weight for _, weight in self.weights]
        grown = (
            "too short to say" if growth is None else f"{growth:+.2f} MiB/min once warm, at most {max(weights):.0f} MiB"
        )
        return [
            f"time          {self.seconds:.0f} s, {self.rounds} judgements and the last",
            f"runs          {self.runs} over, {self.judged} of them judged before retention deleted them",
            f"commits       {told['tried']} tried, {told['acknowledged']} acknowledged",
            f"messages      {told['sent']} sent, {told['kept']} known to be kept; {self.written} entries are written",
            f"nodes         {told['started']} started",
            f"events        {_counted(self.events)}",
            f"network       {_counted(self.faults)}",
            f"takeovers     {self.takeovers}",
            (
                f"met           {told['fenced']} fenced, {told['blocked']} blocked, {told['corrupt']} corrupt, "
                f"{told['outage']} outages"
            ),
            f"recovery      p50 {self.recovery(50):.2f} s, p99 {self.recovery(99):.2f} s, of {len(self.recoveries)}",
            f"memory        {grown}",
        ]


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items())) or "none"
