"""Compiling: from what was declared to a Plan, collecting every mistake on the way."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from actorflow.errors import DuplicateMigration
from actorflow.graph.accepting import Accepted, accepted
from actorflow.graph.check import problems_of_shape
from actorflow.graph.codec import problems_of_codecs
from actorflow.graph.middleware import problems_of_middleware
from actorflow.graph.migrate import migrations_of, register
from actorflow.graph.naming import Names
from actorflow.graph.node import Node, problems_of_name
from actorflow.graph.node_reading import NodeReader
from actorflow.graph.plan import Plan
from actorflow.graph.problems import Problems
from actorflow.graph.retry import problems_of_retry
from actorflow.graph.routing import End, as_tuple, label
from actorflow.graph.schema import schema_of
from actorflow.graph.state import State
from actorflow.graph.timeouts import problems_of_timeout
from actorflow.graph.undo import problems_of_undos, undos_of
from actorflow.graph.wiring import Wiring

if TYPE_CHECKING:
    from actorflow.graph.declaration import Declaration


def compile_graph(declaration: Declaration) -> tuple[Plan, tuple[str, ...]]:
    """The plan, and all that is wrong with it. With any problem it is partly guessed and must not be run."""
    return _Compilation(declaration).run()


class _Compilation:
    """One pass over a declaration. It notes a mistake and goes on as if what is near were meant."""

    def __init__(self, declaration: Declaration) -> None:
        self._graph = declaration
        self._problems = Problems()
        self._codecs = () if problems_of_codecs(declaration.types) else declaration.types
        has_state = _is_state(declaration.state_type)
        self._schema = schema_of(declaration.state_type, self._codecs) if has_state else None  # None: none could be
        self._read_graph()
        self._names = Names(declaration.nodes, self._problems)
        self._wiring = Wiring(self._names, self._problems)

    def run(self) -> tuple[Plan, tuple[str, ...]]:
        graph, problems = self._graph, self._problems
        reader = NodeReader(graph, self._schema, self._names, problems)
        nodes = {name: reader.read(name, declared) for name, declared in self._names.declared.items()}
        self._wiring.read_edges(graph.edges)
        self._wiring.read_branches(graph.branches, None if self._schema is None else graph.state_type)
        accepts = accepted(graph, self._names.declared)
        problems.found.extend(accepts.problems)
        plan = self._plan(nodes, accepts)
        self._check_sent(plan)
        problems.found.extend(problems_of_shape(plan, self._wiring.loose))
        return plan, tuple(problems.found)

    def _read_graph(self) -> None:
        graph, found = self._graph, self._problems.found
        self._problems.note("the graph", problems_of_name(graph.name))
        if (schema := self._schema) is not None:
            found.extend(problems_of_codecs(graph.types))
            found.extend(schema.problems)
            migrations = migrations_of(schema, graph.migrations)
            try:
                register(schema, migrations)
            except DuplicateMigration as error:
                found.append(str(error))
            for migration in migrations:
                if migration.takes is not None:
                    # Made now, by one thread: a recovery migrates many runs at once, and while msgspec makes
                    # what it knows of a type, another thread that needs the same type crashes the process.
                    found.extend(schema_of(migration.takes, self._codecs).problems)
        else:
            found.append(f"the state must be a subclass of State, not {label(graph.state_type)}")
        limits = (
            ("max_activations", graph.max_activations),
            ("max_items", graph.max_items),
            ("max_steps", graph.max_steps),
        )
        for what, limit in limits:
            if type(limit) is not int or limit < 1:
                found.append(f"the graph: {what}={limit!r}: give a number of at least 1")
        size, over = graph.max_state, cast("object", graph.record_backoff_over)
        if size is not None and (type(size) is not int or size < 1):
            found.append(f"the graph: max_state={size!r}: give a number of bytes, or None for no limit")
        if not isinstance(over, int | float) or not over >= 0:  # NaN is neither
            found.append(f"the graph: record_backoff_over={over!r}: give seconds, at least 0")
        self._problems.note("the graph", problems_of_retry(graph.retry))
        self._problems.note("the graph", problems_of_timeout(graph.timeout, sync=False))
        self._problems.note("the graph", problems_of_middleware(graph.middleware))
        found.extend(problems_of_undos(graph.undos))

    def _plan(self, nodes: dict[str, Node], accepts: Accepted) -> Plan:
        for old, new in self._graph.moves.items():
            place = f"moves={{{old!r}: {new!r}}}"
            if not isinstance(new, End):
                self._names.named(new, place)
            if old in nodes:  # it would be moved on at each restart
                self._problems.note(place, [f"{old!r} is still a node here; only nodes that are gone are moved"])
        return Plan(
            graph=self._graph.name,
            schema=self._schema or schema_of(State, self._codecs),
            nodes=MappingProxyType(nodes),
            edges=self._wiring.edges,
            legs=self._wiring.legs,
            joins=self._wiring.joins,
            branches=self._wiring.branches,
            entries=self._wiring.entries(nodes),
            max_activations=self._graph.max_activations,
            max_items=self._graph.max_items,
            max_steps=self._graph.max_steps,
            max_state=self._graph.max_state,
            record_backoff_over=self._graph.record_backoff_over,
            interrupt_before=self._held("interrupt_before", self._graph.interrupt_before, nodes),
            interrupt_after=self._held("interrupt_after", self._graph.interrupt_after, nodes),
            undos=MappingProxyType(undos_of(self._graph.undos)),
            lifetime="actor" if self._graph.lifetime == "actor" else "run",
            handlers=MappingProxyType(accepts.handlers),
            messages=MappingProxyType(accepts.messages),
            mailbox=self._graph.mailbox,
        )

    def _held(self, what: str, given: object, nodes: dict[str, Node]) -> frozenset[str]:
        """The nodes before or after which a run waits; ``"*"`` is all of them."""
        if given == "*":
            return frozenset(name for name, node in nodes.items() if node.message is None)
        found = (self._names.find(reference, f"the graph, {what}=") for reference in as_tuple(given))
        return frozenset(name for name in found if name is not None)

    def _check_sent(self, plan: Plan) -> None:
        """Things are sent to the nodes that take them, and nothing else leads there."""
        note = self._problems.note
        routed: set[str | End | None] = set()
        for node in plan.nodes.values():
            routed.update(node.goto, () if node.on_error is None else (node.on_error.node,))
        for name, node in plan.nodes.items():
            for target in node.send:
                if plan.nodes[target].fan is not None:
                    note(node.place, [f"it sends to {target!r}, a map, whose items are what over= says; say goto="])
                elif plan.nodes[target].takes is None and plan.nodes[target].inner is None:
                    note(node.place, [f"it sends to {target!r}, which takes the state; give that one takes="])
            sent = node.takes is not None and node.fan is None
            if sent and (name in plan.entries or name in routed or self._wiring.leads_to(name)):
                what = "edge, branch, Goto, error or entry"
                note(node.place, [f"it takes what is sent to it, so no {what} can lead there"])


def _is_state(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, State)
