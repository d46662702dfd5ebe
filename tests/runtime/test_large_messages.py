"""Large messages: kept beside the log as any large value is, wherever in a run they are, and taken a few at a time."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorflow import END, Context, End, Graph, Mailbox, Message, Reply, Retention, Runtime, State, Update
from actorflow.engine import contents, snapshot
from actorflow.engine.mail import Dead, Letter, Mail, Parcel, Said, Seen, Timer
from actorflow.engine.records import Body, Posted, Received, Replied, TimerSet, decode_body, encode_body
from actorflow.engine.run import Answer
from actorflow.engine.snapshot import dump, load
from actorflow.engine.spawn import spawn
from actorflow.errors import BadMessage, MessageTooLarge
from actorflow.runtime.intake import Intake
from actorflow.runtime.large import BLOB_MIN, Joiner, Splitter, references
from actorflow.runtime.letters import carried, write
from actorflow.store.blobs import Blobs
from actorflow.store.memory import MemoryBackend
from actorflow.store.sealing import PLAIN
from actorflow.store.store import open_store
from actorflow.testing import assert_resumes_equal

if TYPE_CHECKING:
    from actorflow import Run
    from actorflow.engine.records import Record
    from actorflow.engine.run import RunState

MIB = 1024 * 1024


class Stock(State, version=1):
    """What came, by its first byte and its size."""

    sizes: list[int] = []
    firsts: bytes = b""


class Parcelled(Message, version=1):
    """A large one."""

    data: bytes
    more: list[bytes] = []


class Close(Message, version=1):
    """Ends the actor."""


class Later(Message, version=1):
    """What a stock that has grown is sent, too."""


def stock(*, mailbox: Mailbox | None = None, grown: bool = False) -> Graph[Stock]:
    """An actor that is sent large things, and replies with them; ``grown``, it does one thing more."""
    graph = Graph("stock", Stock, lifetime="actor", mailbox=mailbox or Mailbox())

    @graph.on(Parcelled)
    async def take(state: Stock, msg: Parcelled) -> Reply:
        size = len(msg.data) + sum(map(len, msg.more))
        return Reply(msg.data, {"sizes": [*state.sizes, size], "firsts": state.firsts + msg.data[:1]})

    @graph.on(Close)
    async def close(state: Stock, msg: Close) -> End:
        return END

    if grown:

        @graph.on(Later)
        async def later(state: Stock, msg: Later) -> Update:
            return {}

    return graph


def log_size(rt: Runtime, run_id: str = "s") -> int:
    """Bytes of all commits of a run."""
    return sum(frame.size for frame in rt.living().store.log(run_id).read(first=0))


def blobs_of(rt: Runtime, run_id: str = "s") -> list[str]:
    """The names of its large values."""
    return rt.living().store.blobs(run_id).names()


@pytest.fixture(params=["local", "bucket"])
def url(request: pytest.FixtureRequest, store_url: str) -> str:
    """A store on disk, and an object store."""
    return store_url if request.param == "local" else f"memory://{request.node.name}"


# -- runs ------------------------------------------------------------------------------------


async def test_a_large_message_stands_beside_the_log(url: str) -> None:
    """While it waits, when it is read by another process, handled there, replied, and asked for again."""
    data, more = os.urandom(5 * MIB), [os.urandom(MIB), b"small", os.urandom(MIB)]
    async with Runtime(url, drain="park") as rt:
        run = await rt.spawn(stock(), id="s")
        await run.pause()
        await run.send(Parcelled(data=data, more=more), id="one")
        assert log_size(rt) < 8_000
        assert len(blobs_of(rt)) == 2  # one for each large field

    async with Runtime(url, drain="park", graphs=[stock()]) as rt:
        run = rt.get("s")
        (waits,) = await run.mailbox()
        assert (waits.values["data"], waits.values["more"]) == (data, more)
        await run.unpause()
        assert await run.ask(Parcelled(data=data, more=more), id="one") == data
        assert log_size(rt) < 16_000

    async with Runtime(url, drain="park", graphs=[stock()]) as rt:
        assert await rt.get("s").ask(Parcelled(data=data, more=more), id="one") == data
        assert (await rt.get("s").state()).sizes == [7 * MIB + 5]
        assert await rt.verify() == []


async def test_a_large_message_from_another_process_becomes_a_blob(url: str) -> None:
    """As a file of the inbox it is one anyway; then it is the run's."""
    async with Runtime(url, drain="park") as rt, Runtime(url, recover="never") as other:
        run = await rt.spawn(stock(), id="s")
        await other.get("s").send(Parcelled(data=b"f" + os.urandom(5 * MIB)))
        with anyio.fail_after(20):
            while not (await run.state()).sizes:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.01)

        assert (await run.state()).firsts == b"f"
        assert log_size(rt) < 16_000


async def test_snapshots_refer_to_what_waits(url: str) -> None:
    """A hundred of them wait while the run is claimed and let go of: each is put once, and no commit grows."""
    graph = stock(mailbox=Mailbox(bytes=1024 * MIB))
    async with Runtime(url, drain="park") as rt:
        run = await rt.spawn(graph, id="s")
        await run.pause()
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(run.send, Parcelled(data=os.urandom(BLOB_MIN)))
    grown = stock(mailbox=Mailbox(bytes=1024 * MIB), grown=True)  # what it commits first begins with a snapshot
    async with Runtime(url, drain="park", graphs=[grown]) as rt:
        await rt.get("s").update({"sizes": [0]})
        frames = rt.living().store.log("s").read(first=0)
        assert len(blobs_of(rt)) == 100
    async with Runtime(url, drain="park", graphs=[grown]) as rt:
        await rt.get("s").unpause()
        assert await rt.get("s").ask(Parcelled(data=b"last")) == b"last"
        assert len((await rt.get("s").state()).sizes) == 102

    assert max(frame.header.snapshot for frame in frames) > 0
    assert max(frame.size for frame in frames) < BLOB_MIN


async def test_a_large_message_goes_with_its_run_and_is_swept_when_it_was_handled(store_url: str) -> None:
    """Into another store; and no longer than what refers to it is kept."""
    data = os.urandom(MIB)
    async with Runtime(store_url, drain="park") as rt:
        run = await rt.spawn(stock(), id="s")
        await run.pause()
        await run.send(Parcelled(data=data))
    async with Runtime(store_url, recover="never") as rt:
        await rt.export("s", f"{store_url}-other")

    async with Runtime(f"{store_url}-other", drain="park", graphs=[stock(grown=True)]) as rt:
        (waits,) = await rt.get("s").mailbox()
        assert waits.values["data"] == data
        await rt.get("s").unpause()
        assert await rt.get("s").ask(Parcelled(data=b"last")) == b"last"
    async with Runtime(f"{store_url}-other", drain="park", graphs=[stock()]) as rt:
        await rt.get("s").update({"firsts": b""})  # what it commits under other code begins with a snapshot
    async with Runtime(f"{store_url}-other", recover="never") as rt:
        assert (await rt.gc(Retention(last=1))).blobs == 1
        assert blobs_of(rt) == []
        assert not any(finding.broken for finding in await rt.verify())


async def test_too_large_is_too_large_for_the_sender(store_url: str) -> None:
    """Here and from elsewhere; the run does not notice."""
    async with Runtime(store_url, drain="park") as rt, Runtime(store_url, recover="never") as other:
        run = await rt.spawn(stock(), id="s")

        for handle in (run, other.get("s")):
            with pytest.raises(BadMessage, match="64 MiB"):
                await handle.send(Parcelled(data=bytes(65 * MIB)))
        halves = [bytes(33 * MIB)] * 2
        with pytest.raises(MessageTooLarge):
            await other.get("s").send(Parcelled(data=halves[0], more=halves[1:]))

        assert await run.ask(Parcelled(data=b"small")) == b"small"


async def send_and_close(run: Run[Stock]) -> None:
    """Two that are large, and the end."""
    for letter in (b"a", b"b"):
        await run.send(Parcelled(data=letter * BLOB_MIN), id=letter.decode())
    await run.send(Close(), id="close")


async def test_a_large_message_counts_once_wherever_the_process_dies() -> None:
    """Also between its blob and its commit: what nobody refers to is no damage."""
    report = await assert_resumes_equal(stock(), outside=send_and_close, operations=8)

    assert report.expected is not None
    assert report.expected.state == Stock(sizes=[BLOB_MIN, BLOB_MIN], firsts=b"ab")


@pytest.mark.parametrize("lanes", [True, False])
async def test_no_more_is_read_at_once_than_the_mailbox_takes(
    store_url: str, monkeypatch: pytest.MonkeyPatch, *, lanes: bool
) -> None:
    """However many files wait: memory is bounded by what may wait in the run, and one message more."""
    find, read = Intake._find, list[int]()

    def measured(self: Intake, *args: Any, **options: Any) -> Any:
        found = find(self, *args, **options)
        read.append(sum(len(message.body) for message in found.batch.messages))
        return found

    monkeypatch.setattr(Intake, "_find", measured)
    graph = stock(mailbox=Mailbox(bytes=MIB))
    async with Runtime(store_url, drain="park") as rt:
        await rt.spawn(graph, id="s")
    store = open_store(store_url)
    for n in range(1, 31):
        kept = carried("s", write("s", Parcelled(data=bytes([n]) * (MIB // 4))), id=str(n), by=None, now=1.8e9 + n)
        if lanes:
            kept = type(kept)(
                **{name: getattr(kept, name) for name in ("run_id", "type", "version", "fields", "time", "body")},
                sender="bob",
                generation=1,
                number=n,
                caller=None,
            )
        store.inbox.send(kept)
    async with Runtime(store_url, drain="park", graphs=[graph]) as rt:
        with anyio.fail_after(20):
            while len((await rt.get("s").state()).sizes) < 30:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.02)
        state = await rt.get("s").state()
    store.close()

    assert state.firsts == bytes(range(1, 31))
    assert max(read) < MIB + MIB // 2


# -- every place where a run has messages --------------------------------------------------------


def filled() -> tuple[RunState, int]:
    """A run with a large value in every place of its mail, and how many those are."""
    values = iter([{"data": bytes([n]) * BLOB_MIN, "small": n} for n in range(99)])
    run = spawn(stock().plan, Stock(), run_id="s").run
    letter = Letter(b"1", "Parcelled", next(values), 1.0)
    run.mail = Mail(
        queue={b"1": letter},
        seen={"one": Seen(b"c", 1.0, Said(next(values)["data"])), "two": Seen(b"c", 1.0)},
        timers={"t": Timer(1.0, "Parcelled", next(values), 1)},
        outbox=[
            Parcel("other", 1, "message", "Parcelled", next(values)),
            Parcel("child", 1, "spawn", "Stock", [next(values), {}]),
            Parcel("other", 2, "reply", values=next(values)["data"]),
            Parcel("other", 3, "monitor"),
        ],
        dead=[Dead(Letter(b"2", "Parcelled", next(values), 1.0), "failed")],
    )
    activation = next(iter(run.open.values()), None)
    assert activation is None
    return run, 7


def there_and_back(run: RunState) -> tuple[RunState, bytes, int]:
    """The run as its snapshot is read, the snapshot, and how many blobs that has."""
    blobs = Blobs(MemoryBackend(), "s", run_id="s", store=bytes(16), sealing=PLAIN)
    short = Splitter(blobs, epoch=1, known={}).dump(run)
    blobs.put(short.blobs)
    joiner = Joiner(blobs)
    joiner.fetch(references(encode_body(Body((), short.data))).values())
    return load(short.data, restore=joiner.value), short.data, len(short.blobs)


def test_a_snapshot_holds_no_large_value_of_the_mail() -> None:
    """Each is a blob, and comes back."""
    run, large = filled()

    again, data, blobs = there_and_back(run)

    assert again.mail == run.mail
    assert dump(again) == dump(run)
    assert (len(data) < 4_000, blobs) == (True, large)


def test_a_message_that_is_being_handled_and_one_that_was_received_are_in_a_snapshot_by_reference() -> None:
    """They are the activation's by then."""
    graph = Graph("waits", Stock, messages=[Parcelled])

    @graph.node
    async def wait(state: Stock, ctx: Context) -> Update:
        return {}

    run = spawn(graph.plan, Stock(), run_id="s").run
    (activation,) = run.open.values()
    activation.letter = Letter(b"1", "Parcelled", {"data": b"l" * BLOB_MIN}, 1.0)
    activation.answers["k"] = Answer(["Parcelled", {"data": b"a" * BLOB_MIN}])

    again, data, blobs = there_and_back(run)

    (opened,) = again.open.values()
    assert (opened.letter, opened.answers) == (activation.letter, activation.answers)
    assert (len(data) < 4_000, blobs) == (True, 2)


@pytest.mark.parametrize("place", ["_changed_seen", "_changed_timer", "_changed_parcel", "_changed_dead"])
def test_planted_a_place_that_is_forgotten_is_found(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: one place of the mail is left as it is."""
    monkeypatch.setattr(contents, place, lambda kept, change: kept)

    with pytest.raises(AssertionError):
        test_a_snapshot_holds_no_large_value_of_the_mail()


def test_planted_a_letter_that_is_forgotten_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: that of a turn is left as it is."""
    monkeypatch.setattr(snapshot, "changed_letter", lambda letter, change: letter)

    with pytest.raises(AssertionError):
        test_a_message_that_is_being_handled_and_one_that_was_received_are_in_a_snapshot_by_reference()


LARGE = {"data": b"x" * BLOB_MIN, "more": [b"y" * BLOB_MIN, b"small"]}


@pytest.mark.parametrize(
    "record",
    [
        Received(b"1", 1.0, "Parcelled", LARGE, size=9),
        TimerSet("t", 1.0, "Parcelled", LARGE),
        Posted("other", "message", "Parcelled", LARGE),
        Posted("other", "reply", values=LARGE["data"]),
        Posted("child", "spawn", "Stock", [LARGE, {"tag": "x"}]),
        Replied(1, LARGE["data"]),
        Replied(1, LARGE),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_record_holds_no_large_value_of_a_message(record: Record) -> None:
    """It refers to it, and comes back as it was."""
    blobs = Blobs(MemoryBackend(), "s", run_id="s", store=bytes(16), sealing=PLAIN)
    short, put = Splitter(blobs, epoch=1, known={}).records([record])
    blobs.put(put)
    body = encode_body(Body(tuple(short)))
    joiner = Joiner(blobs)
    joiner.fetch(references(body).values())

    assert joiner.records(decode_body(body).records) == (record,)
    assert len(body) < 1_000


async def test_what_waits_is_put_once(url: str) -> None:
    """A snapshot refers to the blob of the commit that accepted it."""
    async with Runtime(url, drain="park") as rt:
        run = await rt.spawn(stock(), id="s")
        await run.pause()
        await run.send(Parcelled(data=os.urandom(BLOB_MIN)))
        life = rt.life_of("s")
        assert life is not None
        before = await rt.living().in_store(partial(blobs_of, rt))

        dumped = life.actor.writer.large.dump(life.actor.run)

        assert (len(before), dumped.blobs) == (1, ())
