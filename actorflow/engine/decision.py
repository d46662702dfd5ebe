"""Decision: what an event leads to, while it is being decided and when it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from actorflow.engine.events import Command, Crash, Tell
from actorflow.engine.fold import fold
from actorflow.engine.records import Failed, Record, describe
from actorflow.engine.run import Activation, FanOut, RunState, Scope
from actorflow.graph.node import Node
from actorflow.graph.plan import Plan
from actorflow.graph.routing import End

if TYPE_CHECKING:
    from actorflow.graph.schema import Schema


class Decision(Struct):
    """What an event leads to. ``cause`` is the live exception of a run that failed, for the one who waits.

    ``begin``, ``done`` and ``look`` are what the records so far leave to be
    decided: activations that opened, owners of fan-outs whose items may all be
    done, and scopes in which nothing may be left to do.
    """

    plan: Plan
    run: RunState
    records: list[Record] = []
    commands: list[Command] = []
    cause: BaseException | None = None
    begin: list[int] = []
    done: list[int] = []
    look: list[str] = []
    leaving: tuple[str, tuple[str | End, ...]] | None = None  # a scope that one of its nodes leaves, and where to
    now: float = 0.0  # seconds since the epoch

    def note(self, record: Record) -> None:
        """Fold a record and keep it for the commit. What it opens is to begin."""
        first = self.run.next_id
        self.run = run = fold(self.run, record)
        self.records.append(record)
        if run.next_id > first:
            self.begin.extend(range(first, run.next_id))

    def fail(self, id_: int | None, error: BaseException) -> None:
        """The run fails, by this activation or as a whole; nothing else is to be done."""
        self.note(Failed(id_, describe(error)))
        self.drop_commands()
        self.begin.clear()
        self.done.clear()
        self.look.clear()
        self.cause = error

    def drop_commands(self) -> None:
        """Nothing is to be done in the run any more; whoever was answered is told so all the same."""
        self.commands = [command for command in self.commands if isinstance(command, Tell)]

    def crash(self, id_: int, error: Exception) -> None:
        """Let the actor crash; the supervisor decides."""
        self.commands.append(Crash(id_, error))

    def plan_of(self, path: str) -> Plan:
        """The plan of the graph that runs in a scope."""
        return plan_of(self.plan, self.run, path)

    def place(self, activation: Activation) -> Place:
        """An activation with all that its graph says about it."""
        return place_of(self.plan, self.run, activation)


class Place(Struct, frozen=True):
    """An activation, and where it is in the graph and in the run."""

    activation: Activation
    plan: Plan
    node: Node
    scope: Scope
    run: RunState
    root: Plan

    @property
    def schema(self) -> Schema:
        """Of the state of its scope."""
        return self.plan.schema

    @property
    def is_item(self) -> bool:
        """Whether it is an item of a fan-out."""
        return self.activation.fan is not None

    @property
    def around(self) -> Place | None:
        """The owner of its scope; None at the root."""
        owner = self.scope.owner
        return None if owner is None else place_of(self.root, self.run, self.run.open[owner])

    @property
    def owner_fan(self) -> tuple[Activation, FanOut]:
        """Of an item: who owns its fan-out, and that."""
        assert self.activation.fan is not None
        return self.run.open[self.activation.fan], self.run.fans[self.activation.fan]


def place_of(plan: Plan, run: RunState, activation: Activation) -> Place:
    """An activation with all that its graph says about it, given the plan of the root."""
    scope = run.scopes[activation.scope]
    its = plan if scope.owner is None else plan_of(plan, run, activation.scope)
    return Place(activation, its, its.nodes[activation.node], scope, run, plan)


def plan_of(plan: Plan, run: RunState, path: str) -> Plan:
    """The plan of the graph that runs in a scope, given that of the root."""
    owner = run.scopes[path].owner
    if owner is None:
        return plan
    activation = run.open[owner]
    inner = plan_of(plan, run, activation.scope).nodes[activation.node].inner
    assert inner is not None, "a scope belongs to a node that is a graph; adoption checks it"
    return inner.plan


def depth_of(run: RunState, path: str) -> int:
    """How many scopes lie around this one."""
    depth = 0
    while (owner := run.scopes[path].owner) is not None:
        path = run.open[owner].scope
        depth += 1
    return depth
