"""A plugin for pytest: ``ACTORFLOW_PLANT="…" pytest -p tests.planted.plugin tests/store`` runs tests with a bug in it.

It is planted before any test is collected, and also in the children that tests
start by `tests.store.children`, the only ones that they start for a part of
the library: these inherit the variable, and their first lines plant it again.
"""

from __future__ import annotations

import pytest

from tests.planted.bugs import BUGS, VARIABLE, plant_from_environment
from tests.store import children

_IN_CHILDREN = """
from tests.planted.bugs import plant_from_environment
plant_from_environment()
"""


def pytest_configure(config: pytest.Config) -> None:
    """Plant it, or say which ones there are."""
    try:
        planted = plant_from_environment()
    except KeyError as unknown:
        known = "\n  ".join(BUGS)
        raise pytest.UsageError(f"{VARIABLE}={unknown}: there is no such bug, but\n  {known}") from None
    if planted is not None:
        children._PRELUDE = _IN_CHILDREN + children._PRELUDE


def pytest_report_header() -> str:
    """What this run is worth."""
    return f"planted bugs to choose from by {VARIABLE}: {len(BUGS)}"
