"""Snapshots: the whole run and nothing twice, and what goes on from one is what would have gone on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest
from msgspec import msgpack

from actorflow.engine.fold import begin, fold
from actorflow.engine.operations import Extended, Put, Spliced
from actorflow.engine.records import Attempted, ErrorInfo, Failed, Finished, Open, Spawned
from actorflow.engine.snapshot import dump, load
from actorflow.graph.graph import Graph
from actorflow.graph.reducers import extend
from actorflow.graph.state import State
from tests.engine.driver import Driver, picture, thawed

if TYPE_CHECKING:
    from actorflow.engine.run import RunState

BOOM = ErrorInfo("RuntimeError", "boom", "Traceback ...")


def run_of(values: dict[str, Any], *, entries: int) -> RunState:
    """A run with so many open activations, numbered from 1."""
    opens = tuple(Open(f"n{number}", bytes([number])) for number in range(1, entries + 1))
    return begin(Spawned("r", 1, "g", b"t", "sync", b"d", values, opens))


def replaced(id_: int, node: str = "next", *operations: Any, **more: Any) -> Finished:
    """A record that finishes an activation and opens another."""
    return Finished(id_, tuple(operations), opens=(Open(node, f"{node}{id_}".encode()),), **more)


def test_everything_comes_back() -> None:
    """Tokens, parked tokens, what was unseen, attempts, a merged activation, an error: all of it."""
    run = run_of({"n": 0, "m": 0, "log": []}, entries=4)
    for record in (
        Finished(1, (Put("n", 1),), puts=(("j", "n1"), ("k", "n1"))),
        Finished(2, (Extended("log", ["x"]),), parks=True, opens=(Open("after", b"after"),)),
        Attempted(3, 2, 1e9, BOOM),
        Failed(4, BOOM),
    ):
        run = fold(run, record)

    again = load(dump(run))

    assert picture(again) == picture(run)
    assert again.failed_in == "n4"


def test_a_dump_does_not_spend_the_run() -> None:
    """The actor goes on with it."""
    run = fold(run_of({"log": []}, entries=2), replaced(1, "next", Extended("log", ["x"])))
    before = picture(run)

    dump(run)

    assert picture(run) == before


def test_a_dump_is_deterministic() -> None:
    """The same run is the same bytes, also after it was loaded."""
    run = fold(run_of({"log": [], "n": 0}, entries=3), replaced(1, "next", Extended("log", ["x"]), Put("n", 1)))

    assert dump(run) == dump(load(dump(run)))


def test_many_bases_of_one_growing_list_take_the_room_of_one() -> None:
    """Twenty lengths of one list of 200 kB: each is a length, not a list [4 MB otherwise]."""
    run = run_of({"log": ["x" * 1000] * 180}, entries=20)
    for number in range(1, 21):
        run = fold(run, replaced(number, "next", Extended("log", ["y" * 1000])))
    one_list = len(msgpack.encode(thawed(run.root.values)))

    data = dump(run)

    assert one_list > 200_000
    assert len(data) < one_list * 1.05
    assert [len(one.base["log"].to_list()) for one in load(data).open.values()] == list(range(181, 201))


def test_it_stays_so_after_recovery_and_after_a_snapshot() -> None:
    """The sharing is found again however the run came to be."""
    run = run_of({"log": ["x" * 1000] * 200}, entries=20)
    for number in range(1, 21):
        run = load(dump(run))
        run = fold(run, replaced(number, "next", Extended("log", ["y"])))

    assert len(dump(run)) < 210_000


def test_a_list_before_it_grew_is_a_length_too() -> None:
    """The first base holds the list as it came from the input."""
    run = run_of({"log": ["x" * 1000] * 200}, entries=2)
    run = fold(run, replaced(1, "next", Extended("log", ["y"])))

    assert len(dump(run)) < 210_000


def test_bases_that_are_the_present_state_take_no_room() -> None:
    """A thousand open activations of one record share one base."""
    run = run_of({"text": "x" * 10_000}, entries=1)
    run = fold(run, Finished(1, opens=tuple(Open("n", number.to_bytes(2, "big")) for number in range(1000))))

    again = load(dump(run))

    assert len(dump(run)) < 10_000 + 1000 * 40
    assert {id(one.base) for one in again.open.values()} == {id(again.root.values)}


def test_activations_of_one_base_share_it_after_loading() -> None:
    """Also when it is not the present state any more."""
    run = run_of({"n": 0}, entries=3)
    run = fold(run, Finished(3, (Put("n", 1),)))

    again = load(dump(run))

    assert again.open[1].base is again.open[2].base
    assert again.open[1].base == {"n": 0}


def test_a_loaded_base_does_not_grow_with_the_list() -> None:
    """One base differs in another field and one in the list's length; then the list grows on."""
    run = run_of({"log": ["a"], "n": 0}, entries=3)
    run = fold(run, replaced(1, "short", Extended("log", ["b"])))
    run = fold(run, replaced(2, "long", Extended("log", ["c"])))
    run = fold(run, Finished(3, (Put("n", 1),)))
    run.open = dict(sorted(run.open.items(), reverse=True))  # the longer one comes first

    again = load(dump(run))
    for one in (run, again):
        fold(one, Finished(4, (Extended("log", ["d"]),)))

    assert picture(again) == picture(run)
    assert thawed(again.open[5].base)["log"] == ["a", "b", "c"]


def test_a_list_that_was_cut_keeps_its_older_bases() -> None:
    """A base whose elements are gone from the state is kept whole."""
    run = run_of({"log": ["a", "b"]}, entries=3)
    run = fold(run, replaced(1, "older", Extended("log", ["c"])))
    run = fold(run, replaced(2, "newer", Extended("log", ["d"]), Spliced("log", 0, 2, [])))

    assert picture(load(dump(run))) == picture(run)


def test_fields_that_came_later_are_absent_from_older_bases() -> None:
    """A base is exactly what it was."""
    run = fold(run_of({"n": 0}, entries=2), Finished(1, (Put("new", 1),)))

    assert load(dump(run)).open[2].base == {"n": 0}


class Log(State):
    """A list that grows, and another field."""

    n: int = 0
    log: Annotated[list[str], extend] = []


def node(state: Log) -> None:
    """Never called: decide() is told what it returned."""


def test_a_run_goes_on_from_a_snapshot_as_it_would_have() -> None:
    """The live run is replaced by its own snapshot before every event, and ends the same."""
    graph = Graph("g", Log)
    graph.node(node, name="a")
    for name in "bcd":
        graph.node(node, name=name, after="a")
    graph.node(node, name="e", after=("b", "c"))
    live, reborn = Driver(graph, Log()), Driver(graph, Log())

    for number, name in enumerate("abcde"):
        for run in (live, reborn):
            if run is reborn:
                run.run = load(dump(run.run))
            run.returns(name, {"log": [name], **({"n": number} if name in "ae" else {})})
        assert picture(reborn.run) == picture(live.run)

    assert reborn.commits == live.commits


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x80", msgpack.encode([1, 2]), dump(run_of({}, entries=1))[:-1]], ids=repr
)
def test_what_is_no_snapshot_is_refused(data: bytes) -> None:
    """With an error of msgspec's, which the reader turns into the verdict that the file is damaged."""
    with pytest.raises(msgspec.MsgspecError):
        load(data)
