"""The rules of the append log hold for every interleaving, kill and power loss, and each of them is needed."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from tests.models.append_log import AppendLog, Rules
from tests.models.explorer import LARGE, explore

# What is exhausted, and how many states it has at least. `processes` says where each actor lives.
BOUNDS: list[tuple[dict[str, Any], int]] = [
    ({"processes": (0, 1), "numbers": 5}, 50_000),
    ({"processes": (0, 0, 1), "numbers": 3}, 80_000),
    ({"processes": (0, 1, 2), "numbers": 3}, 150_000),
]
LARGE_BOUNDS: list[tuple[dict[str, Any], int]] = [
    ({"processes": (0, 0, 1), "numbers": 4}, 350_000),
    ({"processes": (0, 1, 2), "numbers": 4}, 700_000),
    ({"processes": (0, 1), "numbers": 5, "failed_syncs": 2, "short_writes": 2, "power_losses": 2}, 100_000),
    ({"processes": (0, 0, 1, 2), "numbers": 3}, 1_000_000),
]

# Each mistake with what it leads to.
MISTAKES = [
    ("reads_after_lock_check", "was acknowledged, but the history ends"),
    ("syncs_folder_before_link", "can't be read: no 1"),
    ("syncs_folder_after_link", "was acknowledged, but the history ends with nothing"),
    ("syncs_file_before_link", "can't be read: file 0 is empty"),
    ("copies_newest_frame", "can't be read: no 1"),
    ("links_exclusively", "was acknowledged, but the history ends"),
    ("cuts_off_short_write", "can't be read: file 0 is damaged"),
    ("new_file_after_failed_sync", "was acknowledged, but the history ends"),
    ("waits_for_own_append", "was acknowledged, but the history ends"),
    ("lock_outlives_append", "was acknowledged, but the history ends"),
    ("lock_survives_fork", "was acknowledged, but the history ends"),
]


@pytest.mark.slow
@pytest.mark.timeout(0 if LARGE else 300)
@pytest.mark.parametrize(("bounds", "at_least"), LARGE_BOUNDS if LARGE else BOUNDS)
def test_the_protocol_has_no_violation(bounds: dict[str, Any], at_least: int) -> None:
    """Every state within the bounds was looked at, and none is wrong."""
    found = explore(AppendLog(Rules(), **bounds), limit=20_000_000)

    assert found.violation is None, str(found)
    assert found.states >= at_least


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("rule", "leads_to"), MISTAKES)
def test_every_mistake_is_found(rule: str, leads_to: str) -> None:
    """One rule broken is enough for a trace that ends in a lost commit or an unreadable run."""
    mistake = Rules(**{rule: False})

    found = explore(AppendLog(mistake, processes=(0, 0, 1), numbers=4), limit=1_000_000)

    assert found.violation is not None
    assert leads_to in found.violation, str(found)
    assert len(found.trace) == found.depth > 0


def test_the_copy_and_the_sync_of_the_predecessor_back_each_other() -> None:
    """While syncs don't fail, the sync of the predecessor is enough without the copy, and neither is not."""
    bounds: dict[str, Any] = {"processes": (0, 0, 1), "numbers": 3, "failed_syncs": 0}
    synced = Rules(copies_newest_frame=False)
    neither = Rules(copies_newest_frame=False, syncs_predecessor=False)

    enough = explore(AppendLog(synced, **bounds), limit=1_000_000)
    refuted = explore(AppendLog(neither, **bounds), limit=1_000_000)

    assert enough.violation is None, str(enough)
    assert enough.states >= 20_000
    assert refuted.violation == "the run can't be read: no 1", str(refuted)


def test_every_rule_has_its_mistake() -> None:
    """No rule of the model is there that no planted mistake breaks."""
    broken = {rule for rule, _ in MISTAKES}

    assert broken | {"syncs_predecessor"} == {field.name for field in fields(Rules)}
