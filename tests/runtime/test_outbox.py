"""The outbox: what a run sends is taken once by whom it is for, in order, whoever is killed when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorflow import Context, Down, Graph, Runtime, State, Update
from actorflow.errors import AskFailed, BadMessage, NoSuchRun, WaitInMiddleware
from actorflow.runtime import claiming, making
from actorflow.store.memory import MemoryBackend
from tests.runtime import correspondents
from tests.runtime.correspondents import Pay, Till, Total, ended, killed_everywhere, runtime, till, until

if TYPE_CHECKING:
    from actorflow.engine.run import RunState
    from actorflow.graph.middleware import Call
    from actorflow.store.frames import Header
    from actorflow.store.store import Store


class Sale(State, version=1):
    """What a sender works on."""

    total: int = -1
    error: str = ""


def sender(target: str = "till", *, ask: bool = True) -> Graph[Sale]:
    """Sends twice, and then asks."""
    graph = Graph("sender", Sale)

    @graph.node
    async def first(state: Sale, ctx: Context) -> None:
        await ctx.send(target, Pay(amount=1))

    @graph.node(after=first)
    async def second(state: Sale, ctx: Context) -> None:
        await ctx.send(target, Pay(amount=2))
        await ctx.send(target, Pay(amount=4))

    @graph.node(after=second)
    async def third(state: Sale, ctx: Context) -> Update:
        return {"total": await ctx.ask(target, Total(), type=int)} if ask else {}

    return graph


async def test_what_a_run_sends_is_taken_in_order_and_once(store_url: str) -> None:
    """A question comes after the messages that were sent before it."""
    async with Runtime(store_url) as rt:
        box = await rt.spawn(till(), id="till")
        sale = await (await rt.spawn(sender())).result()

        assert sale.total == 7
        assert (await box.state()) == Till(sum=7, entries=[1, 2, 4])
        await box.cancel()


@pytest.mark.parametrize("where", ["folder", "bucket"])
async def test_runs_of_two_processes_speak_through_the_inbox(store_url: str, where: str) -> None:
    """Each owns one of them, and neither knows the graph of the other."""
    store: Any = store_url if where == "folder" else MemoryBackend()
    async with Runtime(store, linger=60) as there, Runtime(store) as here:
        box = await there.spawn(till(), id="till")
        run = await here.spawn(sender(), id="sale")
        assert await ended(here, "sale") == "finished"
        assert (await run.state()).total == 7
        assert (await box.state()).entries == [1, 2, 4]
        await box.cancel()


async def test_who_asks_a_run_of_another_process_is_told_if_that_ends_first(store_url: str) -> None:
    """Its question waits in the inbox of a run that never comes to it."""
    graph = Graph("asker", Sale)

    @graph.node
    async def ask(state: Sale, ctx: Context) -> Update:
        try:
            await ctx.ask("busy", Total())
        except AskFailed as error:
            return {"error": error.reason}
        return {}

    store, go_on = MemoryBackend(), anyio.Event()
    busy = Graph("busy", Till, messages=[Total])

    @busy.node
    async def work(state: Till) -> None:
        await go_on.wait()

    async with Runtime(store) as there, Runtime(store) as here:
        await there.spawn(busy, id="busy")
        run = await here.spawn(graph, id="asker")
        await until(lambda: _asks(here))
        go_on.set()
        assert await ended(here, "asker") == "finished"
        assert "RunEnded" in (await run.state()).error


async def _asks(rt: Runtime) -> bool:
    _, run = await rt.load("asker")
    return any(one.asks for one in run.open.values())


async def test_nothing_is_sent_by_an_attempt_that_fails(store_url: str) -> None:
    """It goes out with the result, of which there is only one."""
    graph, calls = Graph("sender", Sale), list[int]()

    @graph.node
    async def pay(state: Sale, ctx: Context) -> None:
        await ctx.send("till", Pay(amount=1))
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError

    async with runtime(store_url, []) as rt:
        box = await rt.spawn(till(), id="till")
        await rt.run(graph)
        await until(lambda: _has(rt, 1))
        assert len(calls) == 3
        assert (await box.state()).entries == [1]
        await box.cancel()


async def test_a_run_that_crashes_while_it_sends_comes_to_rest(store_url: str) -> None:
    """What its actor before had delivered, and not recorded, is recorded by the next one."""
    graph, calls = Graph("sender", Sale), list[int]()

    @graph.node
    async def pay(state: Sale, ctx: Context) -> None:
        await ctx.send("till", Pay(amount=1))
        await ctx.send("nobody", Pay(amount=2))

    @graph.node(after=pay)
    async def stumble(state: Sale, ctx: Context) -> None:
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError
        await ctx.interrupt("Enough?")

    async with runtime(store_url, []) as rt:
        box = await rt.spawn(till(), id="till")
        run = await rt.spawn(graph, id="sale")
        await until(lambda: _is_waiting(rt, "sale"))
        _, state = await rt.load("sale")
        assert state.mail.outbox == []
        assert [dead.letter.values for dead in state.mail.dead] == [{"amount": 2}]
        assert (await box.state()).entries == [1]
        await run.cancel()
        await box.cancel()


async def _has(rt: Runtime, sum_: int) -> bool:
    return bool((await rt.get("till").state()).sum == sum_)


async def test_sender_and_receiver_are_killed_at_every_write() -> None:
    """Both live in one process, whose death is at each write to the store: the sum is exact, the order is kept."""

    async def scene(rt: Runtime, graphs: list[Graph[Any]]) -> None:
        await rt.spawn(graphs[0], id="till", on_conflict="attach")
        await rt.spawn(graphs[1], id="sale", on_conflict="attach")
        assert await ended(rt, "sale") == "finished"
        assert (await rt.get("sale").state()).total == 7
        assert (await rt.get("till").state()).entries == [1, 2, 4]

    assert await killed_everywhere(lambda: [till(), sender()], scene, every=2) > 30


async def _pays_and_ends(rt: Runtime, graphs: list[Graph[Any]]) -> None:
    """The sender is over before what it sent last is delivered."""
    await rt.spawn(graphs[0], id="till", on_conflict="attach")
    await rt.spawn(graphs[1], id="sale", on_conflict="attach")
    assert await ended(rt, "sale") == "finished"
    await until(lambda: _has(rt, 7))
    assert (await rt.get("till").state()).entries == [1, 2, 4]


async def test_what_a_run_sends_last_goes_out_although_it_is_over() -> None:
    """A process that dies between the end of a run and the delivery leaves a marker, by which the next one finds it."""
    assert await killed_everywhere(lambda: [till(), sender(ask=False)], _pays_and_ends, kinds=("before",)) > 12


async def test_planted_an_end_that_forgets_what_is_still_to_be_delivered_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted: the marker goes with the end of the run, whatever is in its outbox."""

    def end(store: Store, run: RunState, header: Header) -> None:
        claiming.end_markers(store, run, header)
        store.markers.drop_active(run.run_id, run.opening)

    monkeypatch.setattr(making, "end_markers", end)
    monkeypatch.setattr(correspondents, "WITHIN", 0.5)

    with pytest.raises(TimeoutError):
        await killed_everywhere(lambda: [till(), sender(ask=False)], _pays_and_ends, kinds=("before",))


async def test_a_message_to_nobody_is_a_dead_letter_of_its_sender(store_url: str) -> None:
    """And who asks is told."""
    graph = Graph("sender", Sale)

    @graph.node
    async def first(state: Sale, ctx: Context) -> None:
        await ctx.send("nobody", Pay(amount=1))

    @graph.node(after=first)
    async def second(state: Sale, ctx: Context) -> Update:
        try:
            await ctx.ask("nobody", Total())
        except AskFailed as error:
            return {"error": error.reason}
        return {}

    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph, id="sale")
        assert "NoSuchRun" in (await run.result()).error
        _, state = await rt.load("sale")
        (dead, asked) = state.mail.dead
        assert (dead.reason, dead.letter.values, asked.letter.values) == ("undeliverable", {"amount": 1}, {})


async def test_who_was_not_there_yet_takes_what_comes_when_it_is(store_url: str) -> None:
    """A message that could not be delivered leaves no gap in front of the next one."""
    graph = Graph("sender", Sale)

    @graph.node
    async def first(state: Sale, ctx: Context) -> None:
        await ctx.send("till", Pay(amount=1))

    @graph.node(after=first)
    async def second(state: Sale, ctx: Context) -> None:
        await ctx.interrupt("Is it there?")
        await ctx.send("till", Pay(amount=2))

    async with runtime(store_url, []) as rt:
        run = await rt.spawn(graph, id="sale")
        await until(lambda: _is_waiting(rt, "sale"))
        box = await rt.spawn(till(), id="till")
        await run.answer(None)
        await run.result()
        await until(lambda: _has(rt, 2))
        assert (await box.state()).entries == [2]
        await box.cancel()


async def _is_waiting(rt: Runtime, run_id: str) -> bool:
    return await rt.get(run_id).status() == "waiting"


async def test_who_asks_a_run_that_ends_is_told(store_url: str) -> None:
    """Also if it had the message, and did not come to it."""
    graph = Graph("quitter", Till, lifetime="actor")

    @graph.on(Total)
    async def total(state: Till, msg: Total, ctx: Context) -> Update:
        raise ValueError("out of order")

    asker = Graph("asker", Sale)

    @asker.node
    async def ask(state: Sale, ctx: Context) -> Update:
        try:
            await ctx.ask("till", Total())
        except AskFailed as error:
            return {"error": error.reason}
        return {}

    async with Runtime(store_url) as rt:
        box = await rt.spawn(graph, id="till")
        assert (await rt.run(asker)).error == "ValueError: out of order"
        await box.cancel()
        assert "RunEnded" in (await rt.run(asker)).error


async def test_an_answer_that_does_not_come_in_time_is_a_timeout(store_url: str) -> None:
    """And stays one; what was asked for is not asked again."""
    silent = Graph("silent", Till, messages=[Total], lifetime="actor")

    @silent.node
    async def begin(state: Till) -> None:
        return None

    asker = Graph("asker", Sale)

    @asker.node
    async def ask(state: Sale, ctx: Context) -> Update:
        try:
            await ctx.ask("till", Total(), timeout=0.01)
        except TimeoutError as error:
            return {"error": str(error)}
        return {}

    async with Runtime(store_url) as rt:
        box = await rt.spawn(silent, id="till")
        assert (await rt.run(asker)).error == "run 'till' did not answer in time"
        await until(lambda: _has_letter(rt))  # it is carried beside
        await box.cancel()


async def _has_letter(rt: Runtime) -> bool:
    _, state = await rt.load("till")
    return len(state.mail.queue) == 1


async def test_only_the_node_itself_sends(store_url: str) -> None:
    """Middleware calls it again, and would send again."""

    async def around(state: Any, ctx: Context, call: Call) -> Any:
        await ctx.send("till", Pay(amount=1))
        return await call()

    graph = Graph("sender", Sale)

    @graph.node(middleware=[around])
    async def node(state: Sale) -> None:
        return None

    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph)
        with pytest.raises(Exception, match="middleware") as failed:
            await run.result()
        assert isinstance(failed.value.__cause__, WaitInMiddleware)


async def test_what_is_no_message_is_refused_where_it_is_sent(store_url: str) -> None:
    """Naming what is wrong with it."""
    graph, errors = Graph("sender", Sale), list[Exception]()

    class Sum(State):
        """No message."""

    @graph.node
    async def node(state: Sale, ctx: Context) -> None:
        for message in (Sum(), Pay(amount="1")):  # type: ignore[arg-type]
            try:
                await ctx.send("till", message)  # type: ignore[arg-type]
            except BadMessage as error:
                errors.append(error)

    async with Runtime(store_url) as rt:
        await rt.run(graph)
    assert [error.type_name for error in errors if isinstance(error, BadMessage)] == ["Sum", "Pay"]


async def test_planted_a_lane_that_forgets_its_numbers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a receiver that takes whatever comes; a kill between delivery and its record pays twice."""
    from actorflow.engine import turns

    monkeypatch.setattr(turns, "follows", lambda *_: True)

    async def scene(rt: Runtime, graphs: list[Graph[Any]]) -> None:
        await rt.spawn(graphs[0], id="till", on_conflict="attach")
        await rt.spawn(graphs[1], id="sale", on_conflict="attach")
        assert await ended(rt, "sale") == "finished"
        assert (await rt.get("till").state()).entries == [1, 2, 4]

    with pytest.raises(AssertionError):
        await killed_everywhere(lambda: [till(), sender()], scene, kinds=("before",))


async def test_what_bounced_is_set_aside_or_taken_whoever_is_killed_when() -> None:
    """Its receiver goes on after the death of its sender: it is a dead letter, or it was taken, and never neither.

    Seen to fail with a number that is filled before its sender has recorded what was under it.
    """
    graph = Graph("sender", Sale)

    @graph.node
    async def first(state: Sale, ctx: Context) -> None:
        await ctx.send("till", Pay(amount=1))

    @graph.node(after=first)
    async def second(state: Sale) -> None:
        await anyio.sleep(0.02)  # so that what became of the message is told while the sender lives

    async def scene(rt: Runtime, graphs: list[Graph[Any]]) -> None:
        box = await rt.spawn(graphs[0], id="till", on_conflict="attach")
        try:
            await rt.get("sale").status()
        except NoSuchRun:
            await box.cancel()
        else:
            await rt.resume(graphs[0], "till")
        await rt.spawn(graphs[1], id="sale", on_conflict="attach")
        assert await ended(rt, "sale") == "finished"

        async def is_settled() -> bool:
            _, sale = await rt.load("sale")
            return len(sale.mail.dead) + len((await box.state()).entries) + len(await box.dead_letters()) == 1

        await until(is_settled)

    assert await killed_everywhere(lambda: [till(), graph], scene) > 10


async def test_what_a_run_sent_last_to_nobody_waits_for_whoever_comes(store_url: str) -> None:
    """Its sender is over, and can't be told."""
    async with Runtime(store_url) as rt:
        await rt.run(sender("late", ask=False), id="sale")
    async with Runtime(store_url) as rt:
        box = await rt.spawn(till(), id="late")

        async def is_there() -> bool:
            _, sale = await rt.load("sale")
            dead = [one.letter.values["amount"] for one in sale.mail.dead]
            return sorted(dead + (await box.state()).entries) == [1, 2, 4]

        await until(is_there)
        await box.cancel()


async def test_the_next_life_of_a_sender_is_not_taken_for_the_one_before(store_url: str) -> None:
    """While something of the deleted one can't be delivered yet: numbers begin anew, and all of them go out."""
    graph = Graph("payer", Till, lifetime="actor")

    @graph.on(Pay)
    async def pay(state: Till, msg: Pay, ctx: Context) -> None:
        await ctx.send("till", msg)
        if msg.amount == 1:
            form = ("Unknown", 1, ())
            ctx.begin_child("child", "a graph that nobody has", (form, {}), monitor=True)  # type: ignore[attr-defined]
        if msg.amount == 2:
            ctx.cancel_child("child")  # or its parent could not be deleted

    @graph.on(Down)
    async def down(state: Till, msg: Down) -> None:
        pass

    async with Runtime(store_url) as rt:
        box = await rt.spawn(till(), id="till")
        run = await rt.spawn(graph, id="payer")
        await run.send(Pay(amount=1))
        await until(lambda: _has(rt, 1))
        await run.send(Pay(amount=2))
        await until(lambda: _has(rt, 3))
        await run.delete()

        run = await rt.spawn(graph, id="payer", reuse=True)
        await run.send(Pay(amount=4))
        await until(lambda: _has(rt, 7))
        await run.cancel()
        await box.cancel()
