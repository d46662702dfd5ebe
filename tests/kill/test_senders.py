"""Ten senders and an actor, killed again and again: each message counts once (guarantee 5)."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import anyio
import pytest

from tests.kill.senders import Account, Fire, Job, begin, outcome, problems

if TYPE_CHECKING:
    from pathlib import Path

SEED = "ACTORFLOW_KILL_SEED"
MESSAGES = "ACTORFLOW_KILL_MESSAGES"
"""How many messages each sender sends. 1,000 take some minutes: pytest --timeout 1000."""

SENDERS = 10


@pytest.mark.slow
def test_each_message_counts_once_whoever_is_killed(tmp_path: Path) -> None:
    """With duplicates, delays, another order each time, and kills of senders and receiver; some senders take over."""
    seed = int(os.environ.get(SEED, "0")) or random.getrandbits(31)
    count = int(os.environ.get(MESSAGES, "200"))
    print(f"{SEED}={seed} repeats this")
    url = str(tmp_path / "store")
    job = Job(url, {}, 15.0, str(tmp_path), seed, "asyncio", None, count)
    fire = Fire(job, SENDERS, most_kills=50 + count // 10)
    anyio.run(begin, job)

    fire.rage(enough=max(100, count // 2))

    state = anyio.run(outcome, job)
    print(f"{fire.kills} kills, {len(state.labels)} messages")
    assert problems(state, SENDERS, count) == []
    assert min(fire.kills.values()) > 0


def test_the_oracle_notices_what_is_missing_and_what_counts_twice() -> None:
    """Or the test above would prove nothing."""
    state = Account(balance=1 + 1, labels=["0-0", "0-0"])

    assert problems(state, 1, 2) == ["0-1 is missing", "0-0 counted twice", "the sum is 2, not 3"]
