"""The mailbox of a run: what is sent is handled once and in order, what is asked is answered when that is durable."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorflow import END, Context, End, Graph, Mailbox, Message, Reply, Retry, Run, Runtime, Update
from actorflow.engine import turns
from actorflow.errors import (
    AskFailed,
    BadCallerId,
    BadMessage,
    IdempotencyConflict,
    MailboxFull,
    MessageRejected,
    NoSuchRun,
    RunDeleted,
    RunEnded,
    RunExists,
    RunFailed,
    StoreDenied,
    WindowFull,
)
from actorflow.testing import assert_resumes_equal, explore
from tests.runtime.asking import asked
from tests.runtime.mailing import Account, Break, Close, Deposit, Gate, Hold, Total, banking, working

if TYPE_CHECKING:
    from pathlib import Path

    from actorflow.engine.run import RunState

# -- sending and asking -----------------------------------------------------------------


async def test_what_is_sent_is_handled_in_the_order_of_sending() -> None:
    """Each message sees the state with all that came before it."""
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(), id="ada")

        for amount in (1, 20, 300):
            await run.send(Deposit(amount=amount))

        assert await run.ask(Total(), type=int) == 321
        assert (await run.state()).trace == ["+1", "+20", "+300"]


async def test_the_id_of_an_actor_that_lives_here_is_taken() -> None:
    """Also of one without nodes, of which a spawn has nothing to begin: its input is not dropped."""
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(), Account(balance=1), id="ada")

        with pytest.raises(RunExists):
            await rt.spawn(banking(), Account(balance=2), id="ada")

        assert await run.ask(Total()) == 1


async def test_a_sent_message_is_durable_when_send_is_back(store_url: str) -> None:
    """The process that takes the store over finds it, although nobody has handled it."""
    gate = Gate()
    async with anyio.create_task_group() as tasks, Runtime(store_url) as rt:
        run = await rt.spawn(banking(), id="ada", context=gate)
        await run.send(Hold())
        await gate.inside.wait()
        await run.send(Deposit(amount=7))
        tasks.cancel_scope.cancel()

    async with Runtime(store_url, drain="park") as rt:
        gate.open.set()
        run = await rt.resume(banking(), "ada", context=gate)
        assert await run.ask(Total()) == 7


async def test_a_reply_is_not_told_before_the_commit_that_holds_it() -> None:
    """Whoever has the reply finds what led to it in the store."""
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(), id="ada")

        balance = await run.ask(Deposit(amount=5), type=int)

        _, stored = await rt.load("ada")
        assert stored.root.values["balance"] == balance == 5


async def test_who_asks_and_is_not_answered_gets_none() -> None:
    """A handler that returns an update, and no Reply, has nothing to say."""
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(working(), id="x", context=Gate())

        assert await run.ask(Deposit(amount=5)) is None
        await run.cancel()


async def test_a_reply_of_another_type_than_was_asked_for_is_refused() -> None:
    """What was done is done: only the asker is told that it can't be what they want."""
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(), id="ada")

        with pytest.raises(AskFailed, match=r"not what was asked for.*Expected `str`"):
            await run.ask(Deposit(amount=5), type=str)

        assert await run.ask(Total()) == 5


async def test_a_message_wakes_a_run_that_nobody_holds(store_url: str) -> None:
    """An actor that only waits is in the store and in no process; whoever sends takes it up."""
    async with Runtime(store_url, drain="park") as rt:
        await rt.spawn(banking(), id="ada")

    async with Runtime(store_url, drain="park", graphs=[banking()], recover="never") as rt:
        await rt.get("ada").send(Deposit(amount=5))
        assert await rt.get("ada").ask(Total()) == 5


# -- ids ---------------------------------------------------------------------------------


async def test_an_id_counts_once_and_is_answered_the_same_for_ever(store_url: str) -> None:
    """Here, in the next process, and when the run is over."""
    async with Runtime(store_url, drain="park") as rt:
        run = await rt.spawn(banking(), id="ada")
        first = await run.ask(Deposit(amount=5), id="payday")
        await run.send(Deposit(amount=5), id="payday")
        await run.ask(Deposit(amount=1))

    async with Runtime(store_url, graphs=[banking()]) as rt:
        run = rt.get("ada")
        again = await run.ask(Deposit(amount=5), id="payday")
        await run.ask(Close(), id="bye")
        assert (await run.result()).balance == 6
        assert first == again == await run.ask(Deposit(amount=5), id="payday") == 5
        assert await run.ask(Close(), id="bye") is None


async def test_two_who_ask_under_one_id_get_one_reply() -> None:
    """Whoever comes while it is being handled waits for the same reply."""
    gate, replies = Gate(), list[int]()
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(), id="ada", context=gate)
        await run.send(Hold())
        await gate.inside.wait()

        async def ask() -> None:
            replies.append(await run.ask(Deposit(amount=5), id="payday"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            gate.open.set()

        assert replies == [5, 5]
        assert await run.ask(Total()) == 5


async def test_an_id_with_another_content_is_a_conflict() -> None:
    """Nothing is changed, and the reply stays what it was."""
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(), id="ada")
        await run.ask(Deposit(amount=5), id="payday")

        with pytest.raises(IdempotencyConflict):
            await run.send(Deposit(amount=6), id="payday")
        with pytest.raises(IdempotencyConflict):
            await run.ask(Total(), id="payday")

        assert await run.ask(Deposit(amount=5), id="payday") == 5


async def test_a_full_window_refuses_ids_and_no_others() -> None:
    """Rather than to forget one too early."""
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(mailbox=Mailbox(ids=2, hours=24)), id="ada")
        await run.ask(Deposit(amount=1), id="a")
        await run.ask(Deposit(amount=1), id="b")

        with pytest.raises(WindowFull) as full:
            await run.send(Deposit(amount=1), id="c")

        assert full.value.wait > 23 * 3600
        await run.send(Deposit(amount=1), id="a")  # known: it is the same
        await run.send(Deposit(amount=1))
        assert await run.ask(Total()) == 3


async def test_a_window_forgets_the_oldest_when_it_may() -> None:
    """With hours=0 only the number counts: what was forgotten is another message."""
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(mailbox=Mailbox(ids=2, hours=0)), id="ada")
        for id_ in ("a", "b", "c", "a"):
            await run.ask(Deposit(amount=1), id=id_)

        assert await run.ask(Total()) == 4


# -- what is refused ----------------------------------------------------------------------


class Strange(Message, version=1):
    """Nobody handles it."""


async def test_what_is_no_message_of_the_run_is_refused() -> None:
    """Before anything is recorded, and naming what there is."""
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(), id="ada")
        wrong: Any = {"amount": 1}
        unfit: Any = "much"

        with pytest.raises(BadMessage, match=r"Strange: it takes Break, Close, Deposit, Hold, Total"):
            await run.send(Strange())
        with pytest.raises(BadMessage, match="declare class"):
            await run.send(wrong)
        with pytest.raises(BadMessage, match="is the type"):
            await run.send(Deposit)  # type: ignore[arg-type]
        with pytest.raises(BadMessage, match=r"field 'amount'.*Expected `int`"):
            await run.send(Deposit(amount=unfit))
        with pytest.raises(BadCallerId):
            await run.send(Deposit(amount=1), id="")
        with pytest.raises(TypeError, match="by"):
            await run.send(Deposit(amount=1), by=7)  # type: ignore[arg-type]

        assert [one async for one in run.history(kind="commit")] == []


async def test_a_message_that_validate_refuses_leaves_no_trace() -> None:
    """It sees the state as it is now; the sender is told what it raised."""
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(), Account(balance=999_999), id="ada")

        with pytest.raises(MessageRejected, match="-1 is no deposit") as rejected:
            await run.send(Deposit(amount=-1), id="a")
        with pytest.raises(MessageRejected, match="too much"):
            await run.ask(Deposit(amount=2))

        assert isinstance(rejected.value.__cause__, ValueError)
        assert [one async for one in run.history(kind="commit")] == []
        assert await run.dead_letters() == []
        assert await run.ask(Deposit(amount=1), id="a") == 1_000_000  # the id is not used up


async def test_who_is_not_there_takes_no_messages() -> None:
    """An unknown id, one that was deleted, a run that is over; and a runtime that only looks sends nothing."""
    async with Runtime("memory://") as rt:
        await (await rt.spawn(banking(), id="over")).ask(Close())
        await rt.get("over").wait()
        await (await rt.spawn(banking(), id="gone")).delete()

        with pytest.raises(NoSuchRun):
            await rt.get("nobody").send(Deposit(amount=1))
        with pytest.raises(RunDeleted):
            await rt.get("gone").send(Deposit(amount=1))
        with pytest.raises(RunEnded):
            await rt.get("over").send(Deposit(amount=1))


async def test_a_runtime_that_only_looks_sends_nothing(store_url: str) -> None:
    """Not even a file."""
    async with Runtime(store_url, drain="park") as rt:
        await rt.spawn(banking(), id="ada")

    async with Runtime(store_url, readonly=True) as rt:
        with pytest.raises(StoreDenied):
            await rt.get("ada").send(Deposit(amount=1))


# -- bounds -------------------------------------------------------------------------------


async def test_a_full_mailbox_lets_senders_wait_in_their_order() -> None:
    """Nobody is refused, nobody overtakes, and no more waits in it than may."""
    gate = Gate()
    most = list[int]()
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(mailbox=Mailbox(messages=2)), id="ada", context=gate)
        await run.send(Hold())
        await gate.inside.wait()

        async with anyio.create_task_group() as tasks:
            for number in range(1, 11):
                tasks.start_soon(partial(run.send, Deposit(amount=1, label=str(number))))
                await anyio.wait_all_tasks_blocked()
                most.append(len(await run.mailbox()))
            while most[-1] < 2:  # it is told as of the newest commit, which may be slow
                most.append(len(await run.mailbox()))
            gate.open.set()

        assert await run.ask(Total()) == 10
        assert max(most) == 2
        assert (await run.state()).trace == ["held", *map(str, range(1, 11))]


async def test_a_full_mailbox_refuses_who_does_not_wait() -> None:
    """At once, or when the time is over; what was refused was not kept."""
    gate = Gate()
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(mailbox=Mailbox(messages=1)), id="ada", context=gate)
        await run.send(Hold())
        await gate.inside.wait()
        await run.send(Deposit(amount=1))

        with pytest.raises(MailboxFull):
            await run.send(Deposit(amount=1), timeout=0)
        with pytest.raises(MailboxFull):
            await run.send(Deposit(amount=1), timeout=0.01)

        gate.open.set()
        assert await run.ask(Total()) == 1


async def test_a_mailbox_is_bounded_by_bytes_too() -> None:
    """One message always fits: it would wait for ever otherwise."""
    gate = Gate()
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(mailbox=Mailbox(bytes=1_000)), id="ada", context=gate)
        await run.send(Hold())
        await gate.inside.wait()

        await run.send(Deposit(amount=1, label="x" * 5_000))
        with pytest.raises(MailboxFull):
            await run.send(Deposit(amount=1), timeout=0)

        gate.open.set()
        assert await run.ask(Total()) == 1


async def test_a_full_paused_run_takes_what_waits_when_it_goes_on() -> None:
    """It lies down meanwhile; who waits does not keep it in memory, nor claim it again and again."""
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(mailbox=Mailbox(messages=1)), id="ada")
        await run.pause()
        await run.send(Deposit(amount=1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.send, Deposit(amount=2))
            with anyio.move_on_after(0.1):
                await run.wait()
                await anyio.sleep_forever()
            claims = [one async for one in run.history(kind="claim")]
            await run.unpause()

        assert await run.ask(Total()) == 3
        assert len(claims) <= 4


# -- how it goes on beside -------------------------------------------------------------------


async def test_who_stops_waiting_for_a_reply_changes_nothing() -> None:
    """The same id gets the reply afterwards."""
    gate = Gate()
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(), id="ada", context=gate)
        await run.send(Hold())
        await gate.inside.wait()

        with pytest.raises(TimeoutError, match="id="):
            await run.ask(Deposit(amount=5), id="payday", timeout=0.01)

        gate.open.set()
        assert await run.ask(Deposit(amount=5), id="payday") == 5
        assert await run.ask(Total()) == 5


async def test_who_stops_waiting_for_a_reply_is_forgotten() -> None:
    """However often somebody asks a run that does not come to it."""
    gate = Gate()
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(), id="ada", context=gate)
        await run.send(Hold())
        await gate.inside.wait()

        for _ in range(5):
            with pytest.raises(TimeoutError):
                await run.ask(Deposit(amount=5), id="payday", timeout=0.02)

        life = rt.living().get("ada")
        assert life is not None
        assert life.actor.take_askers() == []
        gate.open.set()
        assert await run.ask(Deposit(amount=5), id="payday") == 5


async def test_a_paused_run_keeps_messages_and_handles_none() -> None:
    """Control overtakes: what is asked of the run itself is done at once."""
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(), id="ada")
        await run.pause()

        await run.send(Deposit(amount=1), by="Bob")
        await run.update({"balance": 100})

        (waiting,) = await run.mailbox()
        assert (waiting.type, waiting.values, waiting.by) == ("Deposit", {"amount": 1, "label": ""}, "Bob")
        assert waiting.message == Deposit(amount=1)
        assert (await run.state()).balance == 100
        await run.unpause()
        assert await run.ask(Total()) == 101


async def test_a_cancelled_run_tells_who_asked_and_keeps_what_it_did_not_come_to() -> None:
    """Cancelling does not wait for the mailbox."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(banking(), id="ada", context=gate)
        await run.send(Hold())
        await gate.inside.wait()
        await run.send(Deposit(amount=1))

        async def ask() -> None:
            with pytest.raises(AskFailed, match="cancelled"):
                await run.ask(Deposit(amount=2))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            await run.cancel()

        dead = await run.dead_letters()
        assert [(one.type, one.reason) for one in dead if one.type == "Deposit"] == [("Deposit", "ended")] * 2
        assert await run.mailbox() == []


async def test_an_actor_that_closes_leaves_the_rest_as_dead_letters() -> None:
    """END from a handler: what came after it is not handled, and who asked is told."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(banking(), id="ada", context=gate)
        await run.send(Hold())
        await gate.inside.wait()
        failed = list[AskFailed]()

        async def ask() -> None:
            try:
                await run.ask(Deposit(amount=2))
            except AskFailed as error:
                failed.append(error)

        await run.send(Deposit(amount=1))
        await run.send(Close())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            gate.open.set()

        assert (await run.result()).balance == 1
        assert len(failed) == 1
        assert [(one.message, one.reason) for one in await run.dead_letters()] == [(Deposit(amount=2), "ended")]


async def test_a_handler_that_raises_makes_a_dead_letter_and_the_run_goes_on() -> None:
    """What it was asked is answered with the error; the message can be sent once more."""
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(), id="ada")

        with pytest.raises(AskFailed, match="ValueError: twice") as failed:
            await run.ask(Break(why="twice"), id="b", by="Bob")

        assert "in fail" in failed.value.traceback
        with pytest.raises(AskFailed, match="twice"):
            await run.ask(Break(why="twice"), id="b", by="Bob")
        (dead,) = await run.dead_letters()
        assert (dead.reason, dead.error, dead.by) == ("failed", "ValueError: twice", "Bob")
        assert dead.message == Break(why="twice")
        assert await run.ask(Total()) == 0


async def test_a_failed_run_keeps_its_messages_for_resume() -> None:
    """They are no dead letters: the run may go on."""
    gate, broken = Gate(), [True]
    graph = Graph("failing", Account)

    @graph.node
    async def work(state: Account) -> Update:
        gate.inside.set()
        await gate.open.wait()
        if broken:
            raise RuntimeError("not today")
        return {"trace": "worked"}

    @graph.on(Hold)
    async def hold(state: Account, msg: Hold) -> None:
        await anyio.sleep_forever()

    @graph.on(Deposit)
    async def deposit(state: Account, msg: Deposit) -> Update:
        return {"balance": state.balance + msg.amount}

    async with Runtime("memory://", restarts=None) as rt:
        run = await rt.spawn(graph, id="x")
        await gate.inside.wait()
        await run.pause()
        await run.send(Deposit(amount=3))
        await run.unpause()
        broken.append(True)
        gate.open.set()
        with pytest.raises(RunFailed):
            await run.result()
        broken.clear()

        run = await rt.resume(graph, "x")

        assert (await run.result()).balance == 3
        assert await run.dead_letters() == []


async def test_a_handler_is_tried_again_by_its_own_policy() -> None:
    """As a node is."""
    tries = list[int]()
    graph = Graph("trying", Account, lifetime="actor")

    @graph.on(Deposit, retry=Retry(attempts=3, backoff=0.001))
    async def deposit(state: Account, msg: Deposit, ctx: Context) -> Reply:
        tries.append(ctx.attempt)
        if ctx.attempt < 3:
            raise OSError("again")
        return Reply("done", {"balance": state.balance + msg.amount})

    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(graph, id="ada")

        assert await run.ask(Deposit(amount=5)) == "done"
        assert (tries, (await run.state()).balance) == ([1, 2, 3], 5)


async def test_a_goto_from_a_handler_opens_a_node() -> None:
    """Beside what goes on already."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(working(), id="x", context=gate)
        await gate.inside.wait()

        await run.ask(Deposit(amount=100))
        gate.open.set()

        final = await run.result()
        assert "bonus" in final.trace


async def test_neither_a_turn_nor_a_node_overlooks_the_other() -> None:
    """A node that read the balance before a deposit runs again; a turn during which the node wrote does, too."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(working(), Account(balance=1), id="x", context=gate)
        await gate.inside.wait()

        await run.ask(Deposit(amount=5))
        gate.open.set()

        final = await run.result()
        assert (final.balance, final.trace) == (12, ["+5", "worked at 6"])


async def test_a_turn_that_a_node_overtook_is_handled_again() -> None:
    """It began with the balance before; its sum is right all the same."""
    work, turn = Gate(), Gate()
    graph = Graph("overtaken", Account)

    @graph.node
    async def bonus(state: Account) -> Update:
        work.inside.set()
        await work.open.wait()
        return {"balance": state.balance + 100}

    @graph.on(Deposit)
    async def deposit(state: Account, msg: Deposit) -> Update:
        turn.inside.set()
        await turn.open.wait()
        return {"balance": state.balance + msg.amount}

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        await work.inside.wait()
        await run.send(Deposit(amount=1))
        await turn.inside.wait()

        work.open.set()
        async for event in run.events("values"):
            if event.values["balance"] == 100:
                break
        turn.open.set()

        assert (await run.result()).balance == 101


async def test_a_handler_may_ask_somebody_and_the_next_message_waits() -> None:
    """One turn at a time, also if it takes days."""
    graph = Graph("approving", Account, lifetime="actor")

    @graph.on(Deposit)
    async def deposit(state: Account, msg: Deposit, ctx: Context) -> Reply:
        if msg.amount > 100 and not await ctx.interrupt("Approve?", type=bool):
            return Reply("refused")
        return Reply("done", {"balance": state.balance + msg.amount})

    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(graph, id="ada")
        await run.send(Deposit(amount=500), id="big")
        await run.send(Deposit(amount=1), id="small")
        await asked(run)
        assert [one.message for one in await run.mailbox()] == [Deposit(amount=1)]

        await run.answer(True)

        assert await run.ask(Deposit(amount=500), id="big") == "done"
        assert await run.ask(Deposit(amount=1), id="small") == "done"
        assert (await run.state()).balance == 501


async def test_a_reply_survives_the_crash_of_another_node() -> None:
    """Who asked without an id is told by the actor that comes next; the message is not handled twice."""
    gate, crashes = Gate(), [True]
    graph = Graph("crashing", Account)

    @graph.node
    async def crash(state: Account) -> None:
        await gate.inside.wait()
        if crashes:
            crashes.clear()
            raise RuntimeError("once")

    @graph.on(Deposit)
    async def deposit(state: Account, msg: Deposit) -> Reply:
        gate.inside.set()
        if crashes:
            await anyio.sleep_forever()
        return Reply("done", {"balance": state.balance + msg.amount})

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")

        assert await run.ask(Deposit(amount=5)) == "done"
        assert (await run.result()).balance == 5


# -- crashes ---------------------------------------------------------------------------------


def summing() -> Graph[Account]:
    """An actor whose sum shows each message that counted twice or not at all."""
    graph = Graph("summing", Account, lifetime="actor")

    @graph.on(Deposit)
    async def deposit(state: Account, msg: Deposit) -> Update:
        return {"balance": state.balance + msg.amount, "trace": msg.label}

    @graph.on(Close)
    async def close(state: Account, msg: Close) -> End:
        return END

    return graph


async def send_all(run: Run[Account]) -> None:
    """Every process sends all of it: what was kept before is the same message."""
    for number in range(4):
        await run.send(Deposit(amount=10**number, label=str(number)), id=f"deposit {number}")
    await run.ask(Deposit(amount=10_000, label="4"), id="deposit 4")
    await run.send(Close(), id="close")


async def test_each_message_counts_once_wherever_the_process_dies() -> None:
    """Killed at operations of the store, with senders that repeat themselves."""
    report = await assert_resumes_equal(summing(), outside=send_all, operations=24)

    assert report.expected is not None
    assert report.expected.state == Account(balance=11_111, trace=["0", "1", "2", "3", "4"])


async def test_each_message_counts_once_on_a_local_disk(tmp_path: Path) -> None:
    """Killed between the system calls of the append log."""
    await assert_resumes_equal(summing(), outside=send_all, folder=tmp_path, operations=8)


async def test_a_forgotten_id_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: ids are not remembered, so that what is sent again counts again."""

    def forgetful(run: RunState) -> None:
        run.mail.seen.clear()

    came_before = turns._came_before

    def forgets(decision: Any, event: Any) -> bool:
        forgetful(decision.run)
        return came_before(decision, event)

    monkeypatch.setattr(turns, "_came_before", forgets)

    report = await explore(summing(), outside=send_all, operations=6)

    assert report.failures
