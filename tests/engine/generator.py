"""Random graphs: series, forks with joins, leaves, loops and choices, over fields that their nodes share.

Every graph is drawn from a seed. What it does depends on nothing but the
order in which its activations are merged, so two executions can be compared.
The bias is to leaves and to few shared fields: the worst mistakes hide elsewhere.
"""

from __future__ import annotations

import operator
import zlib
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

from actorflow.graph.graph import Graph
from actorflow.graph.reducers import bounded, dedupe, extend, merge
from actorflow.graph.retry import Retry
from actorflow.graph.routing import END, End, Goto
from actorflow.graph.state import State, Update
from tests.engine.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actorflow.engine.records import Record
    from tests.engine.witness import Ledger


class World(State):
    """Plain fields that conflict, counters of loops, and fields that merge."""

    a: int = 0
    b: int = 0
    c: int = 0
    round0: int = 0
    round1: int = 0
    round2: int = 0
    total: Annotated[int, operator.add] = 0
    high: Annotated[int, max] = 0
    log: Annotated[list[str], extend] = []
    facts: Annotated[dict[str, int], merge] = {}
    names: Annotated[list[str], dedupe()] = []
    latest: Annotated[list[str], bounded(3)] = []
    gathered: Annotated[list[int], extend] = []  # what items made
    mixed: Annotated[list[Any], extend] = []  # and the errors of others


PLAIN = ("a", "b", "c")
ROUNDS = ("round0", "round1", "round2")
MERGED = ("total", "high", "log", "facts", "names", "latest")
ROUNDS_TO_GO = 2
Block = tuple[str, str]  # its first node and its last


class Boom(Exception):
    """What fails in these graphs."""


class Sketch:
    """A random graph, and what each of its nodes reads and writes."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.graph = Graph(f"sketch-{seed}", World)
        self.reads: dict[str, frozenset[str]] = {}  # by the node itself and the branches after it
        self.writes: dict[str, frozenset[str]] = {}
        self.strike: Callable[[], None] = lambda: None  # raises when a branch is to fail
        self.flipped = False  # newer code, in which every choice is another one
        self._budget = self.rng.randint(4, 24)  # nodes, about
        self._rounds = list(ROUNDS)
        self._plain_share = self.rng.choice([0.0, 0.1, 0.3])
        start = self._task(entry=True)
        first, _ = self._block(depth=4, rounds=())
        self.graph.edge(start, first)

    # -- nodes ----------------------------------------------------------------------

    def _task(
        self,
        *,
        entry: bool = False,
        sets: dict[str, Callable[[World], int]] | None = None,
        goto: tuple[str | End, ...] = (),
        choose: Callable[[World], str | End] | None = None,
    ) -> str:
        """A node that writes some fields, as a function of some others."""
        rng, sets = self.rng, sets or {}
        name = f"n{len(self.writes)}"
        self._budget -= 1
        reads = tuple(field for field in (*PLAIN, "total") if rng.random() < 0.15)
        plain = tuple(field for field in PLAIN if rng.random() < self._plain_share)
        merged = tuple(field for field in MERGED if rng.random() < 0.3)
        number = zlib.crc32(name.encode()) % 97

        def node(state: World) -> Update | Goto:
            value = (number + sum(getattr(state, field) for field in reads)) % 9973
            update: dict[str, Any] = dict.fromkeys(plain, value)
            update |= {field: _addition(field, name, value) for field in merged}
            update |= {field: new(state) for field, new in sets.items()}
            return Goto(choose(state), update=update) if choose is not None else update

        self.reads[name] = frozenset(reads)
        self.writes[name] = frozenset((*plain, *merged, *sets))
        retry = Retry(attempts=2, backoff=rng.choice([0.1, 5.0]), jitter=False) if rng.random() < 0.3 else None
        self.graph.node(node, name=name, entry=entry, retry=retry, goto=goto)
        return name

    def witness(self, ledger: Ledger, records: Iterable[Record]) -> Any:
        """Who follows a run of this graph."""
        return Witness(ledger, records)

    def plain_writes(self, node: str) -> frozenset[str]:
        """The fields without reducer that a node writes."""
        return self.writes[node] - set(MERGED)

    # -- blocks -----------------------------------------------------------------------

    @property
    def kinds(self) -> list[Callable[..., Block]]:
        """What a block may be in more than a flat sketch."""
        return []

    def _block(self, *, depth: int, rounds: tuple[str, ...]) -> Block:
        """A part with one node to come in by and one to go out by. ``rounds`` are counters that it may read."""
        kinds = [self._series, self._fork, self._leaves, self._leaves, self._choice, self._choice]
        kinds += self.kinds
        if self._rounds:
            kinds.append(self._loop)
        if depth == 0 or self._budget <= 0:
            kinds = [self._single]
        return self.rng.choice(kinds)(depth=depth - 1, rounds=rounds)

    def _single(self, *, depth: int, rounds: tuple[str, ...]) -> Block:
        name = self._task()
        return name, name

    def _series(self, *, depth: int, rounds: tuple[str, ...]) -> Block:
        first, middle = self._block(depth=depth, rounds=rounds)
        second, last = self._block(depth=depth, rounds=rounds)
        self.graph.edge(middle, second)
        return first, last

    def _fork(self, *, depth: int, rounds: tuple[str, ...]) -> Block:
        fork = self._task()
        ways = [self._block(depth=depth, rounds=rounds) for _ in range(self.rng.choice([2, 2, 3]))]
        join = self._task()
        for first, _ in ways:
            self.graph.edge(fork, first)
        self.graph.edge([last for _, last in ways], join)
        return fork, join

    def _leaves(self, *, depth: int, rounds: tuple[str, ...]) -> Block:
        """A node with one or two ways out that lead nowhere; nothing waits for them."""
        name = self._task()
        for _ in range(self.rng.choice([1, 1, 2])):
            first, _ = self._block(depth=depth, rounds=())
            self.graph.edge(name, first)
        return name, name

    def _loop(self, *, depth: int, rounds: tuple[str, ...]) -> Block:
        counter = self._rounds.pop()
        head = self._task(sets={counter: lambda _: 0})
        first, last = self._block(depth=depth, rounds=(*rounds, counter))
        tail = self._task(sets={counter: lambda state: getattr(state, counter) + 1})
        done = self._task()

        def again(state: World) -> str:
            self.strike()
            return first if getattr(state, counter) < ROUNDS_TO_GO else done

        self.graph.edge(head, first)
        self.graph.edge(last, tail)
        self.graph.branch(again, after=tail, to=(first, done))
        self.reads[tail] |= {counter}
        return head, done

    def _choice(self, *, depth: int, rounds: tuple[str, ...]) -> Block:
        """A node from which one of two ways is taken, by its branch or by its Goto; some ways just end."""
        rng = self.rng
        ways = [self._block(depth=depth, rounds=rounds) for _ in range(2)]
        targets: list[str | End] = [first for first, _ in ways]
        if rng.random() < 0.4:
            targets.append(END)
        counter = rng.choice(rounds) if rounds and rng.random() < 0.7 else None
        constant = rng.randrange(len(targets))

        def choose(state: World) -> str | End:
            number = constant if counter is None else constant + getattr(state, counter)
            return targets[(number + self.flipped) % len(targets)]

        def branch(state: World) -> str | End:
            self.strike()
            return choose(state)

        if rng.random() < 0.5:
            name = self._task()
            self.graph.branch(branch, after=name, to=tuple(targets))
        else:
            name = self._task(goto=tuple(targets), choose=choose)
        self.reads[name] |= {counter} if counter is not None else set()
        meeting = self._task()
        for _, last in ways:
            self.graph.edge(last, meeting)
        return name, meeting


def _addition(field: str, name: str, value: int) -> Any:
    """What a node hands to a reducer."""
    return {"total": value, "high": value, "log": [name], "facts": {name: value}, "names": [name], "latest": [name]}[
        field
    ]
