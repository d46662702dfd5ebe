"""Ledgers: the long-lived actors of a soak, and the couriers that write to them; what must be true of them."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from anyio import sleep
from msgspec import Struct, field

from actorflow import END, Context, End, Goto, Graph, Mailbox, Message, Reply, Update
from tests.kill.graphs import Work, Work2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tests.soak.told import Line

LEDGER, COURIER = "ledger", "courier"
LEDGERS = tuple(f"0-{number}.{LEDGER}-sync" for number in range(3))
"""Their ids, as those of all runs of a soak say what they are."""

STOPS = 12
"""How many entries a courier takes to its ledger; with every fourth it waits for the place that it got."""

LONGEST_WAY = 0.3  # seconds
CLOSED = "close"


class Entry(Message, version=1):
    """Is written down. Of one version for ever: what was encoded by another is another message."""

    label: str


class Close(Message, version=1):
    """The soak is over."""


def ledger(version: int) -> Graph[Any]:
    """Writes down each entry, and replies which it is."""
    state = Work if version == 1 else Work2
    graph: Graph[Any] = Graph(LEDGER, state, lifetime="actor", mailbox=Mailbox(ids=1_000_000))  # clocks jump by years

    async def write(state: Any, msg: Entry) -> Reply:
        return Reply(state.n + 1, update={"n": state.n + 1, "items": [msg.label], "trace": ["write"]})

    async def close(state: Any, msg: Close) -> Goto | End:
        return Goto(END, update={"trace": [CLOSED]})

    graph.on(Entry)(write)
    graph.on(Close)(close)
    return graph


def courier(version: int) -> Graph[Any]:
    """Takes one entry after the other to a ledger. It tells nobody when its node starts: that does so again."""
    graph: Graph[Any] = Graph(COURIER, Work if version == 1 else Work2)

    async def turn(state: Any, ctx: Context) -> Update:
        await sleep(random.uniform(0, LONGEST_WAY))
        entry, target = Entry(label=f"{ctx.run_id}:{state.n + 1}"), ledger_of(ctx.run_id)
        update: dict[str, Any] = {"n": state.n + 1, "trace": ["turn"]}
        if (state.n + 1) % 4:
            await ctx.send(target, entry)
            return update
        return {**update, "items": [f"{await ctx.ask(target, entry, type=int)} {entry.label}"]}

    def again(state: Any) -> str | End:
        return "turn" if state.n < STOPS else END

    graph.node(turn, name="turn", entry=True)
    graph.branch(again, after="turn", to=("turn", END))
    return graph


def ledger_of(run_id: str) -> str:
    """To which of them a courier goes: the same whenever it is asked."""
    return LEDGERS[sum(run_id.encode()) % len(LEDGERS)]


def problem_of_courier(values: Mapping[str, Any]) -> str | None:
    """What is wrong with how one ended."""
    if values["trace"] == ["turn"] * STOPS and len(values["items"]) == STOPS // 4:
        return None
    return f"it made {len(values['trace'])} turns, and heard of {len(values['items'])} places"


class Book(Struct):
    """Everything that was told of what was sent to one ledger from outside of any run."""

    sent: set[str] = field(default_factory=set[str])
    kept: set[str] = field(default_factory=set[str])
    places: dict[str, set[int]] = field(default_factory=lambda: defaultdict[str, set[int]](set))

    def note(self, line: Line) -> None:
        """One more thing that was told; the label is its text, the place its number."""
        self.sent.add(line.text)
        if line.what == "kept":
            self.kept.add(line.text)
            if line.seq > 0:
                self.places[line.text].add(line.seq)

    def problems(
        self, run: str, entries: Sequence[str], *, waiting: Iterable[str], dead: Iterable[str], ended: bool
    ) -> Iterator[str]:
        """Whether each message counts once, none is lost, and each lane is in order.

        Args:
            run: the ledger.
            entries: what it has written, in order.
            waiting: the labels of what it is still to come to.
            dead: those of what nobody will handle.
            ended: nothing waits any more.
        """
        there, yet = Counter(entries), set(waiting)
        yield from (f"{run}: {label} is dead" for label in dead)
        yield from (f"{run}: {label} counts {times} times" for label, times in there.items() if times > 1)
        for label in self.kept - there.keys():
            if ended or label not in yet:
                yield f"{run}: {label} was kept, and is lost"
        lanes: dict[str, list[str]] = defaultdict(list)
        for label in entries:
            courier, colon, number = label.rpartition(":")
            if colon:
                lanes[courier].append(number)
            elif label not in self.sent:
                yield f"{run}: {label} counts, and nobody has sent it"
        for courier, numbers in lanes.items():
            if numbers != [str(number + 1) for number in range(STOPS)][: len(numbers)]:
                yield f"{run}: from {courier} came {', '.join(numbers)}"
            elif ended and len(numbers) < STOPS:
                yield f"{run}: from {courier} came only {len(numbers)}"
        for label, places in self.places.items():
            if any(place > len(entries) or entries[place - 1] != label for place in places):
                yield f"{run}: {label} was told to have place {sorted(places)}, and has not"
