"""Plan: a graph that passed its checks, compiled and frozen: all that the engine reads of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct, msgpack

from actorflow.errors import UndeclaredTarget
from actorflow.graph.message import Mailbox
from actorflow.graph.node import Node
from actorflow.graph.routing import END, End, as_tuple, label
from actorflow.graph.schema import Schema
from actorflow.graph.signature import identity
from actorflow.graph.undo import Undo, undos_within

if TYPE_CHECKING:
    from collections.abc import Iterator


DIGEST_SIZE = 16  # bytes

Lifetime = Literal["run", "actor"]
"""Whether a run is over when none of its nodes goes on, or then waits for messages."""

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})
_NAMED: Final = (str, End)  # asking a tuple is quicker than making a union of it each time


class Branch(Struct, frozen=True):
    """A pure function that names the next nodes after ``source`` has finished."""

    source: str
    fn: Callable[[Any], Any]
    targets: tuple[str | End, ...]


class Plan(Struct, frozen=True, eq=False, dict=True):
    """Nodes and what leads where, by name. A node without edges, legs, branches or joins is no key there.

    A join's inlets are groups of legs, two or more each; a plain edge into a
    node is a group of its own and stands in ``edges``.
    """

    graph: str
    schema: Schema
    nodes: Mapping[str, Node]  # in the order of declaration
    edges: Mapping[str, tuple[str | End, ...]]  # by source
    legs: Mapping[str, tuple[str, ...]]  # by source: the joins it is a leg of
    joins: Mapping[str, tuple[tuple[str, ...], ...]]  # by target: its inlets
    branches: Mapping[str, tuple[Branch, ...]]  # by source
    entries: tuple[str, ...]
    max_activations: int
    max_items: int = 100_000
    max_steps: int = 10_000  # of one activation
    max_state: int | None = None  # bytes
    record_backoff_over: float = 1.0  # seconds
    interrupt_before: frozenset[str] = frozenset()
    interrupt_after: frozenset[str] = frozenset()
    undos: Mapping[str, Undo] = MappingProxyType({})  # what undoes steps, by name
    lifetime: Lifetime = "run"
    handlers: Mapping[str, str] = _NONE  # by the schema name of the messages: the node that handles them
    messages: Mapping[str, Schema] = _NONE  # by name: all that a run takes, whether handled or received by its nodes
    mailbox: Mailbox = Mailbox()

    @cached_property
    def digest(self) -> bytes:
        """Names the topology: equal whenever nodes and what leads where are, whatever the order or the code."""
        topology = (
            sorted((name, _plain(node.goto)) for name, node in self.nodes.items()),
            sorted((source, _plain(targets)) for source, targets in self.edges.items()),
            sorted((target, sorted(map(sorted, inlets))) for target, inlets in self.joins.items()),
            sorted(
                (source, sorted(_plain(branch.targets) for branch in branches))
                for source, branches in self.branches.items()
            ),
        )
        special = sorted(
            (name, node.join, node.defer, node.send, *_more(node))
            for name, node in self.nodes.items()
            if node.join is not None or node.defer or node.send or any(_more(node))
        )
        mail = (self.lifetime, sorted(self.handlers.items()))
        data = msgpack.encode((*topology, special) if special else topology)
        if mail != ("run", []):  # else as it was before there were any
            data += msgpack.encode(mail)
        return hashlib.blake2b(data, digest_size=DIGEST_SIZE).digest()

    @cached_property
    def all_undos(self) -> Mapping[str, Undo]:
        """What undoes steps of this graph and of those inside it, by name."""
        return undos_within(self)

    @cached_property
    def leaves(self) -> frozenset[str]:
        """The nodes that nothing leaves; an edge to END does."""
        led = self.edges.keys() | self.legs.keys() | self.branches.keys()
        return frozenset(name for name, its in self.nodes.items() if not (name in led or its.goto or its.send))

    def is_leaf(self, node: str) -> bool:
        """Whether nothing leaves this node."""
        return node in self.leaves

    def is_handler(self, node: str) -> bool:
        """Whether messages lead to this node, and nothing else."""
        return self.nodes[node].message is not None

    def is_held(self, target: str) -> bool:
        """Whether tokens wait in front of this node, instead of opening it one by one."""
        return target in self.joins or self.nodes[target].defer

    def routes(self, node: str) -> Iterator[str | End]:
        """Where its branches, a returned Goto or Send, and its failure may lead."""
        for branch in self.branches.get(node, ()):
            yield from branch.targets
        yield from self.nodes[node].goto
        yield from self.nodes[node].send
        if (handler := self.nodes[node].on_error) is not None and handler.node is not None:
            yield handler.node

    def successors(self, node: str) -> tuple[str | End, ...]:
        """Everything that this node may lead to, each once: along edges, legs, branches and Goto."""
        return tuple(dict.fromkeys((*self.edges.get(node, ()), *self.legs.get(node, ()), *self.routes(node))))

    def route(self, node: str, answer: object, declared: tuple[str | End, ...]) -> tuple[str | End, ...]:
        """The names that a branch's result or ``Goto.targets`` means, each once, out of those ``declared``.

        Raises:
            UndeclaredTarget: it names another target, or is no target at all.
        """
        if isinstance(answer, _NAMED) and answer in declared:  # what most of them answer
            return (answer,)
        return tuple(dict.fromkeys(self._declared(node, target, declared) for target in as_tuple(answer)))

    def _declared(self, node: str, target: object, declared: tuple[str | End, ...]) -> str | End:
        if isinstance(target, _NAMED):
            found = [target] if target in declared else []
        elif callable(target):
            same = identity(target)
            found = [name for name in declared if isinstance(name, str) and identity(self.nodes[name].fn) == same]
        else:
            found = []
        if len(found) != 1:  # two: a function declared as two nodes, both of them targets
            raise UndeclaredTarget(node, label(target), map(label, declared))
        return found[0]


def _more(node: Node) -> tuple[str | None, str | None]:
    """The graph inside a node, and the node that takes over for it."""
    return (
        None if node.inner is None else node.inner.graph.name,
        None if node.on_error is None else node.on_error.node,
    )


def _plain(targets: tuple[str | End, ...]) -> list[str]:
    return sorted(END.value if isinstance(target, End) else target for target in targets)
