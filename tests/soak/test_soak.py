"""The soak in small: that it comes to its end and finds nothing, and that it finds a bug which was planted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from actorflow import Graph, Message, Runtime, State, Update
from actorflow.store.deletion import DELETED
from actorflow.store.store import open_store
from tests.soak.arena import Breach, soak
from tests.soak.oracle import Dossier, after_the_end, broken_chain, broken_promises, history_of
from tests.soak.told import Line

if TYPE_CHECKING:
    from pathlib import Path

    from tests.soak.arena import Kind

SEED = 3


def acknowledged(seq: int, *, epoch: int, nonce: str, who: int, status: str = "running") -> Line:
    """A promise."""
    return Line(
        what="acknowledged", who=who, at=0.0, run="r", seq=seq, epoch=epoch, nonce=nonce, kind="commit", status=status
    )


def test_promises_that_fit_each_other_are_no_problem() -> None:
    """Two owners, one after the other; the older one hears late of a commit that landed before the claim."""
    promises = [
        acknowledged(0, epoch=1, nonce="a", who=1),
        acknowledged(2, epoch=2, nonce="c", who=2),
        acknowledged(1, epoch=1, nonce="b", who=1),
    ]

    assert list(broken_promises("r", promises)) == []


def test_a_number_that_was_acknowledged_with_two_contents_is_a_violation() -> None:
    """Also when neither is kept any more: only one of them can be part of the history."""
    promises = [acknowledged(4, epoch=1, nonce="a", who=1), acknowledged(4, epoch=1, nonce="b", who=2)]

    assert list(broken_promises("r", promises)) == [
        "r: commit 4 was acknowledged with 2 contents, by [1, 2]: one is lost"
    ]


def test_a_commit_of_an_owner_that_was_fenced_is_a_violation() -> None:
    """Above a claim no older epoch has anything to say (guarantee 3)."""
    promises = [acknowledged(4, epoch=2, nonce="a", who=2), acknowledged(5, epoch=1, nonce="b", who=1)]

    assert list(broken_promises("r", promises)) == ["r: epoch 1 acknowledged 5 after the claim of epoch 2"]


def test_nothing_follows_the_end_of_a_run_but_its_deletion() -> None:
    """What was committed before it may still be told."""
    late = acknowledged(8, epoch=1, nonce="a", who=1)
    deleted = acknowledged(10, epoch=2, nonce="b", who=2, status=DELETED)
    more = acknowledged(10, epoch=2, nonce="b", who=2)

    assert [*after_the_end(late, 9), *after_the_end(deleted, 9)] == []
    assert list(after_the_end(more, 9)) == ["r: process 2 acknowledged 10, and 9 had ended the run"]


class Traced(State, version=1):
    """What was done."""

    trace: list[str] = []


class More(Message, version=1):
    """Once more."""


async def test_what_lands_while_a_run_is_judged_is_no_violation(tmp_path: Path) -> None:
    """Everybody stands still, but a slow network holds a commit for seconds. Seen to fail in a full check."""
    graph = Graph("tracing", Traced, lifetime="actor")

    @graph.on(More)
    async def more(state: Traced, msg: More) -> Update:
        return {"trace": [*state.trace, "more"]}

    async with Runtime(tmp_path) as rt:
        run = await rt.spawn(graph, id="r")
        await run.ask(More())
        store = open_store(str(tmp_path), readonly=True)
        before = history_of(store, "r")
        await run.ask(More())
        after = history_of(store, "r")

        assert list(broken_chain(store, "r", before, Dossier())) == []
        assert next(broken_chain(store, "r", replace(after, run=before.run), Dossier())) == (
            "r: from its newest snapshot it is another run than from commit 0 on"
        )
        store.close()


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
        ("forgets ids at takeover", "counts . times|was told to have place"),
    ],
)
def test_the_soak_finds_a_planted_bug(tmp_path: Path, bug: str, finding: str) -> None:
    """Planted: an oracle that never complains proves nothing."""
    with pytest.raises(Breach, match=finding) as caught:
        # It ends when it has found it. One of them shows only where a message comes twice, and a takeover between.
        soak(tmp_path / "local", "local", SEED, 60.0, workers=3, at_once=2, rest=2.0, judged=4.0, again=1.0, bug=bug)

    assert f"seed={SEED}" in str(caught.value)
