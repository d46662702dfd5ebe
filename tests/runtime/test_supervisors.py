"""Supervisors: who is restarted with whom, in which order, how often, and what becomes of them in the end."""

# ruff: noqa: SIM117 - a runtime and its supervisors are left one after the other, and should look so

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from actorflow import Context, Graph, RestartPolicy, Runtime, Update
from actorflow.errors import (
    Blocked,
    ConcurrentWrite,
    RestartIntensity,
    RunFailed,
    SupervisorClosed,
    SupervisorExists,
)
from actorflow.runtime import recovery
from actorflow.runtime.lives import Lives
from actorflow.runtime.recovery import orphans
from tests.runtime.graphs import Trail
from tests.runtime.mailing import Close, Deposit, Gate, banking

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.runtime.life import Life
    from actorflow.runtime.supervisor import Supervisor


PATIENCE = 30.0
"""Seconds that a test waits for what comes at once, on whatever machine."""


class Boom(Exception):
    """What makes a child crash."""


class Stage:
    """Children that note when they start and stop, and then do what they are told."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.cues: dict[str, anyio.Event] = {}
        self.errors: dict[str, Exception] = {}
        self.graph = Graph("worker", Trail)

        @self.graph.node
        async def begin(state: Trail) -> Update:
            return {"trace": ["begin"], "n": state.n + 1}

        @self.graph.node(after=begin)
        async def work(state: Trail, ctx: Context) -> Update:
            name = ctx.run_id
            self.log.append(f"{name} starts")
            cue = self.cues[name] = anyio.Event()
            try:
                await cue.wait()
            except anyio.get_cancelled_exc_class():
                self.log.append(f"{name} stops")
                raise
            if (error := self.errors.pop(name, None)) is not None:
                self.log.append(f"{name} crashes")
                raise error
            return {"trace": ["work"]}

    async def until(self, *lines: str, starts: str = "") -> None:
        """Wait until the log has these lines, and then those who start, in any order; then it is empty again."""
        with anyio.fail_after(PATIENCE):
            while len(self.log) < len(lines) + len(starts):
                await anyio.lowlevel.checkpoint()
        assert self.log[: len(lines)] == list(lines)
        assert sorted(self.log[len(lines) :]) == [f"{name} starts" for name in sorted(starts)]
        self.log.clear()

    def crash(self, name: str, error: Exception | None = None) -> None:
        """Let a child crash."""
        self.errors[name] = error or Boom(name)
        self.cues[name].set()

    def finish(self, *names: str) -> None:
        """Let children finish."""
        for name in names:
            self.cues[name].set()


@pytest.fixture
def stage() -> Stage:
    """A stage with nobody on it."""
    return Stage()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until this is so."""
    with anyio.fail_after(PATIENCE):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def claimed_in_order(rt: Runtime, names: str) -> bool:
    """Whether the newest claims of these runs were made one after the other."""
    times: list[float] = []
    for name in names:
        times += [claim.time async for claim in rt.get(name).history(kind="claim", limit=1)]
    return times == sorted(times) and len(set(times)) == len(times)


async def test_one_for_one_restarts_nobody_else(store_url: str, stage: Stage) -> None:
    """The siblings of a child that crashes don't notice."""
    async with Runtime(store_url, recover="never") as rt, rt.supervise("group", backoff=0.0) as group:
        for name in "ab":
            await group.spawn(stage.graph, Trail(), id=name)
        await stage.until(starts="ab")

        stage.crash("a")

        await stage.until("a crashes", starts="a")
        stage.finish("a", "b")


async def test_one_for_all_stops_in_reverse_and_starts_in_order(store_url: str, stage: Stage) -> None:
    """The last that was started stops first; nobody starts before all have stopped."""
    async with Runtime(store_url, recover="never") as rt:
        async with rt.supervise("group", strategy="one_for_all", backoff=0.0) as group:
            runs = [await group.spawn(stage.graph, Trail(), id=name) for name in "abcd"]
            await stage.until(starts="abcd")

            stage.crash("b")

            await stage.until("b crashes", "d stops", "c stops", "a stops", starts="abcd")
            assert await claimed_in_order(rt, "abcd")
            stage.finish(*"abcd")
            # no rollback: what each had committed stays, and is not done again
            assert [(await run.result()).trace for run in runs] == [["begin", "work"]] * 4


async def test_rest_for_one_restarts_those_started_after_it(store_url: str, stage: Stage) -> None:
    """Who was there before goes on undisturbed."""
    async with Runtime(store_url, recover="never") as rt:
        async with rt.supervise("group", strategy="rest_for_one", backoff=0.0) as group:
            for name in "abcd":
                await group.spawn(stage.graph, Trail(), id=name)
            await stage.until(starts="abcd")

            stage.crash("c")

            await stage.until("c crashes", "d stops", starts="cd")
            assert await claimed_in_order(rt, "cd")
            stage.finish(*"abcd")


async def test_two_that_crash_at_once_are_restarted_once(store_url: str, stage: Stage) -> None:
    """A sibling that crashes while it is about to be stopped is no second restart of the group."""
    async with Runtime(store_url, recover="never") as rt:
        async with rt.supervise("group", strategy="one_for_all", max_restarts=1, backoff=0.0) as group:
            for name in "ab":
                await group.spawn(stage.graph, Trail(), id=name)
            await stage.until(starts="ab")

            stage.crash("a")
            stage.crash("b")

            await until(lambda: {"a starts", "b starts"} <= set(stage.log))
            stage.finish("a", "b")


async def test_children_are_counted_together_and_one_crash_too_many_stops_all(store_url: str, stage: Stage) -> None:
    """The group gives up: its children stop in reverse order, the crash that was too many is the cause."""
    async with Runtime(store_url, scan_every=0.01) as rt:
        with pytest.raises(RestartIntensity, match=r"supervisor 'group': run 'c' crashed after 2 restarts") as caught:  # noqa: PT012 - where it is raised is what is tested
            async with rt.supervise("group", max_restarts=2, backoff=0.0) as group:
                for name in "abcd":
                    await group.spawn(stage.graph, Trail(), id=name)
                await stage.until(starts="abcd")
                for name in "ab":
                    stage.crash(name)
                    await stage.until(f"{name} crashes", starts=name)
                stage.crash("c")
                with anyio.fail_after(PATIENCE):
                    await anyio.sleep_forever()

        assert isinstance(caught.value.__cause__, Boom)
        assert stage.log == ["c crashes", "d stops", "b stops", "a stops"]
        assert [await rt.get(name).status() for name in "abcd"] == ["blocked", "blocked", "failed", "blocked"]
        assert {(await rt.tip(name)).header.kind for name in "abd"} == {"release"}
        with pytest.raises(Blocked, match="supervisor 'group' was left"):
            await rt.get("a").result()
        with pytest.raises(SupervisorClosed, match="'group'"):
            await group.spawn(stage.graph, Trail(), id="e")

        stage.log.clear()
        async with rt.supervise("group") as group:  # entered again, it gets its children back from the scan
            await until(lambda: len(stage.log) == 3)
            stage.finish(*"abd")
            assert {(await rt.get(name).result()).n for name in "abd"} == {1}


async def give_up(rt: Runtime, stage: Stage) -> None:
    """A group of a and b gives up because b crashed: b has failed, and a is let go of."""
    with pytest.raises(RestartIntensity):  # noqa: PT012 - it is raised where the group is left
        async with rt.supervise("group", max_restarts=0) as group:
            for name in "ab":
                await group.spawn(stage.graph, Trail(), id=name)
            await stage.until(starts="ab")
            stage.crash("b")
            await anyio.sleep_forever()


async def test_a_scan_that_began_before_leaves_alone_whom_a_group_that_gave_up_has_left(
    store_url: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds an orphan that was no run when it asked who lives here. Planted: who is blocked is asked only then."""
    looks, go_on = [threading.Event() for _ in range(3)], threading.Event()
    begun = iter(looks)

    def slow(*args: Any, **options: Any) -> list[tuple[str, str]]:
        next(begun, looks[-1]).set()
        go_on.wait(PATIENCE)
        return orphans(*args, **options)

    monkeypatch.setattr(recovery, "orphans", slow)
    async with Runtime(store_url, scan_every=0.01) as rt:
        rt.register(stage.graph)
        await until(looks[0].is_set)
        await give_up(rt, stage)

        go_on.set()
        await until(looks[2].is_set)

        assert await rt.get("a").status() == "blocked"
        assert (await rt.tip("a")).header.kind == "release"


async def test_whom_a_group_lets_go_of_is_set_aside_before_anybody_else_looks(
    store_url: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From when it lives here no more. Planted: the group sees to it when it comes to know that."""
    aside: dict[str, bool] = {}
    is_over = Lives._is_over

    def noted(lives: Lives, life: Life) -> None:
        is_over(lives, life)
        aside[life.run_id] = life.run_id in lives.blocked

    monkeypatch.setattr(Lives, "_is_over", noted)
    async with Runtime(store_url, recover="never") as rt:
        await give_up(rt, stage)

    assert aside == {"a": True, "b": False}  # what crashed has failed


async def test_a_supervisor_that_gives_up_is_restarted_by_the_one_around_it(store_url: str, stage: Stage) -> None:
    """Its children stop and start again as one, with a window of their own; the body that entered it goes on."""
    async with Runtime(store_url, recover="never") as rt:
        async with (
            rt.supervise("outer", max_restarts=1, backoff=0.0) as outer,
            outer.supervise("inner", max_restarts=1, backoff=0.0) as inner,
        ):
            assert inner.path == "outer/inner"
            await outer.spawn(stage.graph, Trail(), id="o")
            for name in "ab":
                await inner.spawn(stage.graph, Trail(), id=name)
            await stage.until(starts="oab")
            stage.crash("a")
            await stage.until("a crashes", starts="a")

            stage.crash("a")  # one too many for the inner one

            await stage.until("a crashes", "b stops", starts="ab")
            assert await claimed_in_order(rt, "ab")
            stage.crash("b")  # the inner one counts anew
            await stage.until("b crashes", starts="b")
            stage.finish("o", "a", "b")


async def test_the_outermost_gives_up_when_it_had_to_restart_another_too_often(store_url: str, stage: Stage) -> None:
    """Every level stops, and the error names the outermost."""
    async with Runtime(store_url, recover="never") as rt:
        with pytest.raises(RestartIntensity) as caught:  # noqa: PT012 - where it is raised is what is tested
            async with (
                rt.supervise("outer", max_restarts=0) as outer,
                outer.supervise("inner", max_restarts=0) as inner,
            ):
                await outer.spawn(stage.graph, Trail(), id="o")
                await inner.spawn(stage.graph, Trail(), id="a")
                await stage.until(starts="oa")
                stage.crash("a")
                with anyio.fail_after(PATIENCE):
                    await anyio.sleep_forever()

        assert caught.value.path == "outer"
        assert stage.log == ["a crashes", "o stops"]


async def test_one_for_all_restarts_the_supervisors_inside_too(store_url: str, stage: Stage) -> None:
    """A supervisor is a member of the one around it, in the order of its start."""
    async with Runtime(store_url, recover="never") as rt:
        async with rt.supervise("outer", strategy="one_for_all", backoff=0.0) as outer:
            await outer.spawn(stage.graph, Trail(), id="a")
            async with outer.supervise("inner") as inner:
                await inner.spawn(stage.graph, Trail(), id="i")
                await outer.spawn(stage.graph, Trail(), id="z")
                await stage.until(starts="aiz")

                stage.crash("a")

                await stage.until("a crashes", "z stops", "i stops", starts="aiz")
                assert await claimed_in_order(rt, "aiz")
                stage.finish("a", "i", "z")


async def test_a_temporary_child_that_crashes_has_failed(store_url: str, stage: Stage) -> None:
    """It is not started again, and its siblings have nothing to do with it."""
    async with Runtime(store_url, recover="never") as rt:
        async with rt.supervise("group", strategy="one_for_all", max_restarts=0) as group:
            await group.spawn(stage.graph, Trail(), id="a")
            run = await group.spawn(stage.graph, Trail(), id="b", restart="temporary")
            await stage.until(starts="ab")

            stage.crash("b")

            with pytest.raises(RunFailed):
                await run.result()
            assert stage.log == ["b crashes"]
            stage.finish("a")


async def test_an_error_that_can_not_go_away_fails_the_child_and_nobody_else(store_url: str, stage: Stage) -> None:
    """No restart could help, so none is counted."""
    async with Runtime(store_url, recover="never") as rt:
        async with rt.supervise("group", strategy="one_for_all", max_restarts=0) as group:
            await group.spawn(stage.graph, Trail(), id="a")
            run = await group.spawn(stage.graph, Trail(), id="b")
            await stage.until(starts="ab")

            stage.crash("b", ConcurrentWrite("work", "n"))

            with pytest.raises(RunFailed):
                await run.result()
            stage.finish("a")


async def test_a_permanent_child_that_finishes_is_opened_again(store_url: str, stage: Stage) -> None:
    """At its entry, with the state that it has; what was awaited got its result."""
    async with Runtime(store_url, recover="never") as rt:
        async with rt.supervise("group", restart="permanent", backoff=0.0) as group:
            run = await group.spawn(stage.graph, Trail(), id="a")
            await stage.until(starts="a")

            stage.finish("a")

            assert (await run.result()).n == 1
            await stage.until(starts="a")
            assert (await run.state()).n == 2
            stage.crash("a")
            await stage.until("a crashes", starts="a")
            assert (await run.state()).n == 2

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(finish_when_left, stage, group)
                await group.finish(park=False)
            assert await run.status() == "finished"


async def finish_when_left(stage: Stage, group: Supervisor) -> None:
    """Let a child finish once its supervisor is being left: then it is not opened again, permanent or not."""
    await until(lambda: group.leaving)
    stage.finish("a")


async def test_a_permanent_child_that_is_cancelled_stays_cancelled(store_url: str, stage: Stage) -> None:
    """Somebody decided that it ends: no crash, and counted by nobody."""
    async with Runtime(store_url, recover="never") as rt:
        async with rt.supervise("group", restart="permanent", max_restarts=0) as group:
            run = await group.spawn(stage.graph, Trail(), id="a")
            await stage.until(starts="a")

            await run.cancel()

            assert [child.run_id for child in group.children()] == []
        assert await run.status() == "cancelled"


async def test_a_permanent_child_that_fails_for_good_is_opened_where_it_failed(store_url: str, stage: Stage) -> None:
    """That is a restart like any other, and counted."""
    async with Runtime(store_url, recover="never") as rt:
        with pytest.raises(RestartIntensity):  # noqa: PT012 - where it is raised is what is tested
            async with rt.supervise("group", max_restarts=1, backoff=0.0) as group:
                await group.spawn(stage.graph, Trail(), id="a", restart="permanent")
                await stage.until(starts="a")
                stage.crash("a", ConcurrentWrite("work", "n"))
                await stage.until("a crashes", starts="a")
                stage.crash("a", ConcurrentWrite("work", "n"))
                with anyio.fail_after(PATIENCE):
                    await anyio.sleep_forever()

        assert (await rt.get("a").state()).trace == ["begin"]  # the entry did not run again


async def test_leaving_by_an_exception_stops_the_last_first_and_records_nothing(store_url: str, stage: Stage) -> None:
    """What ran is cancelled unrecorded; the runs are let go of as they are, and this process leaves them alone."""
    async with Runtime(store_url, scan_every=0.01) as rt:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving by an exception is what is tested
            async with rt.supervise("group") as group:
                for name in "abc":
                    await group.spawn(stage.graph, Trail(), id=name)
                await stage.until(starts="abc")
                raise ZeroDivisionError

        assert stage.log == ["c stops", "b stops", "a stops"]
        for name in "abc":
            header = (await rt.tip(name)).header
            assert (header.kind, header.status) == ("release", "running")

        stage.log.clear()
        await rt.resume(stage.graph, "b")  # whoever wants one back says so
        await stage.until(starts="b")
        stage.finish("b")


async def test_leaving_normally_waits_for_the_children(store_url: str, stage: Stage) -> None:
    """As leaving the runtime does; a run of the root is none of its business."""
    async with Runtime(store_url, recover="never") as rt:
        other = await rt.spawn(stage.graph, Trail(), id="o")
        async with rt.supervise("group") as group:
            run = await group.spawn(stage.graph, Trail(), id="a")
            await stage.until(starts="oa")
            stage.finish("a")

        assert await run.status() == "finished"
        assert await other.status() == "running"
        stage.finish("o")


async def test_a_recovered_run_joins_the_supervisor_of_its_name(store_url: str, stage: Stage) -> None:
    """Its path and its restart type are in its files; they outlive a process that does not have that supervisor."""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving by an exception is what is tested
        async with Runtime(store_url, recover="never") as rt, rt.supervise("outer") as outer:
            async with outer.supervise("inner") as inner:
                await inner.spawn(stage.graph, Trail(), id="a", restart="temporary")
                await stage.until(starts="a")
                raise ZeroDivisionError
    stage.log.clear()

    async with Runtime(store_url, recover="never", graphs=[stage.graph], drain="park") as rt:
        async with rt.supervise("outer") as outer, outer.supervise("inner") as inner:
            (run,) = await rt.recover()
            await stage.until(starts="a")
            assert [(child.run_id, child.restart) for child in inner.children()] == [("a", "temporary")]

            stage.crash("a")

            with pytest.raises(RunFailed):
                await run.result()


async def test_a_recovered_run_whose_supervisor_is_not_there_is_the_roots_with_a_warning(
    store_url: str, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """It joins its own as soon as that is entered."""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving by an exception is what is tested
        async with Runtime(store_url, recover="never") as rt, rt.supervise("group") as group:
            await group.spawn(stage.graph, Trail(), id="a")
            await stage.until(starts="a")
            raise ZeroDivisionError
    stage.log.clear()

    async with Runtime(store_url, recover="never", graphs=[stage.graph], restarts=RestartPolicy(backoff=0.0)) as rt:
        with caplog.at_level(logging.WARNING, "actorflow.supervisor"):
            await rt.recover()
        assert "run 'a' was under supervisor 'group'" in caplog.text
        await stage.until(starts="a")

        async with rt.supervise("group", max_restarts=0) as group:
            assert [child.run_id for child in group.children()] == ["a"]
            stage.finish("a")


async def test_a_run_can_be_moved_under_a_supervisor_while_it_lives(store_url: str, stage: Stage) -> None:
    """`resume` through another one is enough; the next claim says so in its files."""
    async with Runtime(store_url, recover="never") as rt:
        await rt.spawn(stage.graph, Trail(), id="a")
        await stage.until(starts="a")
        async with rt.supervise("group", backoff=0.0) as group:
            await group.resume(stage.graph, "a")
            assert [child.run_id for child in group.children()] == ["a"]

            stage.crash("a")

            await stage.until("a crashes", starts="a")
            assert (await rt.load("a"))[1].supervisor == "group"
            stage.finish("a")


async def test_a_name_is_entered_once(store_url: str, stage: Stage) -> None:
    """In its place of the tree; after it was left it can be entered again."""
    async with Runtime(store_url, recover="never") as rt:
        async with rt.supervise("a") as outer, outer.supervise("a"):
            with pytest.raises(SupervisorExists, match="'a'"):
                async with rt.supervise("a"):
                    pass
            with pytest.raises(SupervisorExists, match="'a/a'"):
                async with outer.supervise("a"):
                    pass
        async with rt.supervise("a"):
            pass
        with pytest.raises(SupervisorClosed):
            await outer.run(stage.graph, Trail())
        with pytest.raises(SupervisorClosed):
            outer.supervise("b")


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("", {}, "not empty"),
        ("a/b", {}, "no '/'"),
        ("a", {"strategy": "all"}, "one_for_all"),
        ("a", {"restart": "always"}, "permanent"),
        ("a", {"max_restarts": -1}, "max_restarts=-1"),
        ("a", {"period": float("nan")}, "period=nan"),
    ],
)
async def test_what_can_not_be_a_supervisor_is_refused(
    store_url: str, name: str, options: dict[str, str], complaint: str
) -> None:
    """At once, and saying what there is."""
    async with Runtime(store_url, recover="never") as rt:
        with pytest.raises(ValueError, match=complaint):
            async with rt.supervise(name, **options):  # type: ignore[arg-type]
                pass


async def test_the_result_of_a_child(store_url: str) -> None:
    """`Supervisor.run` is `Runtime.run` under that supervisor."""
    stage = Graph("quick", Trail)

    @stage.node
    async def only(state: Trail) -> Update:
        return {"n": 7}

    async with Runtime(store_url, recover="never") as rt, rt.supervise("group") as group:
        assert (await group.run(stage, Trail(), id="x")).n == 7
        assert (await rt.load("x"))[1].supervisor == "group"
        assert list(group.children()) == []


async def test_a_permanent_actor_that_closes_is_opened_again(store_url: str) -> None:
    """With the state that it has, and under its id: who sends to it does not notice."""
    async with Runtime(store_url, recover="never") as rt:
        async with rt.supervise("group", restart="permanent", backoff=0.0) as group:
            account = await group.spawn(banking(), id="account", context=Gate())
            assert await account.ask(Deposit(amount=5), type=int) == 5

            await account.send(Close())

            await until(lambda: group.window.total == 1)
            with anyio.fail_after(PATIENCE):
                while await account.status() == "finished":
                    await anyio.lowlevel.checkpoint()
            assert await account.ask(Deposit(amount=2), type=int) == 7
            await account.cancel()


async def test_restarts_are_counted_anew_in_a_new_process(store_url: str, stage: Stage) -> None:
    """What crashed before the process ended is not stored: it may have been that process's trouble."""
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving by an exception is what is tested
            async with Runtime(store_url, recover="never", graphs=[stage.graph]) as rt:
                async with rt.supervise("group", max_restarts=1, backoff=0.0) as group:
                    stage.log.clear()
                    await (group.resume(stage.graph, "a") if await known(rt) else group.spawn(stage.graph, id="a"))
                    await stage.until(starts="a")
                    stage.crash("a")
                    await stage.until("a crashes", starts="a")
                    raise ZeroDivisionError

    async with Runtime(store_url, recover="never") as rt:
        assert (await rt.tip("a")).header.crashes == 0  # nor was any of it the death of a process


async def known(rt: Runtime) -> bool:
    """Whether there is a run by now."""
    return bool(await rt.runs())


async def test_who_crashes_while_the_group_gives_up_is_let_go_of_as_the_others(store_url: str, stage: Stage) -> None:
    """Only the crash that was one too many fails its run."""
    async with Runtime(store_url, recover="never") as rt:
        with pytest.raises(RestartIntensity) as caught:  # noqa: PT012 - where it is raised is what is tested
            async with rt.supervise("group", max_restarts=0) as group:
                for name in "ab":
                    await group.spawn(stage.graph, Trail(), id=name)
                await stage.until(starts="ab")
                stage.crash("a")
                stage.crash("b")
                with anyio.fail_after(PATIENCE):
                    await anyio.sleep_forever()

        statuses = {name: (await rt.tip(name)).header.status for name in "ab"}
        assert statuses.pop(caught.value.run_id) == "failed"
        assert list(statuses.values()) == ["running"]


@pytest.mark.parametrize("backoff", [0.0, 3600.0])
async def test_a_reload_does_not_wait_for_a_group_that_restarts(store_url: str, stage: Stage, backoff: float) -> None:
    """Nor the group for it: who waits for its turn stands still, and goes on with the new code."""
    newer = Stage()
    async with Runtime(store_url, recover="never") as rt:
        async with rt.supervise("group", strategy="one_for_all", backoff=backoff, max_backoff=backoff) as group:
            for name in "abc":
                await group.spawn(stage.graph, Trail(), id=name)
            await stage.until(starts="abc")
            stage.crash("b")
            await until(lambda: group.window.total == 1)

            with anyio.fail_after(PATIENCE):
                await rt.reload(newer.graph, drain=0.0)

            await until(lambda: {f"{name} starts" for name in "abc"} <= set(newer.log))
            newer.finish(*"abc")
