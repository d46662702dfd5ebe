"""Fan-outs: which items are open, what becomes of their results, and of those that fail."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from msgspec import field

from actorflow.engine.events import Start
from actorflow.engine.records import Fanned, Finished, Gather, ItemDone
from actorflow.errors import BadUpdate, ConcurrentWrite, GraphError, NoItems, ReducerError, TooManyItems
from actorflow.graph.fan import ItemError
from actorflow.graph.graph import Graph
from actorflow.graph.reducers import Overwrite, extend
from actorflow.graph.retry import Retry
from actorflow.graph.routing import Goto, Send
from actorflow.graph.state import State
from tests.engine.driver import Driver

if TYPE_CHECKING:
    from collections.abc import Callable


def never_twice(old: list[int], new: list[int]) -> list[int]:
    """A reducer that refuses what it has had."""
    if set(old) & set(new):
        raise ValueError("twice")
    return old + new


class Work(State):
    """What is to be done, and what came of it."""

    todo: list[int] = field(default_factory=lambda: [10, 20, 30])
    done: list[int] = []
    more: Annotated[list[int], extend] = []
    once: Annotated[list[int], never_twice] = []
    errors: Annotated[list[ItemError], extend] = []
    mixed: list[Any] = []
    n: int = 0
    total: Annotated[int, operator.add] = 0


def score(item: int) -> int:
    """Never called: decide() is told what it returned."""
    raise AssertionError


def node(state: Work) -> None:
    """Never called either."""


def mapped(*, over: Any = "todo", into: Any = "done", state: Work | None = None, **options: Any) -> Driver:
    """A run of one map, and a node after it."""
    graph = Graph("g", Work, max_items=1000)
    graph.map(score, over=over, into=into, **options)
    graph.node(node, name="after", after="score")
    return Driver(graph, state or Work())


# -- items ------------------------------------------------------------------------------


def test_results_come_in_the_order_of_the_items() -> None:
    """Whichever item is done first."""
    run = mapped()

    for index in (2, 0, 1):
        run.returns(f"score[{index}]", index * 100)

    assert (run.state.done, run.frontier) == ([0, 100, 200], ["after"])


def test_only_so_many_items_are_open_as_the_limit_says() -> None:
    """The next one opens when one is done, in the same record."""
    run = mapped(limit=2)
    assert run.running == ["score[0]", "score[1]"]

    decision = run.returns("score[1]", 1)

    assert run.running == ["score[0]", "score[2]"]
    assert [type(record) for record in decision.records] == [ItemDone]


def test_of_ten_thousand_items_no_more_are_open_than_the_limit_says() -> None:
    """What is held of all others is a number, and the result of those that are done."""
    graph = Graph("g", Work)
    graph.map(score, over=10_000, into="done", limit=5)
    run = Driver(graph, Work())
    most = 0

    for index in range(10_000):
        most = max(most, len(run.run.open), len(run.ready))
        run.returns(f"score[{index}]", index)

    assert most == 1 + 5
    assert (run.run.status, run.state.done) == ("finished", list(range(10_000)))


def test_a_limit_may_be_a_function_of_the_state() -> None:
    """It is asked once, when the fan-out begins."""
    run = mapped(limit=lambda state: state.n, state=Work(n=1))

    assert run.running == ["score[0]"]


@pytest.mark.parametrize("limit", [0, -1, True, "2", None])
def test_a_limit_that_is_none_fails_the_map(limit: Any) -> None:
    """At least one item must be able to go on."""
    run = mapped(limit=lambda state: limit)

    assert isinstance(run.cause, BadUpdate)
    assert run.run.failed_in == "score"


@pytest.mark.parametrize(
    ("over", "items"),
    [
        (3, [0, 1, 2]),
        (lambda state: range(2), [0, 1]),
        (lambda state: [7, 8], [7, 8]),
        (lambda state: (one for one in (5,)), [5]),
        (lambda state: 2, [0, 1]),
    ],
)
def test_items_may_be_counted_or_made(over: Any, items: list[int]) -> None:
    """A number of items, or what a function of the state gives."""
    run = mapped(over=over)
    owner = next(iter(run.run.fans))
    fan = run.run.fans[owner]

    assert [fan.item(index, run.run.open[owner].base) for index in range(fan.total)] == items


@pytest.mark.parametrize("over", ["abc", b"abc", {"a": 1}, 5.0, None, object()])
def test_what_is_no_list_is_no_items(over: Any) -> None:
    """A text would be a fan-out over its letters."""
    run = mapped(over=lambda state: over)

    assert isinstance(run.cause, BadUpdate)


def test_items_are_fixed_when_the_fan_out_begins() -> None:
    """Whatever happens to the field meanwhile."""
    run = mapped(limit=1)

    run.updates({"todo": [1]})
    for index in range(3):
        run.returns(f"score[{index}]", index)

    assert run.state.done == [0, 1, 2]
    assert run.history[1] == Fanned(1, 3, 1, field="todo")


def test_an_empty_map_goes_on_at_once() -> None:
    """Without a merge: what the field holds stays."""
    run = mapped(state=Work(todo=[], done=[9]))

    assert (run.frontier, run.state.done) == (["after"], [9])


def test_an_empty_map_may_be_a_failure() -> None:
    """Where nothing to do means that something is wrong."""
    run = mapped(state=Work(todo=[]), on_empty="fail")

    assert isinstance(run.cause, NoItems)


def test_too_many_items_fail_before_any_begins() -> None:
    """The limit of the graph."""
    run = mapped(over=1001)

    assert isinstance(run.cause, TooManyItems)
    assert (run.run.fans, run.running) == ({}, [])


# -- crashes ---------------------------------------------------------------------------


def test_an_item_that_is_done_never_runs_again() -> None:
    """After a crash only the open ones do, under the keys they had."""
    run = mapped(limit=2)
    run.returns("score[1]", 1)
    keys = {one.index: one.key for one in run.run.open.values() if one.fan}

    run.recover()

    assert run.running == ["score[0]", "score[2]"]
    assert {one.index: one.key for one in run.run.open.values() if one.fan} == keys
    run.returns("score[2]", 2)
    run.returns("score[0]", 0)
    assert run.state.done == [0, 1, 2]
    assert sum(isinstance(record, ItemDone) for record in run.history) == 3


def test_results_are_committed_once() -> None:
    """The record that ends the fan-out says "gather"."""
    run = mapped()

    for index in range(3):
        run.returns(f"score[{index}]", index)

    finish = next(record for record in run.history if isinstance(record, Finished))
    assert (finish.operations, finish.gathers) == ((), (Gather("done", "", extends=False),))


def test_results_may_extend_a_list() -> None:
    """One update of the reducer, said as briefly."""
    run = mapped(into="more", state=Work(more=[7]))

    for index in range(3):
        run.returns(f"score[{index}]", index)

    finish = next(record for record in run.history if isinstance(record, Finished))
    assert (run.state.more, finish.gathers) == ([7, 0, 1, 2], (Gather("more", "", extends=True),))


# -- failures --------------------------------------------------------------------------


def test_an_item_that_raises_crashes_the_run() -> None:
    """And only that item runs again, once the run is resumed."""
    run = mapped()
    run.returns("score[0]", 0)

    run.raises("score[1]")
    run.gives_up()
    run.reopen()

    assert run.running == ["score[1]", "score[2]"]


def test_retry_is_for_the_items() -> None:
    """Each has its own attempts."""
    run = mapped(retry=Retry(attempts=2, backoff=5.0, jitter=False))

    run.raises("score[1]")
    assert run.ready[run.open_at("score[1]").id] == 2
    run.raises("score[1]")

    assert (run.run.status, run.run.failed_in) == ("failed", "score")
    assert run.frontier == ["score"] * 4


def test_retry_is_not_for_what_begins_the_map() -> None:
    """A function that says what the items are is pure: calling it again changes nothing, and no node is called."""

    def broken(state: Work) -> list[int]:
        raise ValueError("no")

    run = mapped(over=broken, retry=Retry(attempts=3, backoff=0.1))

    assert isinstance(run.crashed.error if run.crashed else None, ValueError)
    assert run.running == []


def test_a_result_that_does_not_fit_is_the_mistake_of_its_item() -> None:
    """Not of the last one, when all are merged."""
    run = mapped()

    run.returns("score[1]", "text")

    assert isinstance(run.cause, BadUpdate)
    assert (run.run.error.message if run.run.error else "").startswith("node 'score'")
    assert run.frontier == ["score"] * 4


def test_collected_errors_go_beside_the_results() -> None:
    """In the order of the items, whatever failed first; they are left out of the results."""
    run = mapped(on_error="collect", errors="errors")

    run.raises("score[2]", ValueError("two"))
    run.raises("score[0]", KeyError("zero"))
    run.returns("score[1]", 1)

    assert run.state.done == [1]
    assert run.state.errors == [
        ItemError(0, 10, "KeyError", "'zero'"),
        ItemError(2, 30, "ValueError", "two"),
    ]


def test_collected_errors_stand_in_their_places() -> None:
    """Where no field for them is named."""
    run = mapped(on_error="collect", into="mixed")

    run.raises("score[1]", ValueError("one"))
    run.returns("score[0]", 0)
    run.returns("score[2]", 2)

    assert run.state.mixed == [0, {"index": 1, "item": 20, "type": "ValueError", "message": "one"}, 2]


def test_an_item_is_collected_when_its_attempts_are_used_up() -> None:
    """Not before: the next one may succeed."""
    run = mapped(on_error="collect", errors="errors", retry=Retry(attempts=2, backoff=0.1, jitter=False))

    run.raises("score[1]", ValueError("one"))
    assert run.ready[run.open_at("score[1]").id] == 2
    run.raises("score[1]", ValueError("one"))
    run.returns("score[0]", 0)
    run.returns("score[2]", 2)

    assert (run.state.done, [error.index for error in run.state.errors]) == ([0, 2], [1])


def test_a_failed_item_that_was_collected_never_runs_again() -> None:
    """It is finished."""
    run = mapped(on_error="collect", errors="errors")
    run.raises("score[1]", ValueError("one"))

    run.recover()

    assert run.running == ["score[0]", "score[2]"]


def test_a_merge_that_fails_is_the_failure_of_the_map() -> None:
    """Its items are done and stay so; the run fails at the map, and resuming it merges again."""
    run = mapped(into="once", state=Work(once=[1]))
    for index in range(3):
        run.returns(f"score[{index}]", index)

    assert isinstance(run.cause, ReducerError)
    assert (run.run.status, run.run.failed_in, run.running) == ("failed", "score", [])
    run.reopen()
    assert (run.run.status, run.run.failed_in) == ("failed", "score")
    assert sum(isinstance(record, ItemDone) for record in run.history) == 3


def test_a_merge_that_fails_when_the_run_is_loaded_is_a_failure_too() -> None:
    """Not an exception of the engine."""
    run = mapped(into="once")
    run.returns("score[0]", 0)
    run.returns("score[1]", 1)
    run.updates({"once": [1]})
    run.returns("score[2]", 2)

    run.reopen()

    assert isinstance(run.cause, ReducerError)


# -- what is sent -----------------------------------------------------------------------


def sending(**options: Any) -> Driver:
    """A run of a node that sends, and what takes it, and a node after that."""
    graph = Graph("g", Work)
    graph.node(node, name="first", entry=True, send="worker", goto="mend")
    graph.node(_worker(), name="worker", takes=int, **options)
    graph.node(node, name="after", after="worker")
    graph.node(node, name="mend")
    graph.edge("mend", "after")
    return Driver(graph, Work())


def _worker() -> Callable[[int], None]:
    def worker(number: int) -> None:
        """Never called."""

    return worker


def test_updates_of_what_was_sent_are_merged_in_its_order() -> None:
    """When all is done; then the edges are followed once."""
    run = sending()
    run.returns("first", [Send("worker", 1, update={"n": 5}), Send("worker", 2)])
    assert (run.state.n, run.running) == (5, ["worker[0]", "worker[1]"])

    run.returns("worker[1]", {"more": [2], "total": 2})
    assert run.state.more == []
    run.returns("worker[0]", {"more": [1], "total": 1})

    assert (run.state.more, run.state.total, run.frontier) == ([1, 2], 3, ["after"])


@pytest.mark.parametrize(("options", "at_once"), [({}, 100), ({"limit": 3}, 3)])
def test_only_so_many_that_were_sent_are_open_at_once(options: dict[str, Any], at_once: int) -> None:
    """As with the items of a map, the next one opens when one is done."""
    run = sending(**options)

    run.returns("first", [Send("worker", number) for number in range(at_once + 1)])
    assert len(run.running) == at_once
    run.returns("worker[0]")

    assert (len(run.running), run.running[-1]) == (at_once, f"worker[{at_once}]")


def test_only_so_many_that_were_sent_to_a_subgraph_are_open_at_once() -> None:
    """Likewise."""
    inner, graph = Graph("inner", Work), Graph("g", Work)
    inner.node(node, name="inside")
    graph.node(node, name="first", entry=True, send="inner")
    graph.subgraph(inner, limit=2)
    run = Driver(graph, Work())

    run.returns("first", [Send("inner", Work()) for _ in range(3)])

    assert len(run.running) == 2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"takes": int, "limit": 0}, "limit=0: give a number of at least 1"),
        ({"takes": int, "limit": True}, "limit=True: give a number of at least 1"),
        ({"takes": int, "limit": "all"}, "limit='all': give a number of at least 1"),
        ({"limit": 5}, "limit= is for what is sent to a node; this one takes the state: give takes=, too"),
    ],
)
def test_a_limit_that_makes_no_sense_is_told(options: dict[str, Any], problem: str) -> None:
    """When the graph is checked, and not when somebody sends."""
    graph = Graph("g", Work)
    graph.node(node, name="first", entry=True, send="worker")
    graph.node(_worker() if "takes" in options else node, name="worker", **options)

    with pytest.raises(GraphError, match=re.escape(problem)):
        _ = graph.plan


@pytest.mark.parametrize("value", [1, Overwrite([1])])
def test_two_items_that_write_one_plain_field_conflict(value: Any) -> None:
    """Whichever of them was later, nobody knows which one is meant."""
    run = sending()
    field = "n" if value == 1 else "more"
    run.returns("first", [Send("worker", 1), Send("worker", 2)])

    run.returns("worker[0]", {field: value})
    run.returns("worker[1]", {field: value})

    assert isinstance(run.cause, ConcurrentWrite)
    assert run.run.failed_in == "worker"


def test_each_target_has_a_fan_out_of_its_own() -> None:
    """One does not wait for the other."""
    graph = Graph("g", Work)
    graph.node(node, name="first", entry=True, send=("left", "right"))
    for name in ("left", "right"):
        graph.node(_worker(), name=name, takes=int)
        graph.node(node, name=f"after-{name}", after=name)
    run = Driver(graph, Work())
    run.returns("first", [Send("left", 1), Send("right", 2), Send("left", 3)])

    run.returns("right[0]")

    assert run.running == ["left[0]", "left[1]", "after-right"]


def test_an_empty_list_is_a_fan_out_without_items() -> None:
    """As `[Send(...) for one in found]` is where nothing was found: the target's edges are followed at once."""
    run = sending()

    run.returns("first", [])

    assert (run.run.status, run.frontier) == ("running", ["after"])


def test_an_empty_list_for_several_targets_leads_nowhere() -> None:
    """Nobody can say which of them is meant."""
    graph = Graph("g", Work)
    graph.node(node, name="first", entry=True, send=("left", "right"))
    for name in ("left", "right"):
        graph.node(_worker(), name=name, takes=int)
        graph.node(node, name=f"after-{name}", after=name)
    run = Driver(graph, Work())

    run.returns("first", [])

    assert run.run.status == "finished"


def test_an_empty_list_of_a_node_that_sends_nothing_is_no_update() -> None:
    """It most likely is a mistake."""
    run = sending()
    run.returns("first", [])

    run.returns("after", [])

    assert isinstance(run.cause, BadUpdate)


def test_what_is_sent_to_leads_nowhere_by_itself() -> None:
    """Its items return updates."""
    run = sending(goto="mend")
    run.returns("first", Send("worker", 1))

    run.returns("worker[0]", Goto("mend"))

    assert isinstance(run.cause, BadUpdate)


def test_a_handler_gives_the_update_of_the_item_that_failed() -> None:
    """In its place among the others; the fan-out goes on."""

    def mend(state: Work, error: Exception) -> None:
        """Never called."""

    run = sending(on_error=mend)
    run.returns("first", [Send("worker", 1), Send("worker", 2)])

    run.raises("worker[0]", ValueError("one"))
    assert run.open_at("worker[0]").handling
    run.returns("worker[1]", {"more": [2]})
    run.returns("worker[0]", {"more": [-1]})

    assert (run.state.more, run.frontier) == ([-1, 2], ["after"])


def test_a_handler_that_fails_is_not_handled_again() -> None:
    """Neither by itself nor for all items at once."""

    def mend(state: Work, error: Exception) -> None:
        """Never called."""

    run = sending(on_error=mend)
    run.returns("first", [Send("worker", 1), Send("worker", 2)])
    run.raises("worker[0]", ValueError("one"))

    run.raises("worker[0]", KeyError("in the handler"))

    assert run.run.status == "failed"
    run.reopen()
    assert run.open_at("worker[0]").handling


def test_a_node_that_handles_takes_over_for_all_that_was_sent() -> None:
    """It is opened once, in place of what would have come after; the other items are cancelled."""
    run = sending(on_error="mend")
    run.returns("first", [Send("worker", 1), Send("worker", 2)])

    run.raises("worker[1]", ValueError("one"))

    assert (run.frontier, run.run.fans) == (["mend"], {})
    assert (run.open_at("mend").failed, run.open_at("mend").error.message) == ("worker", "one")  # type: ignore[union-attr]


def test_a_map_goes_round_in_a_loop() -> None:
    """Each round has a fan-out of its own, whose items have other keys."""
    graph = Graph("g", Work)
    graph.map(score, over="todo", into="more", entry=True, name="score")
    graph.node(node, name="after", after="score")
    graph.branch(lambda state: "score", after="after", to=("score",))
    run = Driver(graph, Work(todo=[1]))
    first = run.open_at("score[0]").key
    run.returns("score[0]", 1)

    decision = run.returns("after", {"todo": [5, 6]})

    assert run.running == ["score[0]", "score[1]"]
    assert run.open_at("score[0]").key != first
    assert [command.id for command in decision.commands if isinstance(command, Start)] == sorted(run.ready)
