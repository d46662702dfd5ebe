"""Nested sketches: random graphs with fan-outs, sends, graphs inside, joins of some legs, deferred nodes.

What an item, or a graph inside, makes depends on nothing but what went in, so
that two executions can be compared as those of a flat sketch can.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from actorflow.graph.retry import Retry
from actorflow.graph.routing import Send
from tests.engine.generator import MERGED, PLAIN, Block, Sketch, World
from tests.engine.overseer import Overseer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actorflow.engine.records import Record
    from actorflow.graph.state import Update
    from tests.engine.witness import Ledger

DEEPEST = 2  # graphs inside graphs


class Spoilt(Exception):
    """What an item raises whenever it is tried."""


class NestedSketch(Sketch):
    """A sketch in which some nodes are fan-outs, or graphs of sketches of their own."""

    def __init__(self, seed: int, *, level: int = 0) -> None:
        self.level = level
        self.inside: dict[str, NestedSketch] = {}  # by node
        super().__init__(seed)
        self.loose = any(node.join is not None for node in self.graph.plan.nodes.values()) or any(
            one.loose for one in self.inside.values()
        )  # which legs open a join of some, and so the keys after it, is timing

    def table(self) -> dict[str, NestedSketch]:
        """This sketch and all inside it, by the names of their graphs."""
        found = {self.graph.name: self}
        for one in self.inside.values():
            found |= one.table()
        return found

    def witness(self, ledger: Ledger, records: Iterable[Record]) -> Overseer:
        """The overseer."""
        return Overseer(ledger, records, self)

    @property
    def kinds(self) -> list[Callable[..., Block]]:
        """What a block may be, beside what it may be in a flat sketch."""
        deeper = [self._inner, self._inner] if self.level < DEEPEST else []
        return [self._map, self._map, self._sends, self._some, self._shared, *deeper]

    def _seed(self) -> int:
        return self.rng.randrange(1 << 30)

    def _child(self) -> NestedSketch:
        child = NestedSketch(self._seed(), level=self.level + 1)
        child.strike = lambda: self.strike()  # noqa: PLW0108 - the player sets it later
        return child

    def _note(self, name: str, reads: frozenset[str], writes: frozenset[str]) -> Block:
        self.reads[name], self.writes[name] = reads, writes
        self._budget -= 2
        return name, name

    def _name(self) -> str:
        return f"n{len(self.writes)}"

    # -- blocks ---------------------------------------------------------------------------

    def _inner(self, *, depth: int, rounds: tuple[str, ...]) -> Block:
        name, child = self._name(), self._child()
        self.inside[name] = child
        kept = self.rng.random() < 0.3
        passed = [*MERGED, *(field for field in PLAIN if self.rng.random() < 0.5)]
        # what goes in is read, where it can be read inside; a kept state is also what earlier visits made of it
        self.graph.subgraph(
            child.graph, name=name, enter=passed, leave=passed, lifetime="run" if kept and not rounds else "visit"
        )
        written = frozenset(field for one in child.table().values() for names in one.writes.values() for field in names)
        read = frozenset(field for one in child.table().values() for names in one.reads.values() for field in names)
        return self._note(name, (read | written) & set(passed), written & set(passed))

    def _shared(self, *, depth: int, rounds: tuple[str, ...]) -> Block:
        """Several ways into one graph whose state is kept: one after the other is in it, and then nothing follows."""
        fork, child = self._task(), self._child()
        ways = [self._task() for _ in range(self.rng.choice([2, 3]))]
        name = self._name()
        self.inside[name] = child
        self.graph.subgraph(child.graph, name=name, enter=[], leave=["log", "total"], lifetime="run")
        for way in ways:
            self.graph.edge(fork, way)
            self.graph.edge(way, name)
        self._note(name, frozenset({"log", "total"}), frozenset({"log", "total"}))
        return fork, fork

    def _map(self, *, depth: int, rounds: tuple[str, ...]) -> Block:
        name, rng = self._name(), self.rng
        count, limit = rng.choice([0, 1, 2, 3, 5]), rng.choice([1, 2, 10])
        retry = Retry(attempts=3, backoff=rng.choice([0.1, 5.0]), jitter=False) if rng.random() < 0.4 else None
        collects = rng.random() < 0.3
        into = "mixed" if collects else "gathered"
        options: dict[str, Any] = {"into": into, "limit": limit, "retry": retry, "name": name}
        options |= {"on_error": "collect" if collects else "fail"}
        if self.level < DEEPEST and rng.random() < 0.4:
            child = self._child()
            self.inside[name] = child
            self.graph.map(
                child.graph,
                over=lambda state: list(range(count)),
                enter=lambda item, state: World(total=item),
                leave=lambda state: state.total,
                **options,
            )
        else:

            def score(item: int) -> int:
                if collects and item % 3 == 1:
                    raise Spoilt(str(item))
                return item * 7 + zlib.crc32(name.encode()) % 5

            self.graph.map(score, over=count if rng.random() < 0.5 else lambda state: range(count), **options)
        return self._note(name, frozenset(), frozenset({into}))

    def _sends(self, *, depth: int, rounds: tuple[str, ...]) -> Block:
        sender, target, after = (f"n{len(self.writes) + more}" for more in range(3))
        count = self.rng.choice([1, 2, 4])

        def send(state: World) -> list[Send]:
            return [Send(target, number) for number in range(count)]

        def take(number: int) -> Update:
            return {"log": [f"{target}.{number}"], "total": number}

        self.graph.node(send, name=sender, send=target)
        self.graph.node(take, name=target, takes=int)
        self._note(sender, frozenset(), frozenset())
        self._note(target, frozenset(), frozenset({"log", "total"}))
        last = self._task()
        assert last == after
        self.graph.edge(target, last)
        return sender, last

    def _some(self, *, depth: int, rounds: tuple[str, ...]) -> Block:
        """A fork whose ways meet again when some of them are done, or when nothing else goes on."""
        fork = self._task()
        ways = [self._block(depth=depth, rounds=()) for _ in range(self.rng.choice([2, 3]))]
        for first, _ in ways:
            self.graph.edge(fork, first)
        how = self.rng.choice(["any", 2, "defer"])
        join = self._name()
        self.graph.node(self._writer(join), name=join, join="all" if how == "defer" else how, defer=how == "defer")
        self._note(join, frozenset(), frozenset({"total"}))
        self.graph.edge([last for _, last in ways], join)
        return fork, join

    def _writer(self, name: str) -> Callable[[World], Update]:
        def node(state: World) -> Update:
            return {"total": zlib.crc32(name.encode()) % 97}

        return node
