"""Listings in no order: on a service that has them, no number of a commit ever comes free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorflow.store.liveness import MemoryIncarnation
from tests.store.drafts import ACTOR, claiming, part
from tests.store.object_runs import UUID, Watched, commit, grow, leave, log_of, names_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.store.log import Tip
    from actorflow.store.ownership import Ownership


class Downwards(Watched):
    """A service that lists from the end, a page at a time. Once, `meanwhile` happens between two pages."""

    def __init__(self) -> None:
        super().__init__()
        self.ascends = False
        self.meanwhile: Callable[[], object] | None = None

    def list(self, prefix: str) -> list[str]:
        """What is above the newest key, then what is below."""
        last = max(super().list(prefix), default="")
        if (meanwhile := self.meanwhile) is not None:
            self.meanwhile = None
            meanwhile()
        return [key for key in super().list(prefix) if key <= last]


def seqs(bucket: Watched) -> list[int]:
    """The numbers of the history."""
    return [frame.header.seq for frame in log_of(bucket).read(first=0)]


def claim_late(bucket: Downwards) -> Ownership:
    """A claim of somebody who stalls before his put, and again in his second listing; a run goes on in both."""
    leave(grow(log_of(bucket), 10, merge=False))
    other = MemoryIncarnation("memory://other")

    def while_listing() -> None:
        leave(grow(log_of(bucket, other), 60, snapshot_every=20, merge=False))
        tip = log_of(bucket).tip()
        assert tip is not None
        log_of(bucket).let_go(tip.header.snapshot)

    def before_the_put(tip: Tip | None) -> Any:
        if tip is not None and tip.header.seq == 11:
            while_listing()
            bucket.meanwhile = while_listing
        return claiming(part(UUID))(tip)

    return log_of(bucket).claim(before_the_put, actor=ACTOR)


def test_where_listings_do_not_ascend_no_number_comes_free() -> None:
    """So a claimer that comes too late finds his number taken. The history begins at the floor all the same."""
    owned = claim_late(bucket := Downwards())

    commit(owned)

    assert seqs(bucket)[-1] == owned.header.seq
    assert seqs(bucket)[0] == names_of(bucket).floor > 0
    assert names_of(bucket).loose == tuple(range(owned.header.seq + 1))


def test_planted_numbers_that_come_free_there_let_two_own_a_run() -> None:
    """Planted: such a service is said to list upwards. What the claimer that came too late commits is in no history."""
    bucket = Downwards()
    bucket.ascends = True
    owned = claim_late(bucket)

    commit(owned)

    assert owned.header.seq < seqs(bucket)[0]


def test_where_listings_do_not_ascend_nothing_is_merged() -> None:
    """No number may come free there, so a merged file would only be one more."""
    bucket = Downwards()
    grow(log_of(bucket), 200)

    names = names_of(bucket)

    assert names.loose == tuple(range(201))
    assert names.spans == ()
