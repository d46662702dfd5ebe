"""Compact runs: one that only waits holds nothing empty, looks as it did, and is as it was when it goes on."""

from __future__ import annotations

import gc

import msgspec
import pytest

from actorflow.engine import compact as compacting
from actorflow.engine.compact import compact, expand
from actorflow.engine.fold import begin, fold
from actorflow.engine.mail import Mail
from actorflow.engine.records import Formed, Open, Received, Spawned, TurnOpened
from actorflow.engine.run import RunState, Scope

SPAWNED = Spawned(
    run_id="r",
    life=1,
    graph="g",
    topology=b"t",
    durability="sync",
    digest=b"d",
    values={"n": 0, "log": []},
    opens=(),
    lifetime="actor",
)
FORMED = Formed("Add", 1, (("n", "int", False),))
RECEIVED = Received(b"m", 1.0, "Add", {"n": 1})


def waiting() -> RunState:
    """An actor that has a message, and otherwise nothing."""
    return fold(fold(begin(SPAWNED), FORMED), RECEIVED)


def empties(run: RunState) -> int:
    """How many empty containers of its own the run, its mail and its root hold."""
    held = [*gc.get_referents(run), *gc.get_referents(run.mail), *gc.get_referents(run.root)]
    return sum(one.__class__ in {dict, list} and not one for one in held)


def plain(run: RunState) -> object:
    """All that is in it."""
    return msgspec.to_builtins(run, enc_hook=dict)


def test_a_compact_run_holds_nothing_empty() -> None:
    """Of about twenty containers, those that are in use are left."""
    run = waiting()
    assert empties(run) > 15

    compact(run)

    assert empties(run) == 0
    assert (list(run.mail.queue), run.root.values, list(run.forms)) == ([b"m"], {"n": 0, "log": []}, ["Add"])


def test_a_run_goes_on_from_being_compact_as_it_was() -> None:
    """Field by field, in types too; and it may be compact any number of times.

    Planted: what is given back is the same container for all, so that what one holds all hold.
    """
    run, same = waiting(), waiting()

    for _ in range(2):
        compact(run)
        compact(run)
        expand(run)

    assert plain(run) == plain(same)
    for mine, other in ((run, same), (run.mail, same.mail), (run.root, same.root)):
        for name in mine.__struct_fields__:
            assert type(getattr(mine, name)) is type(getattr(other, name)), name
    turn = TurnOpened(b"m", "add", b"key")
    assert plain(fold(run, turn)) == plain(fold(same, turn))


def test_nobody_changes_a_compact_run_unnoticed() -> None:
    """Its state may be looked at by anybody, and its owner makes it whole before it goes on."""
    run = begin(SPAWNED)
    compact(run)

    for record in (FORMED, RECEIVED):
        with pytest.raises((TypeError, AttributeError)):
            fold(run, record)

    assert (len(run.mail.queue), list(run.open.values()), [*run.saga]) == (0, [], [])


def test_what_is_open_is_kept_as_it_is() -> None:
    """Only empty containers are let go of, in every scope."""
    run = begin(msgspec.structs.replace(SPAWNED, opens=(Open("a", b"A"),)))
    run.scopes["sub/1"] = Scope(path="sub/1", values={})
    before = plain(run)

    compact(run)
    expand(run)

    assert plain(run) == before
    assert run.scopes["sub/1"].waiting is not run.root.waiting


@pytest.mark.parametrize("struct", [RunState, Mail, Scope])
def test_every_container_that_begins_empty_is_among_them(struct: type[msgspec.Struct]) -> None:
    """Also those that are added in years to come."""
    given = {"path": "", "values": {0: 0}} if struct is Scope else {}
    if struct is RunState:
        made: msgspec.Struct = begin(SPAWNED)
    else:
        made = struct(**given)

    found = {name for name in struct.__struct_fields__ if getattr(made, name) in ({}, [])}

    assert found == set(compacting._CONTAINERS[struct])
