"""Actors of a simulated world: a ledger that is written to from everywhere, an agent that forwards, clerks it hires."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import anyio

from actorflow import END, Context, Down, End, Goto, Graph, Message, Reply, State, Update, append
from tests.simulation.world import here

if TYPE_CHECKING:
    from tests.simulation.world import World

LEDGER, AGENT = "ledger", "agent"
REFUSED = "bad"
"""How the label of an entry begins that the ledger refuses."""


class Ledger(State, version=1):
    """What was written, in order; whose end was told, and which alarms went off."""

    entries: Annotated[list[str], append] = []
    ballast: str = ""
    hired: Annotated[list[str], append] = []
    downs: Annotated[list[str], append] = []
    set: Annotated[list[str], append] = []
    rang: Annotated[list[str], append] = []


class Agent(State, version=1):
    """What was forwarded, in order."""

    entries: Annotated[list[str], append] = []


class Clerk(State, version=1):
    """What it is called, and the receipt for its last entry."""

    name: str
    receipt: list[int] = []


class Entry(Message, version=1):
    """Is written down. The receipt has the place that it got, and the number of the receipt, which no other has."""

    label: str
    ballast: str = ""


class Hire(Message, version=1):
    """Begins a clerk."""

    label: str


class Alarm(Message, version=1):
    """Goes off once, after so many seconds."""

    label: str
    after: float


class Ring(Message, version=1):
    """An alarm goes off."""

    label: str


class Forward(Message, version=1):
    """Is passed on to the ledger. ``ask``: and what that replies is replied."""

    label: str
    ask: bool = False


class Close(Message, version=1):
    """Is the end."""


def ledger(world: World) -> Graph[Ledger]:
    """Each entry counts once; who asks gets a receipt."""
    graph, hires, receipts = Graph("ledger", Ledger, lifetime="actor"), clerk(world), world.receipts

    def wanted(state: Ledger, msg: Entry) -> None:
        if msg.label.startswith(REFUSED):
            raise ValueError(msg.label)

    @graph.on(Entry, validate=wanted)
    async def write(state: Ledger, msg: Entry) -> Reply:
        await _works(world, msg.label)
        update: dict[str, Any] = {"entries": msg.label}
        receipt = [len(state.entries) + 1, next(receipts)]
        return Reply(receipt, update={**update, "ballast": msg.ballast} if msg.ballast else update)

    @graph.on(Hire)
    async def hire(state: Ledger, msg: Hire, ctx: Context) -> Update:
        await ctx.spawn(hires, Clerk(name=msg.label), id=msg.label, monitor=True, parent_close="abandon")
        return {"hired": msg.label}

    @graph.on(Down)
    async def hear(state: Ledger, msg: Down) -> Update:
        return {"downs": f"{msg.run_id} {msg.status}"}

    @graph.on(Alarm)
    async def wind(state: Ledger, msg: Alarm, ctx: Context) -> Update:
        ctx.set_timer(msg.label, Ring(label=msg.label), after=msg.after)
        return {"set": msg.label}

    @graph.on(Ring)
    async def ring(state: Ledger, msg: Ring) -> Update:
        return {"rang": msg.label}

    graph.on(Close)(_close)
    return graph


def agent(world: World) -> Graph[Agent]:
    """What it is sent it passes on, in order; and what it asks the ledger, it replies."""
    graph = Graph("agent", Agent, lifetime="actor")

    @graph.on(Forward)
    async def forward(state: Agent, msg: Forward, ctx: Context) -> Reply:
        await _works(world, msg.label)
        entry, receipt = Entry(label=f"{AGENT}.{msg.label}"), None
        if msg.ask:
            receipt = await ctx.ask(LEDGER, entry, type=list[int])
        else:
            await ctx.send(LEDGER, entry)
        return Reply(receipt, update={"entries": entry.label})

    graph.on(Close)(_close)
    return graph


def clerk(world: World) -> Graph[Clerk]:
    """Writes down two entries, sleeps, and asks for the receipt of a third."""
    graph = Graph("clerk", Clerk)

    @graph.node
    async def begin(state: Clerk, ctx: Context) -> None:
        await _works(world, state.name)
        for number in (1, 2):
            await ctx.send(LEDGER, Entry(label=f"{state.name}.{number}"))

    @graph.node(after=begin)
    async def rest(state: Clerk, ctx: Context) -> None:
        await ctx.sleep(world.pace)

    @graph.node(after=rest)
    async def end(state: Clerk, ctx: Context) -> Update:
        return {"receipt": await ctx.ask(LEDGER, Entry(label=f"{state.name}.3"), type=list[int])}

    return graph


def graphs(world: World) -> tuple[Graph[Any], ...]:
    """All of them."""
    return ledger(world), agent(world), clerk(world)


async def _close(state: Any, msg: Close) -> End | Goto:
    return END


async def _works(world: World, what: str) -> None:
    """Takes its time, as code of users does, and stands still with its process."""
    process = here()
    await process.running()
    world.note(process, f"works on {what}")
    await anyio.sleep(world.chance.uniform(0, world.pace / 10))
    await process.running()
