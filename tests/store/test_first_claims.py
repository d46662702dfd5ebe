"""First claims: a run begins with one request, since commit 0 never goes away and its number has one taker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actorflow.store.backend import whole
from tests.store.drafts import ACTOR, claiming, part
from tests.store.object_runs import UUID, Watched, commit, grow, leave, log_of

if TYPE_CHECKING:
    from actorflow.store.frames import Draft
    from actorflow.store.log import Tip
    from actorflow.store.ownership import Ownership


class Taken(Exception):
    """There is a run of this id."""


@pytest.fixture
def bucket() -> Watched:
    """A bucket, empty."""
    return Watched()


def begin(bucket: Watched) -> Ownership:
    """Claim the run r, of which it is thought that there is none."""

    def draft_for(tip: Tip | None) -> Draft:
        if tip is not None:
            raise Taken
        return claiming(part(UUID))(None)

    return whole(log_of(bucket).claiming(draft_for, actor=ACTOR, new=True))


def test_who_has_looked_begins_a_run_with_one_request(bucket: Watched) -> None:
    """No listing before the claim, and none after it."""
    bucket.revive()

    begin(bucket)

    assert dict(bucket.calls) == {"put": 1}


def test_who_comes_second_is_told_of_the_run(bucket: Watched) -> None:
    """It had looked before there was one."""
    leave(grow(log_of(bucket), 3))

    with pytest.raises(Taken):
        begin(bucket)

    assert len(log_of(bucket).read(first=0)) == 5


def test_a_run_whose_commits_were_let_go_of_is_still_there(bucket: Watched) -> None:
    """Retention and merging free numbers, but not that of commit 0."""
    owned = grow(log_of(bucket), 40, snapshot_every=20)
    log_of(bucket).let_go(40)
    commit(owned, kind="release")
    owned.close()

    with pytest.raises(Taken):
        begin(bucket)


def test_planted_commit_0_goes_away(bucket: Watched) -> None:
    """Planted: its number is freed like any other. Then a run begins below the one that is there."""
    leave(grow(log_of(bucket), 3))
    bucket.inner.delete([log_of(bucket).key(0)])

    assert begin(bucket).header.seq == 0
