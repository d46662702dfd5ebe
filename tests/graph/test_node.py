"""Nodes: what is read from a function's signature, and what is wrong with it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import pytest

from actorflow.graph.graph import Graph
from actorflow.graph.retry import Retry
from actorflow.graph.routing import END, End, Goto
from actorflow.graph.state import State, Update
from actorflow.graph.timeouts import Timeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from actorflow.graph.context import Context
    from actorflow.graph.node import Node


class Tally(State):
    """The state of these graphs."""

    n: int = 0


class Other(State):
    """Another State."""


class HasN(Protocol):
    """What a function may ask for that serves several graphs."""

    n: int


class Change(TypedDict, total=False):
    """An update with typed keys."""

    n: int


def compiled(fn: Callable[..., Any], **options: Any) -> Node:
    """The node that a graph makes of a function."""
    graph = Graph("g", Tally)
    graph.node(fn, **{"name": "it", **options})
    return graph.plan.nodes["it"]


def problems(fn: Callable[..., Any], **options: Any) -> list[str]:
    """What a graph says about a function as its only node."""
    graph = Graph("g", Tally)
    graph.node(fn, **{"name": "it", **options})
    return [finding.problem for finding in graph.check()]


def test_a_second_parameter_is_the_context() -> None:
    """A node asks for the context by having a second parameter, whatever its name."""

    def bare(state: Tally) -> None: ...
    def asks(state: Tally, anything: Context) -> None: ...
    def untyped(state, ctx): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202

    assert not compiled(bare).takes_context
    assert compiled(asks).takes_context
    assert compiled(untyped).takes_context


def test_async_functions_are_told_from_sync_ones() -> None:
    """Also behind a partial, a method and an object that can be called."""

    class Caller:
        async def __call__(self, state: Tally) -> None: ...

        async def method(self, state: Tally) -> None: ...

    async def scaled(scale: int, state: Tally) -> Update:
        return {"n": state.n * scale}

    def sync(state: Tally) -> None: ...

    assert compiled(Caller()).is_async
    assert compiled(Caller().method).is_async
    assert compiled(functools.partial(scaled, 3)).is_async
    assert not compiled(functools.partial(scaled, 3)).takes_context
    assert not compiled(sync).is_async


@pytest.mark.parametrize(
    "returned",
    [
        None,
        "None",
        "Update",
        "Change",
        "Tally",
        "State",
        "End",
        "Goto",
        "dict[str, int]",
        "Update | Goto | None",
        "Any",
        "object",
        "NotThere",
    ],
)
def test_what_a_node_may_return_is_no_problem(returned: str | None) -> None:
    """Every outcome may be annotated, and what can't be resolved is not guessed at."""

    def fn(state: Tally) -> Any: ...

    fn.__annotations__["return"] = returned

    assert problems(fn) == []


def test_names_for_type_checkers_and_local_classes_are_no_problem() -> None:
    """Annotations that can't be resolved at run time say nothing, and so does no annotation."""

    class Local(State):
        m: int = 0

    def hidden(state: Tally, ctx: Context) -> Iterator[int] | None: ...
    def local(state: Local) -> Update: ...

    graph = Graph("g", Local)
    graph.node(local)

    assert problems(hidden) == []
    assert graph.check() == []


def test_a_base_class_or_protocol_of_the_state_is_no_problem() -> None:
    """One function may serve several graphs."""

    def by_base(state: State) -> None: ...
    def by_protocol(state: HasN) -> None: ...

    assert problems(by_base) == problems(by_protocol) == []


def test_a_wrong_state_is_named_with_both_classes_and_the_place() -> None:
    """The message says which node, where, what it takes and what it should take."""

    def fn(state: Other) -> None: ...

    assert problems(fn) == [
        f"node 'it' (test_node.py:{fn.__code__.co_firstlineno}): it takes a Other, but the graph's state is Tally"
    ]


def _none() -> None: ...
def _three(state: Tally, ctx: Context, more: int) -> None: ...
def _keyword(state: Tally, *, scale: int) -> None: ...
def _number(state: int) -> None: ...
def _wrong_context(state: Tally, ctx: int) -> None: ...
def _method(self: object, state: Tally) -> None: ...
def _returns_int(state: Tally) -> int: ...  # type: ignore[empty-body]
async def _returns_list(state: Tally) -> list | None: ...  # type: ignore[type-arg]
def _returns_other(state: Tally) -> Other: ...  # type: ignore[empty-body]
def _generator(state: Tally) -> Iterator[Update]:
    yield {}


async def _async_generator(state: Tally) -> AsyncIterator[Update]:
    yield {}


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (_none, "no positional parameter"),
        (_three, "'more'"),
        (_keyword, "keyword 'scale'"),
        (_number, "takes a int"),
        (_wrong_context, "'ctx' is the Context, not a int"),
        (_method, "'state' is the Context, not a Tally"),
        (_returns_int, "returns int"),
        (_returns_list, "returns list"),
        (_returns_other, "returns a Other"),
        (_generator, "generator"),
        (_async_generator, "generator"),
        (max, "can't be read"),
    ],
)
def test_a_signature_that_is_no_node_is_one_clear_problem(fn: Callable[..., Any], expected: str) -> None:
    """Each mistake is told once, before anything runs."""
    found = problems(fn)

    assert len(found) == 1
    assert expected in found[0]


def test_further_parameters_with_defaults_are_no_problem() -> None:
    """Nobody else has to pass them."""

    def fn(state: Tally, ctx: Context, scale: int = 2, *, deep: bool = False) -> None: ...

    assert problems(fn) == []


def test_a_timeout_on_a_sync_node_is_refused() -> None:
    """A thread can't be stopped, so the promise could not be kept."""

    def sync(state: Tally) -> None: ...
    async def asynchronous(state: Tally) -> None: ...

    assert "can't be stopped" in problems(sync, timeout=1)[0]
    assert problems(asynchronous, timeout=1) == []


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "30"])
def test_a_timeout_that_is_no_duration_is_refused(timeout: Any) -> None:
    """Seconds, more than none."""

    async def fn(state: Tally) -> None: ...

    assert "timeout=" in problems(fn, timeout=timeout)[0]


def test_policies_of_the_graph_hold_where_a_node_says_nothing() -> None:
    """A node's own retry and timeout win; a sync node gets no timeout; inf is none."""
    general, own = Retry(attempts=2), Retry(attempts=9)
    graph = Graph("g", Tally, retry=general, timeout=30)

    @graph.node
    async def plain(state: Tally) -> None: ...
    @graph.node(after=plain, retry=own, timeout=5)
    async def picky(state: Tally) -> None: ...
    @graph.node(after=picky, timeout=float("inf"))
    async def slow(state: Tally) -> None: ...
    @graph.node(after=slow)
    def sync(state: Tally) -> None: ...

    nodes = graph.plan.nodes
    assert [nodes[name].retry for name in nodes] == [(general,), (own,), (general,), (general,)]
    assert [nodes[name].timeout for name in nodes] == [Timeout(attempt=30), Timeout(attempt=5), None, None]


def test_a_retry_that_is_none_is_refused() -> None:
    """A number is an easy mistake for a policy."""

    async def fn(state: Tally) -> None: ...

    assert "give a Retry" in problems(fn, retry=3)[0]


def test_goto_is_resolved_to_names() -> None:
    """Functions, names and END, one or several."""
    graph = Graph("g", Tally)

    @graph.node(goto=("second", END))
    def first(state: Tally) -> Goto | End: ...  # type: ignore[empty-body]
    @graph.node(goto=first)
    def second(state: Tally) -> None: ...

    graph.node(lambda state: None, name="zero", goto="first")

    assert graph.plan.nodes["first"].goto == ("second", END)
    assert graph.plan.nodes["second"].goto == ("first",)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "empty"),
        ("a" * 101, "longer than 100"),
        ("__end__", "stands for END"),
        ("e\u0301tape", "NFC"),
        ("a\nb", "printed"),
        ("\ud800", "printed"),
        (7, "not int"),
    ],
)
def test_a_bad_name_is_refused(name: Any, expected: str) -> None:
    """Names go into records, pictures and messages, so each has one spelling that can be shown."""

    def fn(state: Tally) -> None: ...

    assert expected in problems(fn, name=name)[0]
    assert expected in Graph(name, Tally).check()[0].problem


def test_names_may_have_spaces_and_letters_of_any_script() -> None:
    """A name is for people."""

    def fn(state: Tally) -> None: ...

    assert problems(fn, name="Größe schätzen · 見積もり") == []
