"""What the simulations share."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of simulated deaths are no news."""
    caplog.set_level(logging.CRITICAL, logger="actorflow")
