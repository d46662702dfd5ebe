"""Runs under fire: real processes, killed again and again, at random moments and at every named point."""

from __future__ import annotations

import os
import random
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pytest

from tests.kill.siege import EACH, POINTS, Breach, besiege

if TYPE_CHECKING:
    from pathlib import Path

SEED = "ACTORFLOW_KILL_SEED"
KILLS = 200
AT_ONCE = 2  # sieges, beside each other
ENOUGH = 240.0  # seconds: far more than it takes


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_acknowledged_commit_is_lost_and_no_committed_activation_runs_again(tmp_path: Path) -> None:
    """Guarantees 1, 2, 3, 5, 9 and 11: after at least 200 SIGKILLs, also during recovery, every promise was kept."""
    seed = int(os.environ.get(SEED, "0")) or random.getrandbits(31)
    print(f"{SEED}={seed} repeats this")  # with the same choices; the timing stays the machine's

    with ProcessPoolExecutor(AT_ONCE, mp_context=get_context("spawn")) as processes:
        begun = [
            processes.submit(besiege, tmp_path, seed + number, KILLS // AT_ONCE, ENOUGH) for number in range(AT_ONCE)
        ]
        sieges = [one.result() for one in begun]

    kills, hits = sum(siege.kills for siege in sieges), sum((siege.hits for siege in sieges), Counter())
    stores, commits = sum(siege.stores for siege in sieges), sum(siege.commits for siege in sieges)
    print(f"{kills} kills, {sum(hits.values())} of them at named points, over {stores} stores and {commits} commits")
    print(", ".join(f"{point} {hits[point]}" for point in POINTS))
    assert kills >= KILLS
    assert [point for point in POINTS if not hits[point]] == []
    assert stores >= 4
    assert commits >= EACH * KILLS
    assert sum(siege.refused for siege in sieges) > 0, "no process ever met a living owner"


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("bug", "finding"),
    [
        ("acknowledges before it writes", "was acknowledged"),
        ("recovery ignores the last frame", "lost"),
        ("claims what a living process owns", "lost"),
        ("leaves temporary files", "left behind: .tmp-"),
        ("successor before its commit", "when only"),
    ],
)
def test_the_loop_finds_a_planted_bug(tmp_path: Path, bug: str, finding: str) -> None:
    """An oracle that never complains proves nothing: each of these bugs is found within a minute."""
    with pytest.raises(Breach, match=finding) as caught:
        besiege(tmp_path, 1, kills=KILLS, enough=60, bug=bug)

    assert f"Siege(seed=1, bug={bug!r})" in str(caught.value)
