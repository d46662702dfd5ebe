"""Steps: what a node did outside is remembered, and not done again when the node runs again."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actorflow import Context, Graph, Retry, Runtime, State, Timeout, Update, migrate
from actorflow.engine.records import decode_body
from actorflow.errors import (
    AmbiguousStep,
    AttemptOver,
    BadStepResult,
    RemoteError,
    RunFailed,
    StepFailed,
    StepTimeout,
)
from actorflow.store.memory import MemoryBackend
from actorflow.store.wrappers import WrappedBackend
from actorflow.testing import VirtualClock
from tests.runtime.graphs import Trail
from tests.runtime.outside import AGAIN, NEVER, SOON, World, cause_of, of


async def test_a_step_that_is_over_is_not_done_again() -> None:
    """The node runs three times; what it did before it failed was done once, and gave the same each time."""
    world, seen = World(), []

    async def node(state: Trail, ctx: Context) -> Update:
        first = await ctx.step("first", world.do, len(world.done))
        second = await ctx.step("second", world.do_sync, len(world.done))
        seen.append((first, second))
        if ctx.attempt < 3:
            raise RuntimeError("boom")
        return {"trace": [f"{first} {second}"]}

    async with Runtime("memory://") as rt:
        state = await rt.run(of(node, retry=AGAIN))

    assert (world.done, seen, state.trace) == ([0, 1], [(0, 1)] * 3, ["0 1"])


async def test_a_step_is_not_done_again_after_a_crash() -> None:
    """Not in the next incarnation of the run, either."""
    world = World()

    async def node(state: Trail, ctx: Context) -> Update:
        await ctx.step("do", world.do)
        if ctx.attempt == 1 and world.fails == 0:
            world.fails = -1
            raise RuntimeError("let it crash")
        return {"n": 1}

    async with Runtime("memory://", restarts=SOON) as rt:
        state = await rt.run(of(node))

    assert (world.done, state.n) == (["it"], 1)


async def test_steps_of_one_name_are_told_apart_by_their_order_in_a_task() -> None:
    """As in a loop."""
    world = World()

    async def node(state: Trail, ctx: Context) -> Update:
        results = [await ctx.step("do", world.do, n) for n in range(3)]
        if ctx.attempt == 1:
            raise RuntimeError("boom")
        return {"trace": [str(results)]}

    async with Runtime("memory://") as rt:
        state = await rt.run(of(node, retry=AGAIN))

    assert (world.done, state.trace) == ([0, 1, 2], ["[0, 1, 2]"])


async def test_a_key_is_the_identity_of_a_step() -> None:
    """The same name and key twice in an attempt is the same step; steps with keys and without never meet."""
    world = World()

    async def node(state: Trail, ctx: Context) -> Update:
        asked = [await ctx.step("do", world.do, n, key=key) for n, key in enumerate(["a", "b", "a", "1"])]
        return {"trace": [str([*asked, await ctx.step("do", world.do, 9)])]}

    async with Runtime("memory://") as rt:
        state = await rt.run(of(node))

    assert (world.done, state.trace) == ([0, 1, 3, 9], ["[0, 1, 0, 3, 9]"])


async def test_two_live_steps_of_one_name_are_ambiguous_at_once() -> None:
    """With and without a key: which result is whose would be timing."""
    for keys in ((None, None), ("k", "k")):

        async def node(state: Trail, ctx: Context, *, keys: Any) -> Update:
            async with anyio.create_task_group() as tasks:
                for key in keys:
                    tasks.start_soon(lambda key=key: ctx.step("do", anyio.sleep_forever, key=key))
            return {}

        cause = await cause_of(of(partial(node, keys=keys)))

        assert isinstance(cause, ExceptionGroup)
        (error,) = cause.exceptions
        assert isinstance(error, AmbiguousStep)
        assert (error.node, error.step, error.key) == ("node", "do", keys[0])


async def test_two_tasks_with_steps_of_one_name_are_ambiguous_though_they_do_not_overlap() -> None:
    """By luck the first was over when the second began; after a crash it may be the other way round."""

    async def node(state: Trail, ctx: Context) -> Update:
        over = anyio.Event()

        async def first() -> None:
            await ctx.step("do", World().do)
            over.set()

        async def second() -> None:
            await over.wait()
            await ctx.step("do", World().do)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            tasks.start_soon(second)
        return {}

    cause = await cause_of(of(node))

    assert isinstance(cause, ExceptionGroup)
    assert isinstance(cause.exceptions[0], AmbiguousStep)


@pytest.mark.parametrize("seed", range(4))
async def test_steps_side_by_side_get_their_own_results_whatever_their_order(seed: int) -> None:
    """Positional ids would give the first result to whoever comes first after the crash (regression of others')."""
    done: list[int] = []

    async def node(state: Trail, ctx: Context) -> Update:
        got: dict[int, int] = {}
        order = [(n * (1 + 2 * seed) + ctx.attempt) % 4 for n in range(4)]
        turns = {n: anyio.Event() for n in range(5)}
        turns[0].set()

        async def fetch(n: int) -> int:
            done.append(n)
            return n * 10

        async def one(n: int, turn: int) -> None:
            await turns[turn].wait()
            got[n] = await ctx.step("fetch", fetch, n, key=str(n))
            turns[turn + 1].set()
            if ctx.attempt < 3 and len(got) == 1 + ctx.attempt:
                raise RuntimeError("boom")

        async with anyio.create_task_group() as tasks:
            for turn, n in enumerate(order):
                tasks.start_soon(one, n, turn)
        return {"trace": [str(sorted(got.items()))]}

    async with Runtime("memory://") as rt:
        state = await rt.run(of(node, retry=AGAIN))

    assert state.trace == [str([(n, n * 10) for n in range(4)])]
    assert sorted(done) == [0, 1, 2, 3]


async def test_what_is_inside_a_step_is_told_apart_from_what_follows_it() -> None:
    """The outer result hides the inner steps on a later attempt: those after it must not take their places."""
    world = World()

    async def node(state: Trail, ctx: Context) -> Update:
        async def outer() -> list[Any]:
            return [await ctx.step("do", world.do, n) for n in ("a", "b")]

        got = [*await ctx.step("outer", outer), await ctx.step("do", world.do, "c")]
        if ctx.attempt == 1:
            raise RuntimeError("boom")
        return {"trace": got}

    async with Runtime("memory://") as rt:
        state = await rt.run(of(node, retry=AGAIN))

    assert (state.trace, world.done) == (["a", "b", "c"], ["a", "b", "c"])


async def test_inner_steps_are_remembered_when_the_outer_one_failed() -> None:
    """Each for itself."""
    world = World()

    async def node(state: Trail, ctx: Context) -> Update:
        async def outer() -> str:
            await ctx.step("inner", world.do)
            if ctx.attempt == 1:
                raise RuntimeError("boom")
            return "out"

        return {"trace": [await ctx.step("outer", outer)]}

    async with Runtime("memory://") as rt:
        state = await rt.run(of(node, retry=AGAIN))

    assert (state.trace, world.done) == (["out"], ["it"])


async def test_what_a_node_sees_of_a_result_is_its_decoded_copy() -> None:
    """Live and recovered alike: a tuple under nothing that says so is a list at once, and a copy of the node's own."""
    seen: list[Any] = []

    async def node(state: Trail, ctx: Context) -> Update:
        async def plain():  # type: ignore[no-untyped-def]  # noqa: ANN202 - it says nothing of its type
            return {"a": (1, 2)}

        async def annotated() -> dict[str, tuple[int, int]]:
            return {"a": (1, 2)}

        first = await ctx.step("plain", plain)
        seen.append(
            [first, await ctx.step("typed", annotated), await ctx.step("said", plain, type=dict[str, set[int]])]
        )
        first["a"].append("changed in place")
        if ctx.attempt == 1:
            raise RuntimeError("boom")
        return {}

    async with Runtime("memory://") as rt:
        await rt.run(of(node, retry=AGAIN))

    changed = {"a": [1, 2, "changed in place"]}
    assert seen == [[changed, {"a": (1, 2)}, {"a": {1, 2}}]] * 2


async def test_a_result_that_can_not_be_kept_fails_the_run() -> None:
    """Naming the step; a restart would not help."""

    async def node(state: Trail, ctx: Context) -> Update:
        return {"trace": [str(await ctx.step("open", object))]}

    cause = await cause_of(of(node))

    assert isinstance(cause, BadStepResult)
    assert (cause.node, cause.step) == ("node", "open")


async def test_a_result_of_another_type_is_refused_and_stays_for_code_that_is_mended() -> None:
    """It is remembered what was done; newer code reads it, and does not do it again."""
    world = World()

    def doing(kind: Any) -> Graph[Trail]:
        async def node(state: Trail, ctx: Context) -> Update:
            return {"trace": [str(await ctx.step("do", world.do, "text", type=kind))]}

        return of(node)

    async with Runtime("memory://", restarts=NEVER) as rt:
        with pytest.raises(RunFailed, match="is not what is wanted"):
            await rt.run(doing(int), id="x")
        run = await rt.resume(doing(str), "x")
        assert (await run.result()).trace == ["text"]

    assert world.done == ["text"]


async def test_a_state_that_a_step_returned_is_migrated_when_it_is_read() -> None:
    """As every other stored value is, and only then."""

    class Quote(State, version=1, name="Quote"):
        cents: int

    def asking(kind: Any) -> Graph[Trail]:
        async def node(state: Trail, ctx: Context) -> Update:
            async def ask() -> Any:
                return Quote(cents=250)

            quote = await ctx.step("ask", ask, type=kind)
            if ctx.attempt == 1 and kind is Quote:
                raise RuntimeError("boom")
            return {"trace": [repr(quote)]}

        return of(node)

    @migrate(from_=1, to=2)
    def to_euros(old: dict[str, Any]) -> dict[str, Any]:
        return {"euros": old["cents"] / 100}

    class Newer(State, version=2, name="Quote", migrations=[to_euros]):
        euros: float

    async with Runtime("memory://", restarts=NEVER) as rt:
        with pytest.raises(RunFailed, match="boom"):
            await rt.run(asking(Quote), id="x")
        run = await rt.resume(asking(Newer), "x")

        assert (await run.result()).trace == ["Newer(euros=2.5)"]


async def test_an_exception_leaves_a_step_as_it_is_and_is_not_remembered() -> None:
    """It is the node that is tried again, and the step with it, under the same key."""
    world = World(fails=2)

    async def node(state: Trail, ctx: Context) -> Update:
        return {"trace": [await ctx.step("do", world.do)]}

    async with Runtime("memory://") as rt:
        state = await rt.run(of(node, retry=Retry(attempts=3, backoff=0.0, on=ConnectionError)))

    assert (state.trace, len(world.done), len(set(world.keys))) == (["it"], 3, 1)
    assert len(world.keys[0]) == 32


async def test_the_key_of_a_step_is_its_own() -> None:
    """Not that of another step, nor of the node."""
    world, keys = World(), []

    async def node(state: Trail, ctx: Context) -> Update:
        keys.append(ctx.idempotency_key)
        for name in ("a", "b"):
            await ctx.step(name, world.do)
        await ctx.step("a", world.do, key="k")
        return {}

    async with Runtime("memory://") as rt:
        await rt.run(of(node))

    assert len({*keys, *world.keys}) == 4


async def test_a_step_is_tried_again_by_its_own_retry() -> None:
    """The node goes on; nobody outside of the step noticed."""
    world, attempts = World(fails=2), []

    async def node(state: Trail, ctx: Context) -> Update:
        attempts.append(ctx.attempt)
        return {"trace": [await ctx.step("do", world.do, retry=Retry(attempts=3, backoff=0.0))]}

    async with Runtime("memory://") as rt:
        state = await rt.run(of(node))

    assert (state.trace, len(world.done), attempts) == (["it"], 3, [1])


async def test_a_step_whose_retries_are_used_up_failed_for_good() -> None:
    """The same error on every later attempt, and nothing is done for it; the first has the exception as its cause."""
    world, errors = World(fails=9), []

    async def node(state: Trail, ctx: Context) -> Update:
        try:
            await ctx.step("do", world.do, retry=Retry(attempts=2, backoff=0.0))
        except StepFailed as error:
            errors.append(error)
        if ctx.attempt == 1:
            raise RuntimeError("boom")
        return {}

    async with Runtime("memory://") as rt:
        await rt.run(of(node, retry=AGAIN))

    assert len(world.done) == 2
    assert [(str(error), error.type_name, error.step) for error in errors] == [
        ("node 'node': step 'do' failed for good: ConnectionError: no reply", "ConnectionError", "do")
    ] * 2
    assert [type(error.__cause__) for error in errors] == [ConnectionError, RemoteError]


async def test_who_resumes_a_run_lets_failed_steps_be_tried_again() -> None:
    """As failed nodes are, with a fresh budget."""
    world = World(fails=2)

    async def node(state: Trail, ctx: Context) -> Update:
        return {"trace": [await ctx.step("do", world.do, retry=Retry(attempts=2, backoff=0.0))]}

    async with Runtime("memory://") as rt:
        with pytest.raises(RunFailed, match="failed for good"):
            await rt.run(of(node), id="x")
        run = await rt.resume(of(node), "x")
        assert (await run.result()).trace == ["it"]

    assert len(world.done) == 3


class Leave(Exception):
    """Leaves a runtime as a Ctrl-C does."""


async def test_attempts_of_a_step_are_counted_over_processes() -> None:
    """A pause that is long enough is recorded: the next process makes the last attempt when it is over, and no more."""
    world = World(fails=9)
    graph = Graph("steps", Trail, record_backoff_over=0.1)

    @graph.node
    async def node(state: Trail, ctx: Context) -> Update:
        return {"trace": [await ctx.step("do", world.do, retry=Retry(attempts=2, backoff=60.0, jitter=False))]}

    store = MemoryBackend()
    async with VirtualClock(auto=False) as clock:
        with suppress(Leave):
            async with Runtime(store) as rt:
                run = await rt.spawn(graph, id="x")
                while not any(b"tried" in frame.body for frame in await rt.read(run.id)):
                    await anyio.lowlevel.checkpoint()
                raise Leave
        assert len(world.done) == 1

        clock.auto = True
        async with Runtime(store) as rt:
            with pytest.raises(RunFailed, match="failed for good"):
                await rt.run(graph, id="x")

    assert len(world.done) == 2
    assert clock.elapsed == pytest.approx(60.0, abs=30.0)


@pytest.mark.parametrize("limit", [0.01, Timeout(attempt=0.01), Timeout(total=0.01)])
async def test_a_step_that_is_too_slow_is_cancelled(limit: Any) -> None:
    """And is an error like any other: a TimeoutError that names the step."""
    cancelled: list[bool] = []

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)

    async def node(state: Trail, ctx: Context) -> Update:
        with pytest.raises(StepTimeout, match=r"step 'slow' took longer than 0\.01 s") as caught:
            await ctx.step("slow", slow, timeout=limit)
        assert isinstance(caught.value, TimeoutError)
        return {"n": 1}

    async with VirtualClock(), Runtime("memory://") as rt:  # the machine's own pauses are none of the step's
        assert (await rt.run(of(node))).n == 1
    assert cancelled == [True]


async def test_what_comes_after_the_end_of_an_attempt_is_not_recorded() -> None:
    """A cancelled node that goes on in a shield does nothing, and the run goes on as if it had not tried."""
    world, late = World(), []

    async def node(state: Trail, ctx: Context) -> Update:
        if ctx.attempt == 1:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    try:
                        await ctx.step("late", world.do)
                    except AttemptOver as error:
                        late.append(error)
        return {"n": ctx.attempt}

    async with Runtime("memory://") as rt:
        state = await rt.run(of(node, retry=Retry(attempts=2, backoff=0.0), timeout=0.3))

    assert (state.n, world.done, [error.node for error in late]) == (2, [], ["node"])


async def test_a_context_that_outlives_its_attempt_records_nothing() -> None:
    """What somebody took out of a node can't reach into the run any more."""
    taken: list[Context] = []

    async def node(state: Trail, ctx: Context) -> Update:
        taken.append(ctx)
        return {}

    async with Runtime("memory://") as rt:
        await rt.run(of(node), id="x")
        for late in (taken[0].step("late", World().do), taken[0].rollback(), taken[0].now()):
            with pytest.raises(AttemptOver):
                await late


class Slow(WrappedBackend):
    """Takes longer over one commit than the node has time."""

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """The first commit after the spawn is the late one."""
        if key.endswith("1.ckpt"):
            time.sleep(0.6)
        return super().put_new(key, data, durable=durable)


async def test_a_cancelled_late_write_does_not_take_the_run_back() -> None:
    """The attempt was over while its step was being committed: the run goes on behind that commit, with its result."""
    world, attempts = World(), []

    async def node(state: Trail, ctx: Context) -> Update:
        attempts.append(ctx.attempt)
        return {"trace": [await ctx.step("do", world.do)]}

    graph = of(node, retry=Retry(attempts=9, backoff=0.0), timeout=0.2)
    store = Slow(MemoryBackend())
    async with Runtime(store) as rt:
        state = await rt.run(graph, id="x")
    async with Runtime(store) as rt:
        again = await rt.run(graph, id="x")
        records = [record for cp in await history(rt) for record in cp]
        findings = await rt.verify("x")

    assert attempts[:2] == [1, 2]
    assert (world.done, state.trace, again) == (["it"], ["it"], state)
    assert [record for record in records if record in {"stepped", "finished"}] == ["stepped", "finished"]
    assert findings == []


async def history(rt: Runtime, run_id: str = "x") -> list[list[str]]:
    """The names of the records of each commit."""
    frames = await rt.read(run_id, first=0)
    return [[str(record.__struct_config__.tag) for record in decode_body(frame.body).records] for frame in frames]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_the_memo_is_in_a_commit_before_that_of_what_follows_from_it(durability: Any) -> None:
    """Never the other way round, whatever the scheduling of threads: a finished node whose effect is not remembered."""
    graph = Graph("steps", Trail)
    before = None
    for name in "abc":

        async def node(state: Trail, ctx: Context) -> Update:
            return {"trace": [await ctx.step("do", World().do, ctx.node)]}

        graph.node(node, name=name, after=before)
        before = name

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x", durability=durability)
        await run.result()
        commits = await history(rt)

    at = {
        name: [n for n, names in enumerate(commits) for one in names if one == name] for name in ("stepped", "finished")
    }
    assert len(at["stepped"]) == len(at["finished"]) == 3
    assert all(memo < finish for memo, finish in zip(at["stepped"], at["finished"], strict=True))
