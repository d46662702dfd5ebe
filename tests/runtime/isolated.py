"""Nodes for worker processes: they are found by import, so they stand at the top level of a module."""

from __future__ import annotations

import atexit
import collections
import ctypes
import functools
import itertools
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import anyio
import anyio.lowlevel
from msgspec import Struct

from actorflow import (
    END,
    Codec,
    Context,
    End,
    Goto,
    Graph,
    Message,
    Overwrite,
    Remove,
    Reply,
    State,
    Update,
    extend,
    merge,
)
from actorflow.graph.routing import Send


class Trail(State, version=1):
    """What happened, in which processes, and where a node may hold a file open."""

    n: int = 0
    path: str = ""
    trace: Annotated[list[str], extend] = []
    pids: Annotated[list[int], extend] = []


# -- values ------------------------------------------------------------------------


class Money:
    """A type that msgspec does not know."""

    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.cents == self.cents

    __hash__ = None  # type: ignore[assignment]


class Colour(Enum):
    """An enum."""

    RED = "red"


class Part(Struct, frozen=True):
    """A struct inside a state."""

    name: str
    price: Money


class Goods(State, version=3):
    """Fields of many types."""

    when: datetime = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    id: UUID = UUID(int=7)
    amount: Decimal = Decimal("1.10")
    colour: Colour = Colour.RED
    raw: bytes = b"\x00\xff"
    ratio: float = 0.1
    big: int = 2**62
    names: set[str] = set()
    by_number: dict[int, list[str]] = {}
    maybe: Part | None = None
    parts: Annotated[list[Part], extend] = []
    prices: Annotated[dict[str, Money], merge] = {}
    any: Any = None


goods = Graph("goods", Goods, types=[Codec(Money, lambda money: money.cents, Money)])


@goods.node(isolate="process")
def look_at(state: Goods) -> Update:
    """Every field comes back as it was seen; the types are what they are declared to be."""
    assert type(state.when) is datetime
    assert type(state.parts[0].price) is Money
    return {name: getattr(state, name) for name in Goods.__struct_fields__ if name not in ("parts", "prices")}


@goods.node(after=look_at, isolate="process")
async def write(state: Goods) -> Update:
    """An update with all there is."""
    return {
        "parts": Overwrite([Part("bolt", Money(3))]),
        "prices": Remove("old"),
        "names": {"a"},
        "by_number": {1: ["one"]},
        "any": {"nested": [1, None]},
    }


@goods.node(after=write, isolate="process")
def whole(state: Goods) -> Goods:
    """A whole state."""
    return Goods(**{name: getattr(state, name) for name in Goods.__struct_fields__} | {"big": 5})


# -- what the docs say a node may do -------------------------------------------------


def where(state: Trail) -> Update:
    """The process it runs in."""
    return {"n": state.n + 1, "pids": [os.getpid()]}


async def where_async(state: Trail) -> Update:
    """The process it runs in, and that there is an event loop."""
    await anyio.lowlevel.checkpoint()
    return {"n": state.n + 1, "pids": [os.getpid()]}


def count(state: Trail) -> Goto | End:
    """A loop of its own, in one process or several."""
    return Goto(count, update={"n": state.n + 1, "pids": [os.getpid()]}) if state.n < 200 else END


class Price(Message, version=1):
    """What a handler handles."""

    amount: int


def prices(state: Trail, msg: Price, ctx: Context) -> Reply:
    """A handler: what is there, and who asks."""
    return Reply(f"{state.n + msg.amount} {ctx.run_id}", update={"pids": [os.getpid()]})


def prices_any(state: Trail, msg: Message) -> None:
    """A handler of any message."""


def gets(value: int) -> Update:
    """A node to which values are sent."""
    return {"n": value}


def asks(state: Trail, ctx: Context) -> Update:
    """What the context says."""
    ctx.log.info("attempt %d", ctx.attempt)
    try:
        raise ValueError("inside")  # noqa: TRY301 - to be logged with its traceback
    except ValueError:
        ctx.log.exception("caught")
    return {"trace": [ctx.run_id, ctx.node, str(ctx.attempt), ctx.idempotency_key]}


def tells(state: Trail, ctx: Any) -> Update:
    """Emits, also from a thread that outlives the call."""
    ctx.emit({"token": "a"})
    ctx.progress(1, total=2)
    ctx.heartbeat()
    goes_on = threading.Event()
    late = threading.Thread(target=lambda: (goes_on.wait(), ctx.emit("late")))
    late.start()
    _LATE.append((goes_on, late))
    return {}


def lets_go(state: Trail, ctx: Any) -> Update:
    """Lets the threads that `tells` left behind emit, and waits for them."""
    for goes_on, late in _LATE:
        goes_on.set()
        late.join()
    ctx.emit("own")
    return {"trace": [f"{len(_LATE)} late"]}


_LATE: list[tuple[threading.Event, threading.Thread]] = []


def uses_clients(state: Trail, ctx: Context) -> Update:
    """Asks for what is not there."""
    return {"trace": [str(ctx.context)]}


async def remembers(state: Trail, ctx: Context) -> Update:
    """Has a step, which is committed where the runtime is."""
    return {"trace": [await ctx.step("do", str)]}


async def asks_a_human(state: Trail, ctx: Context) -> Update:
    """Asks what only the runtime can wait for."""
    return {"trace": [await ctx.interrupt("Go on?")]}


def comforts(state: Trail, ctx: Context) -> Update:
    """Handles the error of another node."""
    assert ctx.error is not None
    return {"trace": [ctx.error.type_name, ctx.error.message, str(ctx.error.node)]}


def doubled(fn: Any) -> Any:
    """A decorator as many are."""

    @functools.wraps(fn)
    def inner(state: Trail) -> Update:
        return {"trace": [*fn(state)["trace"], "decorated"]}

    return inner


@doubled
def decorated(state: Trail) -> Update:
    """Has the decorator around it."""
    return {"trace": ["plain"]}


undecorated = decorated.__wrapped__


# -- failures ------------------------------------------------------------------------


def _is_first(state: Trail) -> bool:
    """Whether no process has been here before; a file says so to the next one."""
    path = Path(state.path)
    if path.exists():
        return False
    path.touch()
    return True


class BankDown(ConnectionError):
    """A class of the user's own, that can't be made of a text."""

    def __init__(self, bank: str, code: int) -> None:
        super().__init__(bank, code)
        self.bank = bank
        self.code = code

    def __str__(self) -> str:
        return f"{self.bank} says {self.code}"


def raises_builtin(state: Trail) -> Update:
    """One of Python's own."""
    with Path(state.path).open():
        return {}


def raises_own(state: Trail) -> Update:
    """One of the user's own."""
    raise BankDown("the bank", 7)


def fails_once(state: Trail) -> Update:
    """Raises in the first process that gets here."""
    if _is_first(state):
        raise BankDown("the bank", 7)
    return {"trace": ["worked"]}


def dies_once(state: Trail) -> Update:
    """Is killed in the first process that gets here."""
    if _is_first(state):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"trace": ["worked"], "pids": [os.getpid()]}


def is_killed(state: Trail) -> Update:
    """Ends in the way that ``n`` says: a signal if it is negative, else an exit status."""
    if state.n < 0:
        os.kill(os.getpid(), -state.n)
    sys.exit(state.n)


def forks_and_dies(state: Trail) -> Update:
    """Is killed while a process that it forked holds all that it had open."""
    if os.fork() == 0:
        signal.pause()
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def gives_back(state: Trail) -> Any:
    """No update at all, or one that is not right, as ``n`` says."""
    return [{"trace": [object()]}, {"n": "one"}, 3, Goods(), [3], {"nix": 1}][state.n]


# -- nodes that don't end by themselves ------------------------------------------------


def _hold(path: str) -> Any:
    """Hold a named pipe open, here and in a child: who reads it sees its end when both are gone."""
    held = Path(path).open("wb", buffering=0)  # noqa: SIM115 - held for as long as the process lives
    subprocess.Popen(["sleep", "300"], pass_fds=(held.fileno(),))
    return held


def _line() -> bytes:
    return b"%d\n" % os.getpid()


def hangs(state: Trail) -> Update:
    """Waits for ever."""
    with _hold(state.path) as held:
        held.write(_line())
        threading.Event().wait()
    return {}


def spins(state: Trail) -> Update:
    """Computes for ever and never lets another thread run, as an extension module may; it says so when it has begun."""
    with _hold(state.path) as held:
        write = ctypes.PyDLL(None).write  # keeps the interpreter to itself while it writes
        says = itertools.starmap(write, [(held.fileno(), _line(), len(_line()))])
        collections.deque(itertools.chain(says, itertools.repeat(None)), maxlen=0)
    return {}


async def sleeps(state: Trail) -> Update:
    """Waits for ever, with an event loop."""
    with _hold(state.path) as held:
        held.write(_line())
        await anyio.sleep_forever()
    return {}


def lingers(state: Trail) -> Update:
    """Has its process wait for ever when it is to end."""
    atexit.register(threading.Event().wait)
    return {"pids": [os.getpid()]}


def waits_for_reader(state: Trail) -> Update:
    """Waits until somebody opens the other end of the named pipe."""
    if state.path:
        Path(state.path).open("w").close()
    return {"trace": ["done"]}


# -- items and what is sent ----------------------------------------------------------


class Batch(State, version=1):
    """A list to map over."""

    parts: list[Part] = []
    cents: list[int] = []
    words: list[str] = []
    lengths: list[int] = []
    pids: Annotated[list[int], extend] = []


def price(part: Part, ctx: Context) -> int:
    """An item of a type with a codec."""
    return part.price.cents


def length(word):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - the field says what it is
    """An item without an annotation."""
    return len(word)


def parts_out(state: Batch) -> list[Send]:
    """Sends every word on."""
    return [Send(spelled, word) for word in state.words]


def spelled(word: str) -> Update:
    """Takes what is sent."""
    assert type(word) is str
    return {"pids": [len(word)]}


batch = Graph("batch", Batch, types=[Codec(Money, lambda money: money.cents, Money)])
batch.map(price, over="parts", into="cents", isolate="process")
batch.map(length, over="words", into="lengths", after="price", isolate="process")
batch.node(parts_out, after="length", send=spelled, isolate="process")
batch.node(spelled, takes=str, isolate="process")
