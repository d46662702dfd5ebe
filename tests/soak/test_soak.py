"""The soak in small: that it comes to its end and finds nothing, and that it finds a bug which was planted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.soak.arena import Breach, soak

if TYPE_CHECKING:
    from pathlib import Path

    from tests.soak.arena import Kind

SEED = 3


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["local", "moto"])
def test_a_short_soak_finds_nothing(tmp_path: Path, kind: Kind) -> None:
    """Some seconds over a folder, and over a bucket behind a bad network: all runs end, and every promise is kept."""
    if kind == "moto":
        pytest.importorskip("moto.server", reason="no moto: pip install 'moto[server,s3]'")

    figures = soak(tmp_path / kind, kind, SEED, 8.0, workers=2, at_once=2 if kind == "local" else 1, least=40)

    assert figures.runs >= 2
    assert figures.told["acknowledged"] >= 40
    assert figures.rounds >= 1
    assert sum(figures.events.values()) >= 1
    assert (figures.told["outage"] == 0 and not figures.faults) or kind == "moto"


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("bug", "finding"),
    [
        ("claims what a living process owns", "is lost|after the claim"),
        ("recovery ignores the last frame", "is lost|: lost"),
    ],
)
def test_the_soak_finds_a_planted_bug(tmp_path: Path, bug: str, finding: str) -> None:
    """Planted: an oracle that never complains proves nothing."""
    with pytest.raises(Breach, match=finding) as caught:
        soak(tmp_path / "local", "local", SEED, 20.0, workers=3, bug=bug)

    assert f"seed={SEED}" in str(caught.value)
