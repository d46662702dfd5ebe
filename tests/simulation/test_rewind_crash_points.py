"""Crash points of runs that have mail and go back: whoever dies wherever, each message counts once in all that was."""

from __future__ import annotations

import os
import random
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from actorflow.engine import rewinding
from actorflow.engine.closing import close
from actorflow.runtime import steering
from tests.simulation.correspondence import Sent, alarm, entry, hire
from tests.simulation.crashes import DEATHS, LOSSES, STOPS
from tests.simulation.going_back import biographies, returns, scene, wrong_returns
from tests.simulation.ledger import AGENT, LEDGER, Forward
from tests.simulation.test_mail_crash_points import EVERY, KILLED, each_fate, play

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.engine.mail import Mail
    from actorflow.engine.run import RunState
    from tests.simulation.world import World

A_FEW = 8
"""Fates that are played each time, others each time."""

SEED = 4
"""One with which the agent is copied just while it waits."""


def asks(label: str) -> Sent:
    """The agent asks the ledger, and nobody waits for that here."""
    return Sent(label, AGENT, Forward(label=label, ask=True))


async def both(world: World) -> None:
    """A has the ledger, which sets an alarm, begins a clerk and replies; B the agent, which asks and is copied, too."""
    own = alarm("alarm-1", 8.0), hire("clerk-1"), entry("entry-1", asks=True)
    others = entry("entry-3"), asks("agent-1"), asks("agent-2")
    bodies = {
        "A": returns(world, LEDGER, *own, after=entry("entry-2", asks=True)),
        "B": returns(world, AGENT, *others, after=asks("agent-3"), copies=True),
    }
    await scene(world, bodies)


def test_both_go_back_and_the_agent_is_copied_while_it_waits_for_a_reply() -> None:
    """So that is what the others may befall; the agent asks one of three twice, each copy one, in its own name."""
    world = play(both, {}, seed=SEED)

    lives = biographies(world)
    assert wrong_returns(world) == []
    assert [name for name, life in sorted(lives.items()) if life.went_back == 1] == [AGENT, "copy-1", "copy-2", LEDGER]
    assert {name: len(lives[name].sent) for name in (AGENT, "copy-1", "copy-2")} == {AGENT: 4, "copy-1": 1, "copy-2": 1}


def test_each_message_counts_once_wherever_somebody_dies_stops_or_hears_nothing() -> None:
    """No number means two things or is missing, no question has two replies, no copy answers for its original."""
    fates = list(each_fate(both, *DEATHS, *STOPS, *LOSSES, seed=SEED))
    back = 0

    for fate in fates if EVERY in os.environ else random.SystemRandom().sample(fates, A_FEW):
        world = play(both, fate, seed=SEED)
        assert wrong_returns(world) == [], fate
        back += any(life.went_back for life in biographies(world).values())

    assert back > 1


def _afterwards(forget: Callable[[Mail], object]) -> Callable[[pytest.MonkeyPatch], None]:
    """Who goes back forgets something of its mail."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        def forgetful(*given: Any, **more: Any) -> RunState:
            run = rewinding.rewound(*given, **more)
            forget(run.mail)
            return run

        patch.setattr(steering, "rewound", forgetful)

    return plant


def _keeps_no_turn(patch: pytest.MonkeyPatch) -> None:
    """A message that is being handled counts as taken."""

    def closes(now: RunState, then: RunState) -> None:
        del now
        for turn in [one for one in then.open.values() if one.letter is not None]:
            close(then, turn)

    patch.setattr(rewinding, "_keep_turns", closes)


def _keeps_the_keys_of_turns(patch: pytest.MonkeyPatch) -> None:
    """A message that is being handled waits again, and is handled under the key that it had."""

    def requeues(now: RunState, then: RunState) -> None:
        handled = {one.letter.id: one.letter for one in now.open.values() if one.letter is not None}
        now.mail.queue = {**handled, **now.mail.queue}
        del then

    patch.setattr(rewinding, "_keep_turns", requeues)


def _copies_the_mail(patch: pytest.MonkeyPatch) -> None:
    """A copy goes on where the run was with its mail, too."""

    def greedy(then: RunState, run_id: str, *, life: int) -> RunState:
        mail = then.mail
        return replace(rewinding.forked(then, run_id, life=life), mail=mail)

    patch.setattr(steering, "forked", greedy)


BUGS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "marks go back": _afterwards(lambda mail: mail.marks.clear()),
    "numbers go back": _afterwards(lambda mail: mail.lanes.clear()),
    "the outbox goes back": _afterwards(lambda mail: mail.outbox.clear()),
    "timers go back": _afterwards(lambda mail: mail.timers.clear()),
    "ids of callers go back": _afterwards(lambda mail: mail.seen.clear()),
    "who watches goes back": _afterwards(lambda mail: mail.children.clear()),
    "a message in hand is lost": _keeps_no_turn,
    "a message in hand keeps its key": _keeps_the_keys_of_turns,
    "a copy has the mail": _copies_the_mail,
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    """Most show wherever a run that has mail goes back; some need a death."""
    with pytest.MonkeyPatch.context() as patch:
        BUGS[bug](patch)

        assert any(
            wrong_returns(play(both, fates, seed=SEED))
            for fates in chain([{}], each_fate(both, KILLED, whose="BA", seed=SEED))
        )
