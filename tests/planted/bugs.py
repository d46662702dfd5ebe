"""All planted bugs by name, and planting one in this process."""

from __future__ import annotations

import os

import pytest

from tests.planted import (
    in_care,
    in_inboxes,
    in_reloads,
    in_runtimes,
    in_supervision,
    in_workers,
    on_buckets,
    on_local_disk,
    registry,
)

VARIABLE = "ACTORFLOW_PLANT"

BUGS = {
    name: bug
    for module in (on_local_disk, on_buckets, in_runtimes, in_reloads, in_supervision, in_workers, in_care, in_inboxes)
    for name, bug in registry.BUGS.items()
    if bug.plant.__module__ == module.__name__
}


def plant_from_environment() -> str | None:
    """Plant the bug that the variable names, for as long as this process lives; its name."""
    name = os.environ.get(VARIABLE)
    if name:
        BUGS[name].plant(pytest.MonkeyPatch())
    return name or None
