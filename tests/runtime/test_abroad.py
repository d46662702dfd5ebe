"""Sending to a run that another process has: what a message costs there, and what is not overlooked for that."""

from __future__ import annotations

import math
import secrets
from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from msgspec.structs import replace

from actorflow import Mailbox, Message, Run, Runtime
from actorflow.engine.decision import Decision
from actorflow.engine.snapshot import dump
from actorflow.engine.spawn import spawn
from actorflow.engine.turns import receive, try_to_receive
from actorflow.errors import ActorflowError, BadMessage, IdempotencyConflict, MessageRejected, RunEnded
from actorflow.runtime.abroad import Abroad, Sight
from actorflow.runtime.letters import carried, told, write
from actorflow.runtime.together import Together
from actorflow.store.keys import inbox_prefix, log_prefix
from actorflow.store.memory import MemoryBackend
from actorflow.store.observing import Call, ObservedBackend
from tests.runtime.mailing import Account, Close, Deposit, Gate, Hold, Total, banking

if TYPE_CHECKING:
    from actorflow.engine.events import Receiving
    from actorflow.engine.run import RunState
    from actorflow.store.messages import Message as Kept

LOG, INBOX = log_prefix("ada"), inbox_prefix("ada")


class Stranger(Message, version=1):
    """What no account takes."""


class Counting(ObservedBackend):
    """A bucket that counts the calls about the log and the inbox of one run, by kind and folder."""

    def __init__(self, inner: MemoryBackend) -> None:
        super().__init__(inner)
        self.calls = Counter[tuple[str, str]]()

    def saw(self, call: Call) -> None:
        """Count it."""
        for folder in (LOG, INBOX):
            if call.key.startswith(folder):
                self.calls[call.kind, folder] += 1


async def bucket_with_a_run(mailbox: Mailbox | None = None) -> MemoryBackend:
    """A bucket where a run waits that nobody has."""
    bucket = MemoryBackend()
    async with Runtime(bucket, drain="park") as rt:
        await rt.spawn(banking(mailbox=mailbox), id="ada")
    return bucket


async def all_at_once(times: int, send: Any) -> None:
    """Call it so often, all at once."""
    async with anyio.create_task_group() as tasks:
        for _ in range(times):
            tasks.start_soon(send)


async def hold_up(run: Run[Account], gate: Gate) -> None:
    """Let its handler wait, so that it lives where it is, and handles nothing."""
    await run.send(Hold())
    await gate.inside.wait()


# -- what it costs ------------------------------------------------------------------------------


async def test_on_a_bucket_a_message_costs_a_listing_and_a_put() -> None:
    """Its run is listed for each, and read once; its inbox is listed when much has been put there."""
    counting = Counting(await bucket_with_a_run())
    async with Runtime(counting, recover="never") as rt:
        counting.calls.clear()
        for _ in range(200):
            await rt.get("ada").send(Deposit(amount=1))

    assert counting.calls == {("list", LOG): 200, ("get", LOG): 1, ("put_new", INBOX): 200, ("list", INBOX): 2}


async def test_messages_sent_at_once_share_what_is_looked_at() -> None:
    """A put for each is left: the first one looks for itself, and then one look is for all the others."""
    counting = Counting(await bucket_with_a_run())
    async with Runtime(counting, recover="never") as rt:
        counting.calls.clear()
        await all_at_once(100, lambda: rt.get("ada").send(Deposit(amount=1)))

    assert counting.calls["put_new", INBOX] == 100
    assert counting.calls["list", LOG] <= 3
    assert counting.calls["list", INBOX] <= 3


async def test_an_id_of_the_callers_costs_one_more_listing() -> None:
    """Somebody else may have sent it: it is compared with what is there, and not put twice."""
    counting = Counting(await bucket_with_a_run())
    async with Runtime(counting, recover="never") as rt:
        counting.calls.clear()
        for id_ in "abc":
            for _ in range(2):
                await rt.get("ada").send(Deposit(amount=1), id=id_)
        assert counting.calls["list", INBOX] == 6
        assert counting.calls["put_new", INBOX] == 3

        with pytest.raises(IdempotencyConflict):
            await rt.get("ada").send(Deposit(amount=2), id="a")


async def test_who_knows_the_graph_reads_no_more_than_who_does_not() -> None:
    """While the run is owned: its newest commit, if there is a newer one. It was read and folded for each message."""
    bucket, gate = MemoryBackend(), Gate()
    counting = Counting(bucket)
    async with Runtime(bucket, drain="park") as rt, Runtime(counting, recover="never", graphs=[banking()]) as other:
        run = await rt.spawn(banking(), id="ada", context=gate)
        await hold_up(run, gate)
        await run.pause()
        for _ in range(20):
            await run.send(Deposit(amount=1))
        counting.calls.clear()
        for _ in range(10):
            await other.get("ada").send(Total())
        gate.open.set()

    assert counting.calls["list", LOG] == 10
    assert counting.calls["get", LOG] <= 10  # of 22 commits and more


# -- what is not overlooked ------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["local", "bucket"])
async def test_who_sends_when_the_run_is_over_is_told(place: str, store_url: str) -> None:
    """Whatever was seen of it a moment ago, alone or among many."""
    where: Any = MemoryBackend() if place == "bucket" else store_url
    async with Runtime(where, drain="park") as rt, Runtime(where, recover="never") as other:
        run, far = await rt.spawn(banking(), id="ada"), other.get("ada")
        await far.send(Deposit(amount=1))
        await run.send(Close())
        await run.result()

        with pytest.raises(RunEnded, match="finished"):
            await far.send(Deposit(amount=1))


async def test_planted_a_sight_of_before_is_found(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: what was seen of a run is believed for as long as the process lives."""
    look, seen = Abroad.look, dict[str, Sight | None]()

    async def remembered(self: Abroad, run_id: str) -> Sight | None:
        if run_id not in seen:
            seen[run_id] = await look(self, run_id)
        return seen[run_id]

    monkeypatch.setattr(Abroad, "look", remembered)

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        await test_who_sends_when_the_run_is_over_is_told("local", store_url)


async def test_what_is_put_while_the_run_ends_is_shown_as_left_over(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sent it was told that it is kept, and it is; who sends next is told that the run is over."""
    put = Abroad.put
    async with Runtime(store_url, drain="park") as rt, Runtime(store_url, recover="never") as other:
        run, far = await rt.spawn(banking(), id="ada"), other.get("ada")

        async def late(self: Abroad, message: Kept, **options: Any) -> int | None:
            await run.send(Close())
            await run.result()
            return await put(self, message, **options)

        monkeypatch.setattr(Abroad, "put", late)
        await far.send(Deposit(amount=7))
        with pytest.raises(RunEnded):
            await far.send(Deposit(amount=8))

        for handle in (run, far):
            (dead,) = await handle.dead_letters()
            assert (dead.type, dead.values["amount"], dead.reason) == ("Deposit", 7, "ended")


@pytest.mark.parametrize("bound", [1, 16, 100])
async def test_many_who_send_at_once_keep_to_the_bound(bound: int) -> None:
    """Those that are being put count, too; whoever finds no room is told how many wait, and puts nothing."""
    bucket, full = await bucket_with_a_run(), list[int | None]()
    async with Runtime(bucket, recover="never") as rt:
        abroad = rt.living().abroad

        async def put() -> None:
            kept = carried("ada", write("ada", Deposit(amount=1)), id=secrets.token_hex(8), by=None, now=1.8e9)
            full.append(await abroad.put(kept, bound=bound, named=False))

        await all_at_once(bound + 20, put)

        assert len(rt.living().store.inbox.letters("ada")) == bound
    assert Counter(full) == {None: bound, bound: 20}


async def test_an_inbox_that_is_full_lets_in_who_comes_when_it_is_not(store_url: str) -> None:
    """What was counted is counted again."""
    full = Mailbox(messages=1)
    async with Runtime(store_url, drain="park") as rt:
        await rt.spawn(banking(mailbox=full), id="ada")
    async with Runtime(store_url, recover="never") as rt:
        abroad, inbox = rt.living().abroad, rt.living().store.inbox
        one, two = (
            carried("ada", write("ada", Deposit(amount=1)), id=id_, by=None, now=1.8e9) for id_ in ("one", "two")
        )

        assert await abroad.put(one, bound=1, named=False) is None
        assert await abroad.put(two, bound=1, named=False) == 1
        inbox.delete([one.letter])
        assert await abroad.put(two, bound=1, named=False) is None

        assert inbox.letters("ada") == [two.letter]


async def test_what_the_run_would_refuse_is_refused_before_it_is_put(store_url: str) -> None:
    """Where the graph is known: a type it does not take, what its handler does not want, an id used for another one."""
    gate = Gate()
    async with Runtime(store_url, drain="park") as rt:
        run = await rt.spawn(banking(), id="ada", context=gate)
        await run.send(Deposit(amount=1), id="one")
        await hold_up(run, gate)
        async with Runtime(store_url, recover="never", graphs=[banking()]) as other:
            far = other.get("ada")

            with pytest.raises(BadMessage):
                await far.send(Stranger())
            with pytest.raises(MessageRejected):
                await far.send(Deposit(amount=-1))
            with pytest.raises(IdempotencyConflict):
                await far.send(Deposit(amount=2), id="one")

            assert other.living().store.inbox.letters("ada") == []
        gate.open.set()


# -- together -----------------------------------------------------------------------------------------


class Looking:
    """Something that is looked at, each time when it is let."""

    def __init__(self) -> None:
        self.begun = 0
        self.gate = anyio.Event()
        self.entered = anyio.Event()

    async def __call__(self, key: str) -> str:
        self.begun += 1
        number = self.begun
        self.entered.set()
        await self.gate.wait()
        if key == "bad":
            raise ValueError(f"look {number}")
        return f"{key} at look {number}"


async def test_nobody_is_shown_what_was_seen_before_he_asked() -> None:
    """Whoever comes while a look is under way waits for the next one, with all the others."""
    looking = Looking()
    together, shown = Together(looking), list[str]()

    async def ask() -> None:
        shown.append(await together.ask("it"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await looking.entered.wait()
        for _ in range(5):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        looking.gate.set()

    assert shown == ["it at look 1", *["it at look 2"] * 5]


async def test_what_a_look_raises_all_are_told() -> None:
    """And the next one is tried anew."""
    looking = Looking()
    looking.gate.set()
    together = Together(looking)

    for number in (1, 2):
        with pytest.raises(ValueError, match=f"look {number}"):
            await together.ask("bad")


@pytest.mark.parametrize("when", ["waiting", "looking"])
async def test_who_was_to_look_for_others_may_be_cancelled(when: str) -> None:
    """Somebody else looks then; nobody waits for ever."""
    looking = Looking()
    together, shown, leader = Together(looking), list[str](), anyio.CancelScope()

    async def ask() -> None:
        shown.append(await together.ask("it"))

    async def lead() -> None:
        with leader:
            await ask()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            if when == "waiting":
                tasks.start_soon(ask)
                await looking.entered.wait()
            tasks.start_soon(lead)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            leader.cancel()
            await anyio.wait_all_tasks_blocked()
            looking.gate.set()

    assert shown == (["it at look 1", "it at look 2"] if when == "waiting" else ["it at look 2"])


# -- what is tried ----------------------------------------------------------------------------------


def sent(**fields: Any) -> Receiving:
    """A message to an account as its run is told of it."""
    message = fields.pop("message", Deposit(amount=1))
    id_, again = fields.pop("id", None), fields.pop("again", False)
    event = told("ada", write("ada", message), banking(), id=id_, by=None, now=1.8e9, limit=1)
    return replace(event, again=again)


@pytest.mark.parametrize(
    "event",
    [
        sent(),
        sent(message=Deposit(amount=-1)),
        sent(message=Stranger()),
        sent(id="old"),
        sent(id="old", message=Deposit(amount=2)),
        sent(id="new"),
        sent(again=True),
    ],
)
def test_what_is_tried_is_refused_as_what_is_done_and_changes_nothing(event: Receiving) -> None:
    """The same error, or none; and the run is as it was."""
    plan = banking(mailbox=Mailbox(ids=2, messages=2)).plan

    def account() -> RunState:
        run = spawn(plan, Account(), run_id="ada").run
        for one in (sent(id="old"), sent(id="older")):
            receive(Decision(plan, run, now=1.8e9), one)
        return run

    def outcome(attempt: Any, run: RunState) -> str:
        try:
            attempt(Decision(plan, run, now=event.now), event)
        except ActorflowError as error:
            return repr(error)
        return "accepted"

    tried, done = account(), account()
    before = dump(tried)

    assert outcome(try_to_receive, tried) == outcome(receive, done)
    assert dump(tried) == before


async def test_what_may_be_refused_is_looked_at_for_all_who_send_it_at_once() -> None:
    """An id of the caller's takes the whole run: it is read once for many, and once more for those who come then."""
    bucket, gate = MemoryBackend(), Gate()
    counting = Counting(bucket)
    async with (
        Runtime(bucket, drain="park", linger=math.inf) as rt,  # it stays there, however long they take to send
        Runtime(counting, recover="never", graphs=[banking()]) as other,
    ):
        run = await rt.spawn(banking(), id="ada", context=gate)
        await run.pause()
        counting.calls.clear()
        far, numbers = other.get("ada"), iter(range(100))

        await all_at_once(50, lambda: far.send(Deposit(amount=1), id=str(next(numbers))))

        assert counting.calls["put_new", INBOX] == 50
        assert counting.calls["get", LOG] <= 15  # of a run of few commits, twice or three times
        gate.open.set()
