"""Senders and an actor on a bucket, killed again and again: each message counts once (guarantee 5)."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.kill.senders import Fire, Job, begin, outcome, problems

if TYPE_CHECKING:
    from pathlib import Path

SEED = "ACTORFLOW_KILL_SEED"
MESSAGES = "ACTORFLOW_KILL_MESSAGES"
SENDERS = 3


@pytest.mark.slow
def test_each_message_counts_once_on_a_bucket(moto: Any, tmp_path: Path) -> None:
    """As on a disk, but that a dead owner is known as such only when its lease is over."""
    seed = int(os.environ.get(SEED, "0")) or random.getrandbits(31)
    count = int(os.environ.get(MESSAGES, "6"))
    print(f"{SEED}={seed} repeats this")
    url, options = moto.place()
    job = Job(url, options, 1.0, str(tmp_path), seed, "asyncio", None, count)
    fire = Fire(job, SENDERS, most_kills=8, longest=1.5)
    anyio.run(begin, job)

    fire.rage(enough=max(45, 2 * count))

    state = anyio.run(outcome, job)
    print(f"{fire.kills} kills, {len(state.labels)} messages")
    assert problems(state, SENDERS, count) == []
    assert sum(fire.kills.values()) > 0
