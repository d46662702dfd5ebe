"""Times: when a schedule is due. Pure: the same question gets the same answer in every process.

An interval keeps its grid: each time follows from the one before, and not from
when somebody came to see. A cron line is read in its time zone, as cron reads
it there: a time that a change of clocks leaves out comes right after the gap,
one that comes twice counts once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 10_000
"""So many times are looked through at most, when nobody came to see for long; the older ones are passed over."""


class Times(Struct, frozen=True):
    """When a schedule is due: every so many seconds, or by a cron line in a time zone."""

    every: float | None = None
    cron: str | None = None
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if (self.every is None) == (self.cron is None):
            raise ValueError("say when: every= so many seconds, or cron= a line like '0 6 * * MON-FRI'; one of them")
        if self.every is not None and not 1e-3 <= self.every < 1e10:  # NaN is not
            raise ValueError(f"every={self.every}: give seconds, at least 0.001")
        if self.cron is not None:
            next(_by_cron(self.cron, self.timezone, 0.0))

    def after(self, time: float) -> float:
        """The first time after this one, in seconds since the epoch."""
        return time + self.every if self.every is not None else next(self._cron_times(time))

    def until(self, first: float, now: float) -> tuple[list[float], float]:
        """The times from ``first`` to ``now``, and the one that follows; of very many the newest."""
        if first > now:
            return [], first
        if self.every is not None:
            last = int((now - first) // self.every)
            found = [first + index * self.every for index in range(max(0, last - LONGEST + 1), last + 1)]
            return found, first + (last + 1) * self.every
        found = [first]
        for time in self._cron_times(first):
            if time > now:
                return found[-LONGEST:], time
            found.append(time)
        raise AssertionError  # pragma: no cover - a cron line that was due once is due again

    def _cron_times(self, time: float) -> Iterator[float]:
        assert self.cron is not None, "one of the two is there"  # noqa: S101
        return _by_cron(self.cron, self.timezone, time)


def _by_cron(line: str, timezone: str, time: float) -> Iterator[float]:
    """The times of a cron line after this one."""
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        raise ImportError("cron= needs cronsim: pip install 'actorflow[cron]'") from None
    try:
        zone = ZoneInfo(timezone)
    except Exception as error:
        raise ValueError(f"timezone={timezone!r} is not known here: {error}") from error
    try:
        times = CronSim(line, datetime.fromtimestamp(time, zone))
    except CronSimError as error:
        raise ValueError(f"cron={line!r}: {error}") from error
    for one in times:
        yield one.timestamp()
    raise ValueError(f"cron={line!r} is never due")


def stamp(time: float) -> str:
    """A time as it stands in the id of a run: sorts, and has milliseconds only where it needs them."""
    text = datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z").replace(".000Z", "Z")
