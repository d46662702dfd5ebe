"""Messages from elsewhere: two processes on one store, files that come twice, in another order, damaged, or too old."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from msgspec.structs import replace

from actorflow import Graph, Mailbox, Message, Reply, Run, Runtime
from actorflow.errors import AskFailed, IdempotencyConflict, MailboxFull, MessageRejected, RunEnded
from actorflow.runtime.arrivals import Arrivals
from actorflow.runtime.intake import Intake
from actorflow.runtime.letters import carried, write
from actorflow.store.keys import Letter as Name
from actorflow.store.keys import encode_id, inbox_key
from actorflow.store.lanes import news
from actorflow.store.messages import Message as Kept
from actorflow.testing import assert_resumes_equal, explore
from tests.runtime.mailing import Account, Close, Deposit, Gate, Hold, Total, banking

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.store.store import Store

BOTH = pytest.mark.parametrize("place", ["local", "bucket"])


@pytest.fixture
def url(place: str, store_url: str) -> str:
    """A store on the disk, or in memory, which is an object store like a bucket."""
    return store_url if place == "local" else f"memory://{store_url}"


def store_of(rt: Runtime) -> Store:
    """The store of a runtime."""
    return rt.living().store


def lane_message(number: int, amount: int, *, sender: str = "bob", run_id: str = "ada", generation: int = 1) -> Kept:
    """What another run sent."""
    kept = carried(run_id, write(run_id, Deposit(amount=amount)), id="x", by=None, now=1.8e9)
    return Kept(
        run_id=run_id,
        sender=sender,
        generation=generation,
        number=number,
        caller=None,
        type=kept.type,
        version=kept.version,
        fields=kept.fields,
        time=kept.time,
        body=kept.body,
    )


async def until(check: Callable[[], object], *, seconds: float = 30) -> None:
    """Wait until this holds: nobody tells when a file goes."""
    with anyio.fail_after(seconds):
        while not check():  # noqa: ASYNC110 - as said
            await anyio.sleep(0.005)


@BOTH
async def test_a_run_that_lives_elsewhere_takes_and_answers(url: str) -> None:
    """Sent twice and asked twice under one id, from two processes: once handled, and the same reply for all."""
    async with Runtime(url, drain="park") as rt, Runtime(url, recover="never", graphs=[banking()]) as other:
        gate = Gate()
        run = await rt.spawn(banking(), id="ada", context=gate)
        await run.send(Hold())  # so that it lives here
        await gate.inside.wait()
        far = other.get("ada")

        await far.send(Deposit(amount=1), id="one", by="Bob")
        await far.send(Deposit(amount=1), id="one", by="Bob")
        await run.send(Deposit(amount=1), id="one")
        replies = list[int]()

        async def ask() -> None:
            replies.append(await far.ask(Deposit(amount=10), id="ten", type=int))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
            gate.open.set()

        assert replies == [11, 11]
        assert await run.ask(Deposit(amount=10), id="ten") == 11
        with pytest.raises(IdempotencyConflict):
            await far.ask(Deposit(amount=11), id="ten")
        await until(lambda: not store_of(rt).inbox.letters("ada"))


@BOTH
async def test_a_file_that_comes_back_counts_once(url: str) -> None:
    """By the window for callers, by the mark for runs; it is deleted again."""
    async with Runtime(url, drain="park") as rt:
        run = await rt.spawn(banking(), id="ada")
        store = store_of(rt)
        caller = carried("ada", write("ada", Deposit(amount=1)), id="one", by=None, now=1.8e9)
        for kept in (caller, lane_message(1, 10), lane_message(2, 100)):
            store.inbox.send(kept)
        assert await _settled(rt, run.id) == 111

        for kept in (lane_message(2, 100), caller, lane_message(1, 10)):
            store.inbox.send(kept)
        await look(rt, run)

        assert await _settled(rt, run.id) == 111
        assert await run.dead_letters() == []


async def test_a_sleeper_is_not_woken_for_what_it_has_taken(store_url: str) -> None:
    """The header of the commit with which it lay down says which numbers; a file may come back at any time."""
    async with Runtime(store_url, drain="park") as rt:
        await rt.spawn(banking(), id="ada")
    async with Runtime(store_url, drain="park", graphs=[banking()]) as rt:
        for number in (1, 2):
            store_of(rt).inbox.send(lane_message(number, 1))
        assert await _settled(rt, "ada") == 2

    async with Runtime(store_url, recover="never") as rt, anyio.create_task_group() as tasks:
        tip = await rt.tip("ada")
        said = tip.header.marks
        arrivals = Arrivals(rt.living(), {"account": banking()}, tasks, anywhere=True)
        arrivals.notify({"ada": [lane_message(number, 1).letter for number in (1, 2)]})
        await until(lambda: not arrivals.busy)
        assert (await rt.tip("ada")).header.seq == tip.header.seq

    assert [news(said, [lane_message(number, 1).letter]) for number in (1, 2, 3, 4)] == [False, False, True, False]


@BOTH
async def test_a_lane_waits_for_the_number_that_is_missing(url: str) -> None:
    """What came too early stays, and is taken in order when the one before it is there."""
    async with Runtime(url, drain="park") as rt:
        run = await rt.spawn(banking(), id="ada")
        inbox = store_of(rt).inbox
        for number in (3, 2):
            inbox.send(lane_message(number, 10**number))
        assert await run.ask(Total()) == 0

        inbox.send(lane_message(1, 10))

        assert await _settled(rt, run.id) == 1110
        assert (await run.state()).trace == ["+10", "+100", "+1000"]


@BOTH
async def test_a_damaged_letter_is_set_aside_and_its_lane_goes_on(url: str) -> None:
    """Byte for byte, under its number, and shown with what is wrong with it."""
    async with Runtime(url, drain="park") as rt:
        run = await rt.spawn(banking(), id="ada")
        store = store_of(rt)
        names = [Name(encode_id("ada"), encode_id("bob"), 1, number) for number in (1, 2)]
        store.backend.put_new(inbox_key(names[0]), b"not a letter")
        store.inbox.send(lane_message(2, 100))

        assert await _settled(rt, run.id) == 100
        (dead,) = await run.dead_letters()
        assert (dead.reason, dead.sender) == ("damaged", "bob")
        assert store.inbox.dead_letters.read(names[0]).message == b"not a letter"


@BOTH
async def test_a_message_of_another_process_wakes_a_run_that_sleeps(url: str) -> None:
    """Whoever is there and knows the graph takes it up; the sender needs no graph."""
    async with Runtime(url, drain="park") as rt:
        await rt.spawn(banking(), id="ada")
    async with Runtime(url, recover="never") as sender, Runtime(url, drain="park", graphs=[banking()]):
        with anyio.fail_after(30):
            assert await sender.get("ada").ask(Deposit(amount=5)) == 5


@BOTH
async def test_messages_wait_for_a_process_that_knows_the_graph(url: str) -> None:
    """Sent while nobody has it: kept, and shown as waiting."""
    async with Runtime(url, drain="park") as rt:
        await rt.spawn(banking(), id="ada")

    async with Runtime(url, recover="never") as rt:
        await rt.get("ada").send(Deposit(amount=5), by="Bob")
        (waiting,) = await rt.get("ada").mailbox()
        assert (waiting.type, waiting.values["amount"], waiting.by, waiting.message) == ("Deposit", 5, "Bob", None)

    async with Runtime(url, drain="park", graphs=[banking()]) as rt:
        assert await _settled(rt, "ada") == 5


async def test_an_inbox_is_bounded(store_url: str) -> None:
    """While nobody takes anything, not any number may be sent; who waits for room is let in when there is some."""
    gate, graph = Gate(), banking(mailbox=Mailbox(messages=2))
    async with Runtime(store_url, drain="park") as rt, Runtime(store_url, recover="never", graphs=[graph]) as other:
        run, far = await rt.spawn(graph, id="ada", context=gate), other.get("ada")
        await run.send(Hold())
        await gate.inside.wait()
        for handle, amount in ((run, 1), (far, 10)):  # the run has no room any more when the files come
            for _ in range(2):
                await handle.send(Deposit(amount=amount))

        with pytest.raises(MailboxFull):
            await far.send(Deposit(amount=100), timeout=0)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(far.send, Deposit(amount=1_000))
            await until(lambda: len(store_of(rt).inbox.letters("ada")) == 2)
            gate.open.set()
        assert await _settled(rt, "ada") == 1_022


async def test_a_full_mailbox_leaves_files_where_they_are(store_url: str) -> None:
    """They are taken when there is room, all of them and in order."""
    gate = Gate()
    async with Runtime(store_url, drain="park") as rt:
        run = await rt.spawn(banking(mailbox=Mailbox(messages=2)), id="ada", context=gate)
        await run.send(Hold())
        await gate.inside.wait()
        inbox = store_of(rt).inbox
        for number in range(1, 10):
            inbox.send(lane_message(number, 10**number if number < 6 else 1))
        await until(lambda: len(inbox.letters("ada")) == 7)

        gate.open.set()

        assert await _settled(rt, run.id) == 111_110 + 4
        assert len((await run.state()).trace) == 10


async def test_who_asks_from_elsewhere_is_refused_as_who_asks_here(store_url: str) -> None:
    """The same error with the same text, wherever the run lives. What was sent is a dead letter."""
    async with Runtime(store_url, drain="park") as rt, Runtime(store_url, recover="never") as other:
        run = await rt.spawn(banking(), id="ada")
        errors = list[MessageRejected]()

        for handle in (run, other.get("ada")):
            with pytest.raises(MessageRejected) as rejected:
                await handle.ask(Deposit(amount=-1))
            errors.append(rejected.value)

        assert str(errors[0]) == str(errors[1])
        assert (errors[1].type_name, errors[1].reason) == ("Deposit", "-1 is no deposit")
        assert [(one.type, one.reason) for one in await run.dead_letters()] == [("Deposit", "failed")]


async def test_files_wait_for_room_in_bytes_too(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And are not read again and again meanwhile."""
    gate, looks = Gate(), list[int]()
    find = Intake._find

    def counted(self: Intake, *args: Any, **options: Any) -> Any:
        looks.append(1)
        return find(self, *args, **options)

    monkeypatch.setattr(Intake, "_find", counted)
    async with Runtime(store_url, drain="park") as rt:
        run = await rt.spawn(banking(mailbox=Mailbox(bytes=100)), id="ada", context=gate)
        await run.send(Hold())
        await gate.inside.wait()
        await run.send(Deposit(amount=1, label="x" * 90))
        inbox, life = store_of(rt).inbox, rt.life_of("ada")
        for number in range(1, 5):
            inbox.send(lane_message(number, 10**number))
        assert life is not None
        rt.living().intake.look(life)
        await until(lambda: looks)
        await anyio.sleep(0.2)  # in which a loop would look some hundred times
        before = len(looks)

        gate.open.set()

        assert await _settled(rt, run.id) == 11_111
        assert before <= 4


async def test_who_asks_from_elsewhere_is_told_that_the_run_ended(store_url: str) -> None:
    """And the message is shown as one that nobody came to."""
    gate = Gate()
    async with Runtime(store_url) as rt, Runtime(store_url, recover="never") as other:
        run = await rt.spawn(banking(mailbox=Mailbox(messages=1)), id="ada", context=gate)
        await run.send(Hold())
        await gate.inside.wait()
        await run.send(Close())

        async def ask() -> None:
            with pytest.raises(AskFailed, match="finished"):
                await other.get("ada").ask(Deposit(amount=1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await until(lambda: store_of(rt).inbox.letters("ada"))
            gate.open.set()

        with pytest.raises(RunEnded):
            await other.get("ada").send(Deposit(amount=1))
        assert [(one.type, one.reason) for one in await run.dead_letters()] == [("Deposit", "ended")]


async def look(rt: Runtime, run: Run[Account], question: Message | None = None) -> None:
    """Let the run look into its inbox: of files that come back nobody is told at once."""
    await run.ask(question or Total())
    if (life := rt.life_of(run.id)) is not None:
        rt.living().intake.look(life)


# -- versions -------------------------------------------------------------------------------


class Euros(Message, version=1, name="Pay"):
    """As it was."""

    euros: int


class Pay(Message, version=2):
    """As it is."""

    cents: int


def till(version: int, *, migrates: bool = True) -> Graph[Account]:
    """The graph of then and of now."""
    graph = Graph("till", Account, lifetime="actor")
    if version == 1:

        @graph.on(Euros)
        async def pay_euros(state: Account, msg: Euros) -> Reply:
            return Reply(None, {"balance": state.balance + 100 * msg.euros})

    else:

        @graph.on(Pay)
        async def pay(state: Account, msg: Pay) -> Reply:
            return Reply(state.balance + msg.cents, {"balance": state.balance + msg.cents})

        if migrates:

            @graph.migrate
            def in_cents(old: Euros) -> Pay:
                return Pay(cents=old.euros * 100)

    return graph


async def test_a_message_of_before_is_handled_by_the_code_of_now(store_url: str) -> None:
    """It waited as a file while the code changed."""
    async with Runtime(store_url, drain="park") as rt:
        await rt.spawn(till(2), id="till")

    async with Runtime(store_url, recover="never") as rt:
        await rt.get("till").send(Euros(euros=3))

    async with Runtime(store_url, drain="park", graphs=[till(2)]) as rt:
        assert await _settled(rt, "till") == 300


async def test_a_message_that_the_run_had_accepted_is_handled_by_the_code_of_now(store_url: str) -> None:
    """It waited in the run while the code changed."""
    async with Runtime(store_url, drain="park") as rt:
        run = await rt.spawn(till(1), id="till")
        await run.pause()
        await run.send(Euros(euros=3), id="three")

    async with Runtime(store_url, drain="park", graphs=[till(2)]) as rt:
        run = rt.get("till")
        assert [one.message for one in await run.mailbox()] == [Pay(cents=300)]
        await run.unpause()
        assert await run.ask(Pay(cents=5)) == 305
        assert await run.mailbox() == []


async def test_an_older_message_object_is_migrated_in_its_own_process() -> None:
    """Whoever sends may not have been reloaded yet."""
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(till(2), id="till")

        assert await run.ask(Euros(euros=3)) == 300


async def test_a_message_that_nothing_migrates_is_a_dead_letter(store_url: str) -> None:
    """With its values as they were; the next one is handled, and who asked is told."""
    async with Runtime(store_url, drain="park") as rt:
        await rt.spawn(till(2, migrates=False), id="till")

    async with Runtime(store_url, recover="never") as rt:
        await rt.get("till").send(Euros(euros=3), id="three")
        await rt.get("till").send(Pay(cents=5))

    async with Runtime(store_url, drain="park", graphs=[till(2, migrates=False)]) as rt:
        assert await _settled(rt, "till") == 5
        run = rt.get("till")
        (dead,) = await run.dead_letters()
        assert (dead.reason, dead.values, dead.message) == ("failed", {"euros": 3}, None)
        assert "NoMigration" in dead.error


async def test_a_message_of_later_code_waits_for_that(store_url: str) -> None:
    """It is no dead letter: the next deployment handles it."""
    async with Runtime(store_url, drain="park") as rt:
        await rt.spawn(till(1), id="till")

    async with Runtime(store_url, recover="never") as rt:
        await rt.get("till").send(Pay(cents=5))
    async with Runtime(store_url, drain="park") as rt:
        run = await rt.resume(till(1), "till")
        await run.ask(Euros(euros=1))
        assert len(store_of(rt).inbox.letters("till")) == 1
        assert await run.dead_letters() == []

    async with Runtime(store_url, drain="park", graphs=[till(2)]) as rt:
        assert await _settled(rt, "till") == 105


async def test_what_comes_behind_a_message_of_later_code_waits_with_it(store_url: str) -> None:
    """In the lane of its sender. Planted: a file that was looked at goes, whether or not what it says was kept."""
    behind = [Pay(cents=5), Euros(euros=1)]
    kept = [carried("till", write("till", message), id="x", by=None, now=1.8e9) for message in behind]
    async with Runtime(store_url, drain="park") as rt:
        run = await rt.spawn(till(1), id="till")
        inbox = store_of(rt).inbox
        for number, one in enumerate(kept, start=1):
            inbox.send(replace(one, sender="bob", caller=None, generation=1, number=number))
        for _ in range(2):
            await look(rt, run, Euros(euros=1))
        await until(lambda: "till" not in rt.living().intake._again)
        assert len(inbox.letters("till")) == 2

    async with Runtime(store_url, drain="park", graphs=[till(2)]) as rt:
        assert await _settled(rt, "till") == 305


# -- crashes ---------------------------------------------------------------------------------


async def drop_in(run: Run[Account]) -> None:
    """Put files into the inbox, each until that is acknowledged and never again; then close the actor."""
    rt = run._runtime
    lives, inbox = rt.living(), store_of(rt).inbox
    sent = _sent.setdefault(store_of(rt).uuid, set())
    messages = [lane_message(number, 10**number, run_id=run.id) for number in (1, 2, 3)]
    messages += [carried(run.id, write(run.id, Deposit(amount=1)), id=id_, by=None, now=1.8e9) for id_ in "ab"]
    for index, kept in enumerate(messages):
        if index not in sent:
            await lives.in_store(partial(inbox.send, kept))
            sent.add(index)
    while await lives.in_store(lambda: inbox.letters(run.id)):
        await look(rt, run)
    await run.send(Close(), id="close")


_sent: dict[bytes, set[int]] = {}


async def test_what_is_in_the_inbox_counts_once_wherever_the_process_dies() -> None:
    """Killed at every operation of the store: between reading, committing and deleting, too."""
    report = await assert_resumes_equal(banking(), outside=drop_in, compare=same_balance, operations=16)

    assert report.expected is not None
    assert report.expected.state is not None
    assert report.expected.state.balance == 1_112


async def test_files_that_go_before_the_commit_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: what was found is deleted before the run has committed it."""
    find = Intake._find

    def find_and_delete(self: Intake, *args: Any, **options: Any) -> Any:
        found = find(self, *args, **options)
        self._lives.store.inbox.delete(found.batch.taken)
        return found

    monkeypatch.setattr(Intake, "_find", find_and_delete)

    report = await explore(banking(), outside=drop_in, compare=same_balance, operations=12, time_limit=1)

    assert report.failures


def same_balance(one: Account, other: Account) -> bool:
    """The order of what different senders sent is nobody's business."""
    return one.balance == other.balance


async def _settled(rt: Runtime, run_id: str) -> int:
    """The balance when nothing is left in the inbox, and nothing waits or is being handled."""
    store = store_of(rt)
    await until(lambda: not store.inbox.letters(run_id))
    with anyio.fail_after(30):
        while (run := (await rt.load(run_id))[1]).mail.queue or run.open:  # noqa: ASYNC110 - as above
            await anyio.sleep(0.005)
    return int(run.root.values["balance"])
