"""Around a node: which policy counts, when all attempts had their time, who takes over, how large a state gets."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack

import actorflow.engine.sizes as sizing
from actorflow.engine.events import Crash, Due, Raised, Retry, Start, Sweep, Warn
from actorflow.engine.merge import merge_all
from actorflow.engine.operations import apply, thaw
from actorflow.engine.records import Ask, Attempted, Began, Failed, Handling, Measured
from actorflow.engine.sizes import growth, size_of
from actorflow.errors import ConcurrentWrite, StateTooLarge
from actorflow.graph.graph import Graph
from actorflow.graph.reducers import Overwrite, Remove, append, bounded, dedupe, extend, merge, merge_by
from actorflow.graph.retry import Retry as Policy
from actorflow.graph.schema import schema_of
from actorflow.graph.state import State
from actorflow.graph.timeouts import Timeout
from tests.engine.driver import Driver


class Tally(State):
    """The state of these graphs."""

    n: int = 0
    log: Annotated[list[str], extend] = []


def node(state: Tally) -> None:
    """Never called: decide() is told what it returned."""


async def slow(state: Tally) -> None:
    """As node, and can be stopped."""


def mend(state: Tally, error: Exception) -> None:
    """A handler; never called either."""


def other_mend(state: Tally, error: Exception) -> None:
    """Another one."""


def lone(options: dict[str, Any] | None = None, **graph_options: Any) -> Driver:
    """A run of one node, begun at 100."""
    graph = Graph("g", Tally, **graph_options)
    graph.node(slow, name="a", **(options or {}))
    graph.node(slow, name="mend", after="a")
    run = Driver(graph, Tally())
    if run.expiring:
        run.settle(Due(1, 100.0))
    return run


# -- several policies -------------------------------------------------------------------

NETWORK = Policy(on=ConnectionError, attempts=4, backoff=0.5, jitter=False)
OTHER = Policy(on=(ValueError, OSError), attempts=2, backoff=0.25, jitter=False)


def test_the_first_policy_that_is_for_the_error_counts() -> None:
    """A ConnectionError is an OSError, too; the one that stands first says how long the pause is."""
    assert lone({"retry": [NETWORK, OTHER]}).raises("a", ConnectionError()).commands == [Retry(1, 2, 0.5)]
    assert lone({"retry": [OTHER, NETWORK]}).raises("a", ConnectionError()).commands == [Retry(1, 2, 0.25)]
    assert lone({"retry": [NETWORK, OTHER]}).raises("a", ValueError()).commands == [Retry(1, 2, 0.25)]


def test_attempts_are_counted_over_all_policies() -> None:
    """Two calls are two calls, whatever they raised; a policy that is used up fails the run."""
    run = lone({"retry": [NETWORK, OTHER]})
    run.raises("a", ConnectionError())

    run.raises("a", ValueError("enough"))

    assert (run.run.status, str(run.cause)) == ("failed", "enough")


def test_an_error_that_no_policy_is_for_fails_at_once() -> None:
    """And is not tried again by a restart either."""
    run = lone({"retry": [NETWORK, OTHER]})

    decision = run.raises("a", KeyError("no"))

    assert [type(record) for record in decision.records] == [Failed]
    assert decision.commands == []


# -- the time for all attempts -----------------------------------------------------------


@pytest.mark.parametrize("options", [{"timeout": Timeout(total=60)}, {"retry": Policy(deadline=60)}])
def test_when_it_began_is_recorded_where_that_matters(options: dict[str, Any]) -> None:
    """In the commit that opens it, so that no restart grants it more time; nowhere else."""
    run = lone(options)

    assert [record for record in run.history if isinstance(record, Began)] == [Began(1, 100.0)]
    run.recover()
    assert run.open_at("a").began == 100.0
    assert sum(isinstance(record, Began) for record in run.history) == 1
    for none in ({}, {"timeout": 60}, {"timeout": Timeout(idle=1, attempt=2)}, {"retry": Policy()}):
        assert not any(isinstance(record, Began) for record in lone(none).history)


def test_what_is_opened_by_an_event_without_a_time_asks_for_it_first() -> None:
    """As the entry of a run that is spawned by a test: it starts when it is known when."""
    run = Driver(graph_of_two(), Tally())

    assert (run.running, run.expiring) == ([], {1: 0.0})
    decision = run.settle(Due(1, 7.0))
    assert (decision.records, decision.commands) == ([Began(1, 7.0)], [Start(1)])
    run.recover()
    assert run.expiring == {}
    assert run.running == ["a"]


def graph_of_two() -> Graph[Tally]:
    """One node with a total, another one without."""
    graph = Graph("g", Tally)
    graph.node(slow, name="a", timeout=Timeout(total=60))
    return graph


def test_no_attempt_begins_after_the_deadline() -> None:
    """The pause counts; what was begun in time is not cut off."""
    run = lone({"retry": Policy(attempts=9, backoff=0.5, factor=1.0, jitter=False, deadline=10)})

    assert run.raises("a", now=109.0).commands == [Retry(1, 2, 0.5)]
    error = RuntimeError("late")
    run.raises("a", error, now=109.6)

    assert run.run.status == "failed"
    assert error.__notes__ == ["Retry(deadline=10): there is no time for another attempt"]


def test_a_deadline_outlives_the_process() -> None:
    """A crash loop can't make it last for ever."""
    run = lone({"retry": Policy(attempts=9, backoff=0.5, jitter=False, deadline=10)})
    run.recover()

    run.raises("a", now=110.0)

    assert run.run.status == "failed"


def test_a_total_that_is_over_is_final() -> None:
    """Neither its policy nor the supervisor tries it again: the first would be over its time at once, too."""
    for options in ({"retry": Policy(attempts=9)}, {}):
        run = lone({"timeout": Timeout(total=60), **options})

        decision = run.settle(Raised(1, TimeoutError("late"), 1, 160.0, final=True))

        assert run.run.status == "failed"
        assert not any(isinstance(command, Crash) for command in decision.commands)


def test_resuming_grants_the_time_anew() -> None:
    """Whoever resumes a run wants it tried again."""
    run = lone({"timeout": Timeout(total=60)})
    run.settle(Raised(1, TimeoutError("late"), 1, 160.0, final=True))

    run.reopen()
    run.settle(Sweep(500.0))

    assert run.open_at("a").began == 500.0


def test_time_in_which_somebody_thinks_is_not_the_nodes() -> None:
    """A question may be answered weeks later; then the node has all of its time again."""
    run = lone({"timeout": Timeout(total=60)})
    run.suspends("a", Ask("Go?", "ask", "Go?"))

    run.answers(True)

    assert run.open_at("a").began is None


def test_how_long_a_pause_must_be_to_be_recorded_is_the_graphs_to_say() -> None:
    """By default a second."""
    patient = lone({"retry": Policy(backoff=5.0, jitter=False)}, record_backoff_over=10.0)
    careful = lone({"retry": Policy(backoff=0.1, jitter=False)}, record_backoff_over=0.0)

    assert patient.raises("a").records == []
    assert [type(record) for record in careful.raises("a").records] == [Attempted]


# -- who takes over ------------------------------------------------------------------------


def handled(**options: Any) -> Driver:
    """One node after another, and perhaps one that mends."""
    graph = Graph("g", Tally)
    graph.node(node, name="a", **options)
    graph.node(node, name="b", after="a")
    if options["on_error"] == "mend":
        graph.node(node, name="mend")
    return Driver(graph, Tally())


def test_a_handler_takes_over_when_the_retries_are_used_up() -> None:
    """It is outside of them."""
    run = handled(on_error=mend, retry=Policy(attempts=2, jitter=False))

    assert run.raises("a").commands == [Retry(1, 2, 0.1)]
    decision = run.raises("a", ValueError("no"))

    assert [type(record) for record in decision.records] == [Handling]
    assert decision.commands == [Start(1)]
    assert (run.open_at("a").handling, run.open_at("a").attempt) == (True, 0)


def test_what_a_handling_function_returns_counts_as_the_nodes() -> None:
    """Its update is merged, and the node's edges are taken."""
    run = handled(on_error=mend)
    run.raises("a")

    run.returns("a", {"n": 7})

    assert (run.frontier, run.state.n) == (["b"], 7)


def test_a_handling_node_goes_on_along_its_own_edges() -> None:
    """With the error and the name of the node that failed; the failed node's edges are not taken."""
    run = handled(on_error="mend")

    run.raises("a", ValueError("no"))

    mending = run.open_at("mend")
    assert run.frontier == ["mend"]
    assert mending.error is not None
    assert (mending.error.type, mending.error.message, mending.failed) == ("ValueError", "no", "a")
    run.returns("mend", {"n": 1})
    assert run.run.status == "finished"


def test_who_took_over_is_remembered_across_a_restart() -> None:
    """The node does not run again: its failure is in the log."""
    for handler in (mend, "mend"):
        run = handled(on_error=handler)
        run.raises("a")
        before = [(one.node, one.handling, one.error) for one in run.run.open.values()]

        run.recover()

        assert [(one.node, one.handling, one.error) for one in run.run.open.values()] == before
        assert run.finishes == (handler == "mend")


def test_a_handler_that_fails_is_what_is_resumed() -> None:
    """Not the node; and no restart is tried in between."""
    run = handled(on_error=mend)
    run.raises("a", ValueError("first"))

    decision = run.raises("a", KeyError("second"))

    assert [type(record) for record in decision.records] == [Failed]
    run.reopen()
    one = run.open_at("a")
    assert one.handling
    assert one.error is not None
    assert one.error.message == "first"


def test_a_handler_is_only_for_what_it_catches() -> None:
    """Anything else goes on as if it were not there."""
    run = handled(on_error=mend, catch=(KeyError, OSError))

    assert run.raises("a", ValueError()).commands[0].__class__ is Crash
    assert run.raises("a", ConnectionError()).commands == [Start(1)]


def test_a_concurrent_write_goes_to_no_handler() -> None:
    """Which of two writers fails is timing: nobody may make anything of it."""
    graph = Graph("g", Tally, on_error=mend)
    graph.node(node, name="s")
    graph.node(node, name="a", after="s")
    graph.node(node, name="b", after="s")
    run = Driver(graph, Tally())
    run.returns("s")
    run.returns("a", {"n": 1})

    run.returns("b", {"n": 2})

    assert run.run.status == "failed"
    assert isinstance(run.cause, ConcurrentWrite)
    assert not any(isinstance(record, Handling) for record in run.history)


# -- defaults of the graph --------------------------------------------------------------------


def test_a_node_that_says_nothing_is_as_the_graph_says() -> None:
    """And one that says None has none."""
    graph = Graph("g", Tally, retry=[NETWORK, OTHER], timeout=Timeout(idle=5), on_error=mend)
    graph.node(slow, name="as_graph")
    graph.node(slow, name="own", after="as_graph", retry=OTHER, timeout=3, on_error=other_mend, catch=KeyError)
    graph.node(slow, name="none", after="own", retry=None, timeout=None, on_error=None)

    as_graph, own, none = graph.plan.nodes.values()

    assert (as_graph.retry, as_graph.timeout) == ((NETWORK, OTHER), Timeout(idle=5))
    assert as_graph.on_error is not None
    assert as_graph.on_error.fn is mend
    assert (own.retry, own.timeout) == ((OTHER,), Timeout(attempt=3))
    assert own.on_error is not None
    assert (own.on_error.fn, own.on_error.catch) == (other_mend, (KeyError,))
    assert (none.retry, none.timeout, none.on_error) == ((), None, None)


def test_a_node_that_mends_for_the_whole_graph_does_not_mend_itself() -> None:
    """It would be opened again and again."""
    graph = Graph("g", Tally, on_error="mend")
    graph.node(node, name="a")
    graph.node(node, name="mend")
    run = Driver(graph, Tally())
    run.raises("a")

    decision = run.raises("mend")

    assert isinstance(decision.commands[0], Crash)
    assert graph.plan.entries == ("a",)


def test_a_handler_of_the_whole_graph_stands_in_for_a_map_and_not_for_its_items() -> None:
    """What it returns is an update, and an item has a result."""

    class Work(State):
        """Items and results."""

        items: list[int]
        results: list[int] = []

    graph = Graph("g", Work, on_error=lambda state, error: {"results": [0]})
    graph.map(lambda item: item, name="m", over="items", into="results")
    run = Driver(graph, Work(items=[1, 2]))

    run.raises("m[0]")

    assert [(one.node, one.handling, one.fan) for one in run.run.open.values()] == [("m", True, None)]
    run.returns("m", {"results": [9]})
    assert (run.run.status, run.state.results) == ("finished", [9])


# -- how large a state may get ------------------------------------------------------------------


class Large(State):
    """Every reducer there is."""

    plain: str = ""
    grown: Annotated[list[str], extend] = []
    added: Annotated[list[str], append] = []
    table: Annotated[dict[str, str], merge] = {}
    last: Annotated[list[str], bounded(3)] = []
    once: Annotated[list[str], dedupe()] = []
    rows: Annotated[list[dict[str, str]], merge_by("id")] = []


texts = st.text(max_size=40)
UPDATES = st.fixed_dictionaries(
    {},
    optional={
        "plain": texts,
        "grown": st.lists(texts, max_size=20) | texts.map(lambda text: Overwrite([text])),
        "added": texts,
        "table": st.dictionaries(texts, texts, max_size=20) | texts.map(Remove),
        "last": st.lists(texts, max_size=5),
        "once": st.lists(texts, max_size=5),
        "rows": st.lists(st.fixed_dictionaries({"id": st.sampled_from("abc"), "x": texts}), max_size=4)
        | st.sampled_from("abc").map(Remove),
    },
)
HEADS = 7 * 4
"""Bytes that msgpack takes to say how long each of the fields is; the estimate passes over how these grow."""


@given(st.lists(st.lists(UPDATES, min_size=1, max_size=3), max_size=6))
def test_the_size_is_kept_up_to_date_by_what_changes(batches: list[list[dict[str, Any]]]) -> None:
    """After any updates it is what encoding everything would give, give or take the lengths of the containers."""
    schema = schema_of(Large)
    values = schema.dump(Large())
    size = size_of(values)
    for updates in batches:
        operations = merge_all(schema, values, updates, node="a")
        size += growth(operations, values)
        values = apply(operations, values)

        exact = sum(len(msgpack.encode(thaw(value))) for value in values.values())
        assert abs(size - exact) <= HEADS


def test_growth_looks_only_at_what_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of a million is not encoded to add one element, nor a dict of many to set one key."""
    schema = schema_of(Large)
    values = apply(
        merge_all(
            schema,
            schema.dump(Large()),
            [{"grown": ["x"] * 100_000, "table": {str(n): "x" for n in range(10_000)}}],
            node="a",
        ),
        schema.dump(Large()),
    )
    encoded: list[int] = []
    whole = sizing._encode

    def counting(value: Any) -> bytes:
        encoded.append(len(data := whole(value)))
        return data

    monkeypatch.setattr(sizing, "_encode", counting)

    growth(merge_all(schema, values, [{"grown": ["y"], "table": {"5": "yy"}, "plain": "z"}], node="a"), values)

    assert sum(encoded) < 100


def limited(limit: int) -> Driver:
    """A run whose state may take so many bytes."""
    graph = Graph("g", Tally, max_state=limit)
    graph.node(node, name="a", entry=True)
    graph.edge("a", "a")
    return Driver(graph, Tally())


def test_the_node_that_makes_the_state_too_large_fails() -> None:
    """Nothing of it is merged, the message names field and remedy, and no restart is tried."""
    run = limited(1000)
    run.returns("a", {"log": ["x" * 500]})

    run.returns("a", {"log": ["y" * 600]})

    assert run.run.status == "failed"
    assert isinstance(run.cause, StateTooLarge)
    assert (run.cause.limit, run.cause.field) == (1000, "log")
    assert 1100 <= run.cause.size <= 1130
    assert "max_state" in str(run.cause)
    assert run.state.log == ["x" * 500]


def test_a_warning_comes_once_when_four_fifths_are_reached() -> None:
    """And again only after it was smaller in between."""
    run = limited(1000)
    sizes = [300, 600, 10, 10]

    warned = [
        [command for command in run.returns("a", {"log": ["x" * size]}).commands if isinstance(command, Warn)]
        for size in sizes
    ]
    run.returns("a", {"log": Overwrite([])})
    again = run.returns("a", {"log": ["x" * 900]})

    assert [len(one) for one in warned] == [0, 1, 0, 0]
    assert "of the 1,000 bytes" in warned[1][0].text
    assert sum(isinstance(command, Warn) for command in again.commands) == 1


def test_what_makes_a_state_smaller_is_always_merged() -> None:
    """Also one that was over a limit which came later."""
    run = limited(1000)
    run.returns("a", {"log": ["x" * 900]})
    tight = Graph("g", Tally, max_state=100)
    tight.node(node, name="a", entry=True)
    tight.edge("a", "a")
    run.recover(graph=tight)

    run.returns("a", {"log": Overwrite(["x" * 500])})

    assert run.run.status == "running"
    run.returns("a", {"log": ["y"]})
    assert isinstance(run.cause, StateTooLarge)


def test_the_size_is_in_the_log_once() -> None:
    """From there on each fold knows it by itself; without a limit it is nowhere."""
    run = limited(1000)
    for _ in range(3):
        run.returns("a", {"log": ["x"]})
    run.updates({"log": ["y" * 50]}, idle=True)
    live = run.run.root.size

    run.recover()

    assert sum(isinstance(record, Measured) for record in run.history) == 1
    assert run.run.root.size == live
    assert live is not None
    assert abs(live - size_of(run.run.root.values)) <= 2
    assert not any(isinstance(record, Measured) for record in lone().history)
