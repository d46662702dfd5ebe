"""Heartbeats: how a process that opened a bucket shows the others that it lives.

One small object per process, put anew under the next number at each beat, so
that one listing shows who moved. Nothing here is part of any guarantee: a
heartbeat only says *when* a claim is worth trying, fencing does the rest
(guarantee 3). So no two clocks are ever compared: an observer waits on its own
until a lease has passed without a beat.
"""

from __future__ import annotations

import math
import os
import re
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from actorflow.errors import StoreDenied, StoreError
from actorflow.store.keys import HOSTS
from actorflow.store.liveness import Incarnation
from actorflow.store.machine import boot_id, host_name, machine_id, pid_space

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.store.backend import Backend
    from actorflow.store.frames import Owner

BEATS_PER_LEASE = 3
SHORTEST = 0.01  # seconds that a lease may be
FORGOTTEN_AFTER = 20
"""Leases without a beat after which anybody may clear a process's last heartbeat away."""

_FRESH = 0.1  # of a lease: so long one listing serves all questions
_BEAT = re.compile(
    r"hosts/(?P<machine>[^/]+)/(?P<incarnation>[0-9a-f]+)"
    r"\.(?P<lease>[0-9]+)\.(?P<space>[0-9]+)\.(?P<number>[0-9]{20})\.beat"
)


class _Seen(Struct):
    """What was seen of one process: its newest beat, and since when, on our clock, it is the newest."""

    number: int
    since: float
    lease: float
    space: int
    keys: list[str]


class HeartbeatIncarnation(Incarnation):
    """An opening of a store that others reach from elsewhere: it lives as long as its heartbeat goes on."""

    def __init__(
        self,
        backend: Backend,
        url: str,
        *,
        lease: float,
        readonly: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open, without a beat yet.

        Args:
            backend: where the heartbeats are.
            url: the store, for errors.
            lease: seconds without a beat after which others may take this process's runs. They wait for
                as long as the process they watch said, not as long as they themselves would have.
            readonly: never beat, and so never own.
            clock: seconds, monotonic; for tests.

        Raises:
            ValueError: such a lease could not be kept, or would never be over.
        """
        if not SHORTEST <= lease < math.inf:
            raise ValueError(f"a lease is a number of seconds, at least {SHORTEST}, and not {lease}")
        super().__init__(url)
        self.lease = lease
        self._backend = backend
        self._readonly = readonly
        self._clock = clock
        self._beating = threading.Lock()
        self._number = -1
        self._shown = False
        self._kept: list[str] = []  # our beats that may still be there
        self._looking = threading.Lock()
        self._began = self._ended = -math.inf  # the newest look
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._left: set[tuple[str, str]] = set()  # they owned runs, and had no heartbeat when we looked

    # -- our own -----------------------------------------------------------------------

    def take(self) -> None:
        """Beat for the first time, before the first claim.

        Raises:
            StoreDenied: the store was opened to be read only.
        """
        if self._readonly:
            raise StoreDenied(self.url, "it was opened to be read only")
        with self._beating:  # whoever comes second waits until the first beat is there
            if not self._shown:
                self._beat()

    @property
    def beat_every(self) -> float:
        """Seconds between two beats."""
        return self.lease / BEATS_PER_LEASE

    def beat(self) -> None:
        """Show that this process lives: `BEATS_PER_LEASE` times a lease. Two requests."""
        with self._beating:
            if self._over is None:
                self._beat()

    def _beat(self) -> None:
        self._number += 1
        self._kept.append(self._key(self._number))  # before it is put: one that fails may be there, too
        self._backend.put_new(self._kept[-1], b"", durable=False)
        self._shown = True
        if old := self._kept[:-1]:
            self._backend.delete(old)
            del self._kept[:-1]

    def _key(self, number: int) -> str:
        lease = int(self.lease * 1000)
        return f"{HOSTS}{machine_id()}/{self.name}.{lease}.{pid_space()}.{number:020d}.beat"

    def _release(self) -> None:
        # A beat that is on its way ends first: it would show us alive again. If this fails, others wait for a lease:
        # no reason to fail the commit that was the last to end, or whoever closes the store.
        with self._beating, suppress(StoreError):
            kept, self._kept = self._kept, []
            if kept:
                self._backend.delete(kept)

    def _abandon(self) -> None:
        self._kept = []  # the parent's
        self._beating, self._looking = threading.Lock(), threading.Lock()  # its threads may hold the old ones for ever

    # -- the others' -------------------------------------------------------------------

    def _is_dead(self, owner: Owner) -> bool:
        """Whether its heartbeat stopped for a lease; at once if it closed in order, or was a process of this machine.

        Who was never seen before is given a whole lease first.
        """
        who = (owner.machine, owner.incarnation)
        with self._looking:
            is_fresh = self._clock() - self._ended < self.lease * _FRESH
            # Who is missing may have begun since: it beat before the claim that the caller has seen.
            if not is_fresh or (who not in self._seen and who not in self._left):
                self._look()
            seen = self._seen.get(who)
            if seen is None:
                self._left.add(who)
                return True
            return _is_gone_here(owner, seen.space) or self._stood_still(seen) >= seen.lease

    def missed_in(self) -> float:
        """Seconds until the next one that was seen has not beaten for its lease, unless it beats; infinity: nobody.

        Whoever looks then, and not only at its own pace, finds the dead a lease after it saw their last beat.
        """
        # No lock: it is asked on the event loop, and a look holds that while it lists. What a look saw never changes.
        now, stale = self._clock(), self._ended + self.lease * _FRESH
        awaited = [seen for seen in self._seen.values() if self._stood_still(seen) < seen.lease]
        left = [max(seen.since + seen.lease, stale) - now for seen in awaited]
        return min((seconds for seconds in left if seconds > 0), default=math.inf)

    def _stood_still(self, seen: _Seen) -> float:
        """Seconds for which it certainly did not beat: from the end of one look to the beginning of another."""
        return self._began - seen.since

    def _look(self) -> None:
        # A listing may take longer than a lease, and shows what was there at some moment of that time.
        began = self._clock()
        keys = self._backend.list(HOSTS)
        now = self._clock()
        found: dict[tuple[str, str], _Seen] = {}
        for key in keys:
            if (match := _BEAT.fullmatch(key)) is None:
                continue
            who, number = (match["machine"], match["incarnation"]), int(match["number"])
            seen = found.setdefault(who, _Seen(number, now, int(match["lease"]) / 1000, int(match["space"]), []))
            seen.number = max(seen.number, number)
            seen.keys.append(key)
        for who, seen in found.items():
            before = self._seen.get(who)
            if before is not None and before.number == seen.number:
                seen.since = before.since
        self._seen, self._began, self._ended = found, began, now
        self._left -= found.keys()
        self._forget_the_dead()

    def _forget_the_dead(self) -> None:
        """A beat that is deleted although its process lives costs nothing: the next one shows it again."""
        dead = [who for who, seen in self._seen.items() if self._stood_still(seen) >= seen.lease * FORGOTTEN_AFTER]
        keys = [key for who in dead for key in self._seen[who].keys]
        if keys and not self._readonly:
            self._backend.delete(keys)


def _is_gone_here(owner: Owner, space: int) -> bool:
    """Whether it was a process that this one would see, were it still there."""
    if (owner.machine, owner.boot, owner.host) != (machine_id(), boot_id(), host_name()) or space != pid_space():
        return False
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
