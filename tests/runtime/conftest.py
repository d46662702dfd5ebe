"""What the tests of the runtime share: a virtual clock that waits for slow disks."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def patient_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual time stands still while a thread works, however late that is: none here waits for time to pass."""
    monkeypatch.setattr("actorflow.testing.clock.STUCK", 30.0)
