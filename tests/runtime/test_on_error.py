"""on_error, as it happens: what takes over, what it is given, and that a crash in between changes nothing."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from actorflow import Context, Goto, Graph, RestartPolicy, Retry, Runtime, Send, Timeout, Update
from actorflow.errors import GraphError, NodeTimeout, RemoteError, RunFailed
from actorflow.testing import VirtualClock, assert_resumes_equal
from tests.runtime.graphs import Trail

NO_RESTART = RestartPolicy(max_restarts=0)


class Mends:
    """Handlers that say what they were given."""

    def __init__(self) -> None:
        self.given: list[tuple[Trail, Any]] = []

    def sync(self, state: Trail, error: RemoteError) -> Update:
        """A plain function: it runs in a thread."""
        self.given.append((state, error))
        return {"trace": [f"mended {error.type_name}"]}

    async def asynchronous(self, state: Trail, error: RemoteError, ctx: Context) -> Update:
        """With the context as its third parameter."""
        assert (ctx.error is None, str(ctx.error)) == (False, str(error))
        return self.sync(state, error)

    async def node(self, state: Trail, ctx: Context) -> Update:
        """A node of the graph."""
        assert ctx.error is not None
        return self.sync(state, ctx.error)


def failing(on_error: Any, **options: Any) -> Graph[Trail]:
    """Three nodes in a row, the second of which always raises."""
    graph = Graph("failing", Trail)

    @graph.node
    async def start(state: Trail) -> Update:
        return {"n": 5, "trace": ["start"]}

    @graph.node(after=start, on_error=on_error, **options)
    async def fails(state: Trail) -> Update:
        raise ValueError("as always")

    @graph.node(after=fails)
    async def last(state: Trail) -> Update:
        return {"trace": ["last"]}

    return graph


@pytest.mark.parametrize("kind", ["sync", "asynchronous"])
async def test_a_function_takes_over_and_its_update_counts_as_the_nodes(kind: str) -> None:
    """It gets the state that the node had, and the error with the node's name."""
    mends = Mends()

    async with Runtime("memory://", restarts=NO_RESTART) as rt:
        result = await rt.run(failing(getattr(mends, kind)), Trail())

    assert result.trace == ["start", "mended ValueError", "last"]
    ((state, error),) = mends.given
    assert (state.n, state.trace) == (5, ["start"])
    assert (error.type_name, error.message, error.node) == ("ValueError", "as always", "fails")
    assert "as always" in error.traceback


async def test_a_node_takes_over_and_goes_on_along_its_own_edges() -> None:
    """It has the error as ``ctx.error``; what comes after the failed node does not run."""
    mends = Mends()
    graph = failing("node")
    graph.node(mends.node, name="node")
    graph.node(after_it, after="node")

    async with Runtime("memory://", restarts=NO_RESTART) as rt:
        result = await rt.run(graph, Trail())

    assert result.trace == ["start", "mended ValueError", "after it"]
    assert mends.given[0][1].node == "fails"


async def after_it(state: Trail, ctx: Context) -> Update:
    """What follows a handler handles nothing itself."""
    assert ctx.error is None
    return {"trace": ["after it"]}


async def test_a_handler_may_lead_elsewhere() -> None:
    """It stands in for the node, so it may say what that may say."""

    def elsewhere(state: Trail, error: Any) -> Goto:
        return Goto("after_it", update={"trace": ["elsewhere"]})

    graph = failing(elsewhere, goto="after_it")
    graph.node(after_it)

    async with Runtime("memory://", restarts=NO_RESTART) as rt:
        assert (await rt.run(graph, Trail())).trace == ["start", "elsewhere", "after it"]


async def test_it_is_outside_of_retries_and_timeouts() -> None:
    """Two attempts first; and the total of the node's time is not the handler's."""
    calls: list[int] = []

    async def mend(state: Trail, error: RemoteError) -> Update:
        await anyio.sleep(0.15)
        return {"trace": [f"mended {error.type_name} of {len(calls)}"]}

    graph = Graph("g", Trail)

    @graph.node(retry=Retry(attempts=2, backoff=0.0), timeout=Timeout(attempt=0.02, total=0.1), on_error=mend)
    async def hangs(state: Trail) -> Update:
        calls.append(1)
        await anyio.sleep_forever()
        return {}

    async with VirtualClock(), Runtime("memory://", restarts=NO_RESTART) as rt:
        assert (await rt.run(graph, Trail())).trace == [f"mended {NodeTimeout.__name__} of 2"]


async def test_a_crash_between_failure_and_handling_changes_nothing() -> None:
    """Killed at every operation of the store, the run ends as ever, and the node does not fail a second time."""
    await assert_resumes_equal(failing(mend), Trail(), depth=1)
    graph = failing("takes_over")
    graph.node(takes_over)
    await assert_resumes_equal(graph, Trail(), depth=1)


def mend(state: Trail, error: RemoteError) -> Update:
    """A handler without a memory: it lives in many processes."""
    return {"trace": [f"{error.node} mended"]}


async def takes_over(state: Trail, ctx: Context) -> Update:
    """A node, as above."""
    assert ctx.error is not None
    return {"trace": [f"{ctx.error.node} mended"]}


async def test_a_handler_that_fails_is_resumed_and_not_the_node(store_url: str) -> None:
    """With the same error, in another process."""
    calls: list[str] = []
    given: list[RemoteError] = []

    async def handler(state: Trail, error: RemoteError) -> Update:
        given.append(error)
        if len(given) == 1:
            raise KeyError("the handler's own")
        return {"trace": ["mended"]}

    graph = Graph("g", Trail)

    @graph.node(on_error=handler)
    async def fails(state: Trail) -> Update:
        calls.append("node")
        raise ValueError("the node's")

    async with Runtime(store_url, recover="never") as rt:
        with pytest.raises(RunFailed, match="the handler's own"):
            await rt.run(graph, Trail(), id="x")
    async with Runtime(store_url, recover="never") as rt:
        result = await rt.run(graph, Trail(), id="x")

    assert result.trace == ["mended"]
    assert calls == ["node"]
    assert [(one.type_name, one.message, one.node) for one in given] == [("ValueError", "the node's", "fails")] * 2


async def test_a_wait_is_no_error() -> None:
    """Neither of the node, nor of its handler, which may ask, too."""

    async def ask_again(state: Trail, error: Any, ctx: Any) -> Update:
        return {"trace": [await ctx.interrupt("And now?", type=str)]}

    graph = Graph("g", Trail)

    @graph.node(on_error=ask_again)
    async def asks(state: Trail, ctx: Any) -> Update:
        if await ctx.interrupt("Fail?", type=bool):
            raise ValueError
        return {"trace": ["did not"]}

    async with Runtime("memory://", restarts=NO_RESTART) as rt:
        for answers, trace in (([False], "did not"), ([True, "this"], "this")):
            run = await rt.spawn(graph, Trail())
            for answer in answers:
                assert await run.wait() == "waiting"
                await run.answer(answer)
            assert (await run.result()).trace == [trace]


async def test_a_subgraph_is_handled_as_a_whole() -> None:
    """Whatever goes on in it ends; the handler is told which node it was; what it wrote inside does not come out."""
    inner = Graph("inner", Trail)

    @inner.node
    async def writes(state: Trail) -> Update:
        return {"n": 99, "trace": ["inside"]}

    @inner.node(after=writes)
    async def sleeps(state: Trail) -> Update:
        await anyio.sleep_forever()
        return {}

    @inner.node(after=writes)
    async def raises(state: Trail) -> Update:
        raise ValueError("inside")

    outer = Graph("outer", Trail)
    outer.subgraph(inner, name="sub", on_error=mend)
    outer.node(after_it, after="sub")

    async with Runtime("memory://", restarts=NO_RESTART) as rt:
        with anyio.fail_after(30):
            result = await rt.run(outer, Trail())

    assert (result.n, result.trace) == (0, ["raises mended", "after it"])


async def test_what_was_sent_is_handled_by_itself() -> None:
    """A function handles each input that failed; the others count as they are."""
    graph = Graph("g", Trail)

    @graph.node(send="work")
    async def sends(state: Trail) -> list[Send]:
        return [Send("work", number) for number in (1, 2, 3)]

    @graph.node(takes=int, on_error=mend)
    async def work(number: int) -> Update:
        if number == 2:
            raise ValueError
        return {"trace": [str(number)]}

    async with Runtime("memory://", restarts=NO_RESTART) as rt:
        assert (await rt.run(graph, Trail())).trace == ["1", "work mended", "3"]


async def test_one_handler_serves_the_whole_graph() -> None:
    """But for nodes that say their own, or none."""
    graph = Graph("g", Trail, on_error=mend, catch=ValueError)

    @graph.node
    async def first(state: Trail) -> Update:
        raise ValueError

    @graph.node(after=first, on_error=lambda state, error: {"trace": ["its own"]})
    async def second(state: Trail) -> Update:
        raise ValueError

    @graph.node(after=second, on_error=None)
    async def third(state: Trail) -> Update:
        raise ValueError("nobody's")

    async with Runtime("memory://", restarts=NO_RESTART) as rt:
        with pytest.raises(RunFailed, match="nobody's") as failed:
            await rt.run(graph, Trail())

    assert failed.value.state.trace == ["first mended", "its own"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"on_error": 5}, "on_error=5: give a node, or a function"),
        ({"on_error": "nobody"}, "there is no node 'nobody'"),
        ({"on_error": lambda: None}, "it takes no positional parameter"),
        ({"on_error": mend, "catch": ()}, "give an Exception class"),
        ({"on_error": mend, "catch": BaseException}, "give an Exception class"),
    ],
)
def test_what_can_not_handle_is_refused(options: dict[str, Any], problem: str) -> None:
    """For a node and for the whole graph, when it is checked."""
    graph = Graph("g", Trail)
    graph.node(after_it, **options)
    with pytest.raises(GraphError, match=problem):
        _ = graph.plan
    whole = Graph("g", Trail, **options)
    whole.node(after_it)
    with pytest.raises(GraphError, match=problem):
        _ = whole.plan
