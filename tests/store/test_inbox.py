"""The inbox: a message that was sent is taken once, or kept as a dead letter with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from actorflow.errors import (
    BadCallerId,
    CommitUnknown,
    CorruptMessage,
    IdempotencyConflict,
    MessageTooLarge,
    MissingKey,
    NotSealed,
    StoreUnavailable,
    UnsupportedFormat,
    WindowFull,
)
from actorflow.store.backend import Backend, Missing
from actorflow.store.callers import Limits, Window, caller_number
from actorflow.store.envelope import closed
from actorflow.store.inbox import Inbox
from actorflow.store.keyring import Keyring
from actorflow.store.keys import dead_key, encode_id, inbox_key
from actorflow.store.lanes import Mark, Marks, header_marks, news
from actorflow.store.local import LocalBackend
from actorflow.store.memory import MemoryBackend
from actorflow.store.messages import Message, encode_message, read_message
from actorflow.store.sealing import Sealing

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from actorflow.store.taking import Batch

STORE = bytes(16)
NOW = 1.7e9
KEYS = Keyring({"new": b"k" * 32})
SEALINGS = {"plain": Sealing(), "mac": Sealing("mac", keys=KEYS), "sealed": Sealing("sealed", keys=KEYS)}


def message(
    number: int = 1, *, run_id: str = "r", sender: str = "s", generation: int = 1, body: bytes = b"x"
) -> Message:
    """A message of a lane."""
    return Message(
        run_id=run_id,
        sender=sender,
        generation=generation,
        number=number,
        caller=None,
        type="Add",
        version=1,
        fields=(("n", "int", False),),
        time=NOW,
        reply_to=sender,
        body=body,
    )


def called(caller: str, *, body: bytes = b"x", now: float = NOW) -> Message:
    """A message with an id."""
    return Message(
        run_id="r",
        sender=None,
        generation=0,
        number=caller_number(now),
        caller=caller,
        type="Add",
        version=1,
        time=now,
        body=body,
    )


@pytest.fixture(params=["local", "memory"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """One of each kind."""
    return LocalBackend(str(tmp_path), mark="m-i") if request.param == "local" else MemoryBackend()


class Receiver:
    """A run as far as its inbox goes: what it has committed, and what the messages did."""

    def __init__(self, inbox: Inbox, run_id: str = "r") -> None:
        self.inbox = inbox
        self.run_id = run_id
        self.marks = Marks()
        self.window = Window()
        self.did: list[bytes] = []

    def take(
        self,
        *,
        limit: int | None = None,
        size: int | None = None,
        limits: Limits | None = None,
        now: float = NOW,
    ) -> Batch:
        """What it would commit."""
        return self.inbox.take(
            self.run_id, marks=self.marks, window=self.window, now=now, limit=limit, size=size, limits=limits
        )

    def turn(self, **options: object) -> Batch:
        """Take, commit, delete."""
        batch = self.take(**options)  # type: ignore[arg-type]
        self.marks, self.window = batch.marks, batch.window
        self.did += [taken.body for taken in batch.messages]
        self.inbox.delete((*batch.deletable, *batch.taken))
        return batch


@pytest.fixture
def inbox(backend: Backend) -> Inbox:
    """An inbox in it."""
    return Inbox(backend, store=STORE)


@pytest.fixture
def run(inbox: Inbox) -> Receiver:
    """A run with nothing taken."""
    return Receiver(inbox)


# -- lanes --------------------------------------------------------------------------


def test_no_more_bytes_are_read_than_are_wanted(inbox: Inbox, run: Receiver) -> None:
    """Of lanes and of callers; what is left comes next, in order, and nothing overtakes it."""
    inbox.dispatch([message(number, body=b"%d" % number * 10) for number in range(1, 8)])
    inbox.dispatch([message(1, generation=2, body=b"next" * 3)])
    for number in range(1, 6):
        inbox.send(called(str(number), body=b"c%d" % number * 5, now=NOW + number))

    turns = list[tuple[int, bool]]()
    while (batch := run.turn(size=25)).messages:
        turns.append((len(batch.messages), batch.cut))

    lanes = [b"%d" % number * 10 for number in range(1, 8)] + [b"next" * 3]
    callers = [b"c%d" % number * 5 for number in range(1, 6)]
    assert [body for body in run.did if body in lanes] == lanes
    assert [body for body in run.did if body in callers] == callers
    assert turns == [(6, True), (5, True), (2, False)]
    assert inbox.letters("r") == [] == inbox.dead_letters.list()


def test_one_message_is_read_however_large_and_what_came_twice_does_not_count(inbox: Inbox, run: Receiver) -> None:
    """There is always something that goes on."""
    inbox.send(called("one", body=b"x" * 100))
    assert [len(taken.body) for taken in run.turn(size=1).messages] == [100]
    for number in range(3):
        inbox.send(called("one", body=b"x" * 100, now=NOW + number))
        inbox.send(called(f"new {number}", body=b"y" * 100, now=NOW + number + 0.5))

    batch = run.turn(size=150)

    assert [len(taken.body) for taken in batch.messages] == [100, 100]
    assert batch.cut


def test_a_message_is_taken_once_and_then_its_file_goes(inbox: Inbox, run: Receiver) -> None:
    """Every field of it arrives, in order, and nothing is left."""
    inbox.dispatch([message(1, body=b"one"), message(2, body=b"two")])

    batch = run.turn()

    assert batch.messages == (message(1, body=b"one"), message(2, body=b"two"))
    assert run.turn().messages == ()
    assert inbox.letters("r") == [] == inbox.dead_letters.list()


def test_one_listing_finds_what_is_undelivered(inbox: Inbox, backend: Backend) -> None:
    """For every run of the store; strangers are passed over."""
    sent = [message(run_id=run_id, sender=run_id) for run_id in ("a", "A", "x" * 200)]
    inbox.dispatch(sent)
    backend.put_new("inbox/00/README", b"")

    found = inbox.undelivered()

    assert found == {encode_id(one.run_id): [one.letter] for one in sent}
    assert inbox.letters("A") == found[encode_id("A")]


def test_a_file_that_comes_back_is_not_taken_again(inbox: Inbox, run: Receiver) -> None:
    """A sender that did not hear sends again, after everything was deleted: the mark knows, and nobody wakes."""
    inbox.send(message(1, body=b"one"))
    run.turn()
    said = header_marks(run.marks)

    inbox.send(message(1, body=b"one"))

    assert not news(said, inbox.letters("r"))
    assert run.turn().messages == ()
    assert run.did == [b"one"]
    assert inbox.letters("r") == []


def test_a_mark_outlives_its_messages(inbox: Inbox, run: Receiver) -> None:
    """However long nothing was there: what comes back is not new."""
    inbox.send(message(1, body=b"one"))
    run.turn()
    run.turn()

    inbox.send(message(1, body=b"one"))
    run.turn()

    assert run.did == [b"one"]


def test_a_message_whose_commit_never_came_is_taken_again(inbox: Inbox, run: Receiver) -> None:
    """Taking changes nothing: a receiver that dies has taken nothing."""
    inbox.send(message(1, body=b"one"))
    run.take()

    assert run.turn().messages == (message(1, body=b"one"),)


def test_the_same_message_may_be_sent_again_and_another_may_not(inbox: Inbox, run: Receiver) -> None:
    """A number is one message; what is kept stays, and the error names both."""
    inbox.send(message(1, body=b"one"))
    inbox.send(structs.replace(message(1, body=b"one"), tags={"trace": "7"}))

    with pytest.raises(IdempotencyConflict, match="number 1 of generation 1 from 's' was sent to run 'r' before"):
        inbox.send(message(1, body=b"other"))

    assert [taken.body for taken in run.turn().messages] == [b"one"]


def test_dispatch_stops_at_the_first_that_fails(inbox: Inbox, run: Receiver) -> None:
    """The number after it would stand behind a gap."""
    inbox.send(message(2, body=b"mine"))

    with pytest.raises(IdempotencyConflict):
        inbox.dispatch([message(1), message(2, body=b"other"), message(3)])

    assert [letter.number for letter in inbox.letters("r")] == [1, 2]
    assert run.turn().marks == Marks({"s": Mark(1, 2)})


def test_what_is_of_an_older_generation_becomes_a_dead_letter(inbox: Inbox, run: Receiver) -> None:
    """What was left behind a gap, and what comes when the lane has moved on."""
    inbox.dispatch([message(1), message(3, body=b"behind the gap"), message(1, generation=2, body=b"new")])

    run.turn()
    assert run.did == [b"x", b"new"]
    inbox.send(message(2, body=b"late"))
    run.turn()

    dead = [inbox.dead_letters.read(letter) for letter in inbox.dead_letters.list("r")]
    assert [letter.letter.number for letter in dead] == [2, 3]
    assert {letter.reason for letter in dead} == {"older generation"}
    kept = read_message(dead[0].message, "there", letter=dead[0].letter, store=STORE)
    assert kept == message(2, body=b"late")
    assert inbox.letters("r") == []
    assert run.did == [b"x", b"new"]


class Watched(Backend):
    """A backend that tells what it does, and lets things happen in between."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.calls: list[str] = []
        self.while_listing: list[tuple[Callable[[], object], str]] = []  # what happens during each listing

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Tell, and put."""
        self.calls.append(f"put {key.partition('/')[0]}")
        return self.inner.put_new(key, data, durable=durable)

    def get(self, key: str) -> bytes:
        """Get."""
        return self.inner.get(key)

    def list(self, prefix: str) -> list[str]:
        """Tell, and list what was there; and one of the things that come meanwhile."""
        self.calls.append(f"list {prefix.partition('/')[0]}")
        found = self.inner.list(prefix)
        if self.while_listing:
            happens, late = self.while_listing.pop(0)
            happens()
            # The listing had passed all other places, and comes to this one when it has happened.
            found += [key for key in self.inner.list(prefix) if key.endswith(late) and key not in found]
        return found

    def delete(self, keys: Iterable[str]) -> None:
        """Tell, and delete."""
        self.calls += [f"delete {key.partition('/')[0]}" for key in keys]
        self.inner.delete(keys)


def test_a_switch_is_decided_by_a_second_listing() -> None:
    """Planted: with one listing, message 1 was kept before generation 2 began, and became a dead letter."""
    backend = Watched(MemoryBackend())
    inbox = Inbox(backend, store=STORE)
    run = Receiver(inbox)
    sent = [message(1, body=b"old"), message(1, generation=2, body=b"new")]
    backend.while_listing.append((lambda: inbox.dispatch(sent), f"~{2:020d}~{1:020d}"))

    run.turn()
    run.turn()

    assert run.did == [b"old", b"new"]
    assert inbox.dead_letters.list() == []


def test_a_switch_that_only_the_second_listing_shows_waits_for_another() -> None:
    """Planted: if it counted at once, message 2 of generation 2 became a dead letter in the same way."""
    backend = Watched(MemoryBackend())
    inbox = Inbox(backend, store=STORE)
    run = Receiver(inbox)
    inbox.send(message(1, generation=2, body=b"first"))
    sent = [message(2, generation=2, body=b"second"), message(1, generation=3, body=b"third")]
    backend.while_listing += [(list, "nothing"), (lambda: inbox.dispatch(sent), f"~{3:020d}~{1:020d}")]

    for _ in range(3):
        run.turn()

    assert run.did == [b"first", b"second", b"third"]
    assert inbox.dead_letters.list() == []


def test_a_dead_letter_is_kept_before_its_file_goes(run: Receiver) -> None:
    """And before the mark passes it: when `take` returns, nothing was deleted and all dead letters are there."""
    backend = Watched(MemoryBackend())
    inbox = run.inbox = Inbox(backend, store=STORE)
    run.marks = Marks({"s": Mark(2, 1)})
    inbox.send(message(1))

    run.turn()

    assert [call for call in backend.calls if not call.startswith("list")] == ["put inbox", "put dead", "delete inbox"]


# -- damage -------------------------------------------------------------------------


def test_a_lane_goes_on_behind_a_damaged_message(inbox: Inbox, run: Receiver, backend: Backend) -> None:
    """It becomes a dead letter under its number, bytes and all; also if the receiver dies first."""
    inbox.dispatch([message(1), message(2), message(3, body=b"three")])
    key = inbox_key(message(2).letter)
    broken = backend.get(key)[:-1]
    backend.delete([key])
    backend.put_new(key, broken)

    run.take()
    run.turn()

    assert run.did == [b"x", b"three"]
    assert run.marks == Marks({"s": Mark(1, 3)})
    dead = inbox.dead_letters.read(message(2).letter)
    assert (dead.reason, dead.message) == ("damaged", broken)
    assert inbox.letters("r") == []


def test_a_sender_is_told_that_its_message_is_damaged(inbox: Inbox, backend: Backend) -> None:
    """The number is taken, but not by what it sent."""
    backend.put_new(inbox_key(message(1).letter), b"garbage")

    with pytest.raises(CorruptMessage, match="too short"):
        inbox.send(message(1))


@pytest.mark.parametrize("sealing", SEALINGS.values(), ids=SEALINGS)
def test_every_changed_byte_is_noticed(sealing: Sealing) -> None:
    """One bit of each byte, each cut, and a byte too many (guarantee 7)."""
    sent = message(7, body=b"some body")
    data = encode_message(sent, store=STORE, path="there", sealing=sealing)
    letter = sent.letter
    assert read_message(data, "there", letter=letter, store=STORE, sealing=sealing) == sent

    changed = [data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :] for at in range(len(data))]
    for wrong in (*changed, *(data[:end] for end in range(len(data))), data + b"\0", bytes(len(data)), b""):
        with pytest.raises(CorruptMessage):
            read_message(wrong, "there", letter=letter, store=STORE, sealing=sealing)


@pytest.mark.parametrize("sealing", [SEALINGS["mac"], SEALINGS["sealed"]], ids=["mac", "sealed"])
def test_a_seal_covers_the_header(sealing: Sealing) -> None:
    """Who can compute digests, but has no key, changes nothing: neither a field nor a flag."""
    data = encode_message(message(7), store=STORE, path="there", sealing=sealing)

    for at in range(len(data) - 32):
        forged = closed(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 : -32])
        with pytest.raises((CorruptMessage, UnsupportedFormat, NotSealed, MissingKey)):
            read_message(forged, "there", letter=message(7).letter, store=STORE, sealing=sealing)


def test_a_prefix_has_its_own_checksum() -> None:
    """As in a checkpoint: no length in it is believed before."""
    data = encode_message(message(7), store=STORE, path="there")

    with pytest.raises(CorruptMessage, match="CRC-32"):
        read_message(closed(data[:9] + b"\x01" + data[10:-32]), "there", letter=message(7).letter, store=STORE)


def test_a_message_belongs_where_it_is(inbox: Inbox, run: Receiver, backend: Backend) -> None:
    """Under another number, or of another store, it is none of ours."""
    backend.put_new(inbox_key(message(1).letter), encode_message(message(2), store=STORE, path=""))
    backend.put_new(inbox_key(message(2).letter), encode_message(message(2), store=b"other" * 3, path=""))
    inbox.send(message(3, body=b"three"))

    run.turn()

    assert run.did == [b"three"]
    details = [inbox.dead_letters.read(letter).detail for letter in inbox.dead_letters.list()]
    assert "another message" in details[0]
    assert "another store" in details[1]


def test_what_this_version_or_process_cannot_read_waits(backend: Backend) -> None:
    """It is not damaged: somebody else can read it. Nor does a newer generation overtake it."""
    sealed = Inbox(backend, store=STORE, sealing=SEALINGS["sealed"])
    sealed.dispatch([message(1, body=b"one"), message(2, body=b"two"), message(1, generation=2, body=b"new")])
    keyless, strict = Receiver(Inbox(backend, store=STORE)), Receiver(sealed)

    batch = keyless.turn()

    assert (batch.messages, batch.marks, batch.taken) == ((), Marks(), ())
    assert [type(error) for error in batch.held.values()] == [MissingKey]
    strict.turn()
    assert strict.did == [b"one", b"two", b"new"]


def test_a_message_of_a_later_format_waits(inbox: Inbox, run: Receiver, backend: Backend) -> None:
    """An older process that meets it during an upgrade leaves it alone."""
    data = encode_message(message(1), store=STORE, path="")
    later = data[:-32].replace(b"\xa3Add", b"\xa3Ad\xff")
    backend.put_new(inbox_key(message(1).letter), closed(later))

    batch = run.turn()

    assert [type(error) for error in batch.held.values()] == [UnsupportedFormat]
    assert len(inbox.letters("r")) == 1


def test_what_is_weaker_than_required_is_not_believed(backend: Backend) -> None:
    """Nor thrown away: it may be from before the sealing was turned on."""
    Inbox(backend, store=STORE).send(message(1))
    run = Receiver(Inbox(backend, store=STORE, sealing=SEALINGS["mac"]))

    batch = run.turn()

    assert [type(error) for error in batch.held.values()] == [NotSealed]
    assert run.did == []


def test_a_sealed_message_may_be_sent_again(backend: Backend) -> None:
    """Its bytes differ each time; what it says does not."""
    inbox = Inbox(backend, store=STORE, sealing=SEALINGS["sealed"])
    inbox.send(message(1))

    inbox.send(message(1))

    with pytest.raises(IdempotencyConflict):
        inbox.send(message(1, body=b"other"))


def test_a_dead_letter_is_verified_too(inbox: Inbox, backend: Backend) -> None:
    """Every changed byte of it is noticed, and a missing one is missing."""
    inbox.send(message(1))
    inbox.bury(message(1).letter, reason="poison", detail="it crashed three times", now=NOW)
    inbox.bury(message(9).letter, reason="poison", detail="it is not there", now=NOW)
    key = dead_key(message(1).letter)
    data = backend.get(key)

    for at in range(0, len(data), 3):
        backend.delete([key])
        backend.put_new(key, data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(CorruptMessage):
            inbox.dead_letters.read(message(1).letter)
    with pytest.raises(Missing):
        inbox.dead_letters.read(message(9).letter)


# -- callers ------------------------------------------------------------------------


def test_a_callers_id_counts_once(inbox: Inbox, run: Receiver) -> None:
    """Before it was taken, after, and after its file is gone; in the order in which they were sent."""
    inbox.send(called("a", body=b"1"))
    inbox.send(called("b", body=b"2", now=NOW + 1))
    inbox.send(called("a", body=b"1", now=NOW + 2))
    assert len(inbox.letters("r")) == 2

    run.turn()
    inbox.send(called("a", body=b"1", now=NOW + 3))
    run.turn()

    assert run.did == [b"1", b"2"]
    assert inbox.letters("r") == [] == inbox.dead_letters.list()


def test_a_callers_id_with_another_content_is_refused(inbox: Inbox, run: Receiver) -> None:
    """At once while the first is still there; later it becomes a dead letter."""
    inbox.send(called("a", body=b"1"))
    with pytest.raises(IdempotencyConflict, match="id 'a' was sent to run 'r' before"):
        inbox.send(called("a", body=b"2", now=NOW + 1))
    run.turn()

    inbox.send(called("a", body=b"2", now=NOW + 1))
    run.turn()

    assert run.did == [b"1"]
    (letter,) = inbox.dead_letters.list("r")
    assert inbox.dead_letters.read(letter).reason == "conflict"
    assert inbox.letters("r") == []


def test_a_full_window_leaves_messages_where_they_are(inbox: Inbox, run: Receiver) -> None:
    """Until an id may be forgotten; lanes go on meanwhile."""
    limits = Limits(ids=2, hours=1.0)
    for index in range(4):
        inbox.send(called(f"id{index}", body=b"%d" % index, now=NOW + index))
    inbox.send(message(1, body=b"lane"))

    batch = run.turn(limits=limits)

    assert [type(error) for error in batch.held.values()] == [WindowFull, WindowFull]
    assert run.did == [b"lane", b"0", b"1"]
    run.turn(limits=limits, now=NOW + 3601)
    assert run.did[3:] == [b"2", b"3"]


def test_a_caller_sends_again_what_was_damaged(inbox: Inbox, run: Receiver, backend: Backend) -> None:
    """Its id is still free: only the damaged copy is a dead letter."""
    backend.put_new(inbox_key(called("a").letter), b"?")

    inbox.send(called("a", body=b"1", now=NOW + 1))
    run.turn()

    assert run.did == [b"1"]
    assert len(inbox.dead_letters.list("r")) == 1


def test_an_id_is_remembered_while_its_file_is_there(inbox: Inbox, run: Receiver) -> None:
    """A deletion that fails for days does not make a message count again."""
    limits = Limits(ids=1, hours=1.0)
    inbox.send(called("a", body=b"1"))
    batch = run.take(limits=limits)
    run.window = batch.window
    inbox.send(called("b", body=b"2", now=NOW + 1))

    batch = run.take(limits=limits, now=NOW + 7200)

    assert batch.messages == ()
    assert [type(error) for error in batch.held.values()] == [WindowFull]
    inbox.delete(batch.deletable)
    assert [taken.body for taken in run.take(limits=limits, now=NOW + 7200).messages] == [b"2"]


def test_a_damaged_message_of_a_caller_becomes_a_dead_letter(inbox: Inbox, run: Receiver, backend: Backend) -> None:
    """It stands in nobody's way."""
    broken, whole = called("a"), called("b", body=b"whole")
    backend.put_new(inbox_key(broken.letter), b"?")
    inbox.send(whole)

    run.turn()

    assert run.did == [b"whole"]
    assert inbox.dead_letters.list("r") == [broken.letter]
    assert inbox.letters("r") == []


# -- refusals -----------------------------------------------------------------------


def test_a_message_that_cannot_be_is_refused(inbox: Inbox) -> None:
    """Before anything is written."""
    for wrong in ({"number": 0}, {"generation": 0}, {"caller": "both"}, {"sender": None}):
        with pytest.raises(ValueError, match=r"begin at 1|from a run"):
            structs.replace(message(1), **wrong)
    with pytest.raises(BadCallerId, match="empty"):
        inbox.send(called(""))
    with pytest.raises(MessageTooLarge, match="65,536"):
        inbox.send(structs.replace(message(1), tags={"t": "x" * 70_000}))

    assert inbox.undelivered() == {}


# -- failing stores -------------------------------------------------------------------


class Flaky(MemoryBackend):
    """A backend that now and then fails, before or after it did what it was asked for."""

    def __init__(self, random: random.Random) -> None:
        super().__init__()
        self.random = random
        self.calm = False

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Fail before, after, or not at all."""
        fate = 9 if self.calm else self.random.randrange(10)
        if fate == 0:
            raise StoreUnavailable(key, "planted, nothing happened")
        created = super().put_new(key, data, durable=durable)
        if fate in {1, 2}:
            raise StoreUnavailable(key, "planted, it has happened")
        return created

    def delete(self, keys: Iterable[str]) -> None:
        """Delete some of them."""
        super().delete([key for key in keys if self.calm or self.random.randrange(3)])


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False))
def test_whatever_fails_each_message_counts_once(random: random.Random) -> None:
    """Senders that stop and send again, a receiver that dies before its commit, lost replies, lost deletions.

    Planted: taking without the window's verdict, or with marks of an empty run after each death, counts some twice.
    """
    backend = Flaky(random)
    inbox = Inbox(backend, store=STORE)
    run = Receiver(inbox)
    outboxes = {
        sender: [message(number, sender=sender, body=b"%s%d" % (sender.encode(), number)) for number in range(1, 6)]
        for sender in ("a", "b~", "C")
    }
    outboxes["callers"] = [called(f"id{number}", body=b"id%d" % number, now=NOW + number) for number in range(5)]
    expected = {sender: [sent.body for sent in outbox] for sender, outbox in outboxes.items()}

    for step in range(200):
        backend.calm = step >= 100
        sender = random.choice(sorted(outboxes))
        if random.randrange(3) and outboxes[sender]:
            try:
                inbox.send(outboxes[sender][0])
            except CommitUnknown:
                continue
            if random.randrange(4):  # else it dies before it has noted that, and sends again
                outboxes[sender].pop(0)
        elif random.randrange(3):
            run.turn(limit=random.choice([None, 1, 2]))
        else:
            run.take()  # and dies
    while any(outboxes.values()) or inbox.letters("r"):
        for outbox in outboxes.values():
            inbox.dispatch(outbox)
            outbox.clear()
        run.turn()

    assert sorted(run.did) == sorted(body for bodies in expected.values() for body in bodies)
    for sender in ("a", "b~", "C"):
        assert [body for body in run.did if body in expected[sender]] == expected[sender]
    assert inbox.dead_letters.list() == []
