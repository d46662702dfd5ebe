"""Records: every kind comes back from its bytes as it was, and nothing else decodes."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import msgpack

from actorflow.engine.operations import Dropped, Extended, Merged, Put, Reduced, Spliced
from actorflow.engine.records import (
    Answered,
    Ask,
    Asked,
    Attempted,
    Began,
    Body,
    Buried,
    Claimed,
    Closing,
    Delivered,
    Ended,
    Entered,
    ErrorInfo,
    Failed,
    Fanned,
    Finished,
    Forgotten,
    Forked,
    Formed,
    Gather,
    Handed,
    Handling,
    Imported,
    Inherited,
    InputGiven,
    InputQueued,
    Intended,
    ItemDone,
    ItemFailed,
    Measured,
    Offered,
    Open,
    Opened,
    Paused,
    Posted,
    Queued,
    Rebased,
    Received,
    Record,
    Released,
    Repaired,
    Replied,
    Rewound,
    Spawned,
    Stepped,
    Tagged,
    Taken,
    TimerCancelled,
    TimerFired,
    TimerSet,
    Tried,
    TurnOpened,
    TurnRetaken,
    Undelivered,
    Undone,
    Unpaused,
    Updated,
    Watched,
    Woken,
    decode_body,
    encode_body,
)
from actorflow.engine.records import Merged as MergedRecord

ERROR = ErrorInfo("ValueError", "no", "Traceback ...")
OPEN = Open("b", b"key", takes=("x", "y"), parked=("z",), late=("w",), sent=[1, "two", None])
HANDLER = Open("mend", b"key", error=ERROR, failed="b")
GATHERS = (Gather("f", "", extends=True), Gather("f", "part", extends=False))
HANDED = (Handed("f", "", [1]), Handed("f", "=", None), Handed("f", "^"))
ASK = Ask("name", "ask", "Go?", {"why": 1}, {"type": "boolean"}, 1e9, False, 1e8)
OPERATIONS = (
    Put("f", {"any": [1, None, 2.5, b"x", {(1, 2): "tuple"}]}),
    Reduced("f", 3),
    Extended("f", ["a"]),
    Spliced("f", 0, 2, []),
    Merged("f", {"a": 1, 2: "int", (3, 4): "tuple"}),
    Dropped("f", {"a": None, (3, 4): None}),
)
RECORDS: list[Record] = [
    Spawned("r", 1, "g", b"t", "exit", b"d", {"n": 2**64 - 1, "s": "é\U0001f600"}, (OPEN,)),
    Claimed(2, 3),
    Claimed(2, 3, "payments/cards", "permanent"),
    Released(),
    Finished(1, OPERATIONS, puts=(("j", "b"),), opens=(OPEN,), parks=True, took=0.5),
    Finished(1),
    Finished(1, opens=(HANDLER,), gathers=GATHERS, handed=HANDED, cached=True),
    MergedRecord(1, OPERATIONS, 0.5),
    MergedRecord(1, gathers=GATHERS, handed=HANDED, goto=("a", "__end__"), sends=(("b", [1]),), leaves=True),
    Began(1, 1e9),
    Attempted(1, 2, 1e9, ERROR),
    Handling(1, ERROR, "b"),
    Rebased(1),
    Formed("Inner", "2024-b", (("n", "int", True),)),
    Entered(1, "b[3]", "Inner", {"n": 1}, (OPEN,), ("f",), kept=True),
    Queued(1),
    Fanned(1, 3, 2, items=[1, None, {"a": 2}]),
    Fanned(1, 3, 2, field="f"),
    ItemDone(2, [1], 0.5),
    ItemFailed(2, ERROR),
    Asked(1, (ASK,)),
    Answered(1, "name", True, "me", expired=True),
    Updated(OPERATIONS, "me", "b", "n", 1, withdraws=True, puts=(("j", "n"),), opens=(OPEN,), key=b"k", handed=HANDED),
    InputGiven(OPERATIONS, (OPEN,), discards=True, by="me", queued=True),
    InputQueued(HANDED, "me"),
    Paused("me"),
    Unpaused(),
    Tagged("good", 7, "me"),
    Tagged("good", None),
    Rewound(7, 2, "me"),
    Forked("other", b"s" * 16, 7, b"d" * 32, "me"),
    Measured("b[3]", 12_345),
    Opened("b", (OPEN,)),
    Offered(b"t2", (OPEN,), ("leaf",), (("last", "leaf"),)),
    Failed(None, ERROR),
    Failed(7, ErrorInfo("E", "")),
    Ended("cancelled", "me"),
    Ended("finished"),
    Imported(b"s" * 16, 7, b"d" * 32),
    Repaired(7, b"d" * 32, (8, 9), b"f" * 32, "me"),
    Received(b"m" * 16, 1e9, "Deposit", {"amount": 1}, lane=("s", 1, 7), sender="s", ask="k.a", by="me", size=9),
    Received(b"m" * 16, 1e9, caller="c", content=b"d", forgets=("b",)),
    TurnOpened(b"m" * 16, "deposit", b"key"),
    TurnRetaken(1),
    Replied(1, [1], ERROR),
    Buried(None, b"m" * 16, "ended", ERROR, 1e9),
    Taken(1, "k", b"m" * 16),
    Woken(1),
    Closing(),
    TimerSet("payday", 1e9, "Deposit", {"amount": 1}),
    TimerCancelled("payday"),
    TimerFired("payday", b"m" * 16, 1e9),
    Posted("r", "spawn", "Order", [{}, {}], "k.a", "order", ERROR, "cancel"),
    Delivered({"r": 7}),
    Watched("r", "k.a", linked=True, on=False),
    Undelivered("r", 7, ERROR, 1e9),
    Inherited({"s": (1, 7)}),
    Forgotten("r", "s"),
    Intended(1, b"s" * 16, "charge", "k", 1e9),
    Tried(1, b"s" * 16, "charge", None, 2, 1e9, 1e8, ERROR),
    Stepped(1, b"s" * 16, "charge", None, {"id": 1}, ERROR, None, "refund"),
    Undone(1, b"s" * 16),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    """Values, tuples, keys of dicts and all."""
    assert decode_body(encode_body(Body((record,)))) == Body((record,))


def test_every_kind_of_record_is_here() -> None:
    """A new kind gets its round trip, too."""
    assert {type(record) for record in RECORDS} == set(Record.__args__)


def test_a_body_holds_many_records_and_a_snapshot() -> None:
    """In their order."""
    body = Body(tuple(RECORDS), b"snapshot")

    assert decode_body(encode_body(body)) == body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        msgpack.encode([[["unheard-of", 1]]]),
        msgpack.encode([[["finished", "not an id"]]]),
        msgpack.encode([[["ended", "no status"]]]),
        msgpack.encode([[["finished"]]]),
        encode_body(Body(tuple(RECORDS)))[:-1],
        encode_body(Body(tuple(RECORDS))) + b"\x00",
    ],
)
def test_what_is_no_body_is_refused(data: bytes) -> None:
    """With an error of msgspec's, which the reader turns into the verdict that the file is damaged."""
    with pytest.raises(msgspec.MsgspecError):
        decode_body(data)


def test_later_fields_are_passed_over() -> None:
    """A record of a later minor version with a field more still reads: array-like Structs ignore the surplus."""
    assert decode_body(msgpack.encode([[["claimed", 2, 3, None, None, "more"]]])).records == (Claimed(2, 3),)
