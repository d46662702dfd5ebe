"""A run driven by decide() alone: what an actor does, without loop, clock or storage.

`Driver` keeps the two things that a real run has: the live run, and the log of
committed records that outlives it. A test says which activation returns or
raises next, when a commit happens, and when everything in memory is lost.
"""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any, Literal

import msgspec

import actorflow.engine.decision as deciding
from actorflow.engine.decide import decide
from actorflow.engine.events import (
    Answering,
    Crash,
    Due,
    Expire,
    GaveUp,
    Inputting,
    Pausing,
    Raised,
    Receiving,
    Retry,
    Returned,
    Start,
    Stop,
    Suspended,
    Sweep,
    Tell,
    Updating,
)
from actorflow.engine.fold import begin
from actorflow.engine.keys import key_of
from actorflow.engine.merge import typed
from actorflow.engine.operations import thaw
from actorflow.engine.records import Ask, Body, Claimed, Finished, Record, Spawned, decode_body, encode_body
from actorflow.engine.run import Form
from actorflow.engine.spawn import spawn
from actorflow.engine.tokens import check_nodes
from actorflow.graph.schema import schema_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actorflow.engine.decision import Decision
    from actorflow.engine.events import Event
    from actorflow.engine.mail import Said
    from actorflow.engine.run import Activation, RunState, Scope
    from actorflow.graph.graph import Graph
    from actorflow.graph.message import Message
    from actorflow.graph.schema import Schema
    from actorflow.graph.state import State

Durability = Literal["sync", "async", "exit"]


class Driver:
    """One run, its live state and its log.

    Under ``sync`` an activation may start once the commit that opened it is
    made; under ``async`` and ``exit`` at once, so that a crash can lose a suffix.
    """

    def __init__(self, graph: Graph[Any], state: State, *, durability: Durability = "sync") -> None:
        self.graph = graph
        self.commits: list[bytes] = []  # each an encoded body: what a crash leaves
        self.pending: list[Record] = []
        self.lost = 0  # records that were never committed
        self.held: list[Start | Retry | Expire | Tell] = []  # commands that wait for the commit
        self.ready: dict[int, int] = {}  # activation that may run now: its attempt
        self.expiring: dict[int, float] = {}  # activation that is to be told of a time, and when
        self.alarm: float | None = None  # when the run as a whole is to be told of a time
        self.told: dict[bytes, Said] = {}  # by message: what whoever asked was told
        self.crashed: Crash | None = None
        self.cause: BaseException | None = None
        decision = spawn(graph.plan, state, run_id="run", durability=durability)
        self.run = decision.run
        self._take(decision)
        self.commit()
        if not decision.commands:  # it is over already, or has something to wait for
            self.settle(Sweep())

    # -- what is there ------------------------------------------------------------

    @property
    def schema(self) -> Schema:
        """The schema of the graph's State."""
        return schema_of(self.graph.state_type)

    @property
    def state(self) -> Any:
        """The typed state of the run."""
        return typed(self.schema, self.run.root.values)

    @property
    def frontier(self) -> list[str]:
        """The nodes that are open, oldest first."""
        return [activation.node for activation in self.run.open.values()]

    @property
    def running(self) -> list[str]:
        """Where something may run now, oldest first: ``scope/node``, and of an item ``scope/node[index]``."""
        return [place(self.run.open[id_]) for id_ in sorted(self.ready)]

    def open_at(self, node: str) -> Activation:
        """The oldest open activation of a node, by its name or by where it stands; rather one that may run now."""
        found = [one for one in self.run.open.values() if node in _names(one)]
        return next((one for one in found if one.id in self.ready), found[0])

    def scope(self, path: str) -> Scope:
        """A scope of the run."""
        return self.run.scopes[path]

    @property
    def history(self) -> list[Record]:
        """All committed records, decoded from their bytes."""
        return [record for body in self.commits for record in decode_body(body).records]

    @property
    def finishes(self) -> int:
        """How many activations have finished, by the log."""
        return sum(isinstance(record, Finished) for record in self.history)

    # -- events -------------------------------------------------------------------

    def returns(self, node: str, value: Any = None, *, took: float = 0.0) -> Decision:
        """The oldest activation of a node returns; its records are committed."""
        one = self.open_at(node)
        return self.settle(Returned(one.id, value, took, attempt=self.ready.get(one.id, one.attempt + 1)))

    def raises(self, node: str, error: Exception | None = None, *, chance: float = 0.0, now: float = 0.0) -> Decision:
        """The oldest activation of a node raises in the attempt that is its turn."""
        one = self.open_at(node)
        attempt = self.ready.get(one.id, one.attempt + 1)
        return self.settle(Raised(one.id, error or RuntimeError("boom"), attempt, now, chance))

    def suspends(self, node: str, *asks: Ask) -> Decision:
        """The oldest activation of a node stops at questions."""
        return self.settle(Suspended(self.open_at(node).id, asks))

    def answers(self, value: Any = None, to: str | None = None) -> Decision:
        """Somebody answers a question."""
        return self.settle(Answering(value, to, by="a test"))

    def updates(self, values: dict[str, Any], node: str | None = None, *, idle: bool = False) -> Decision:
        """Somebody changes the state, perhaps as a node."""
        return self.settle(Updating(values, node, by="a test", idle=idle))

    def gets(self, values: dict[str, Any], on_pending: Literal["error", "queue", "discard"] = "error") -> Decision:
        """Somebody gives more input."""
        return self.settle(Inputting(values, on_pending, by="a test"))

    def pauses(self, *, on: bool = True) -> Decision:
        """Somebody pauses the run, or lets it go on."""
        return self.settle(Pausing(on, by="a test"))

    def waits(self, node: str) -> Decision:
        """The time comes that an activation was waiting for."""
        one = next(self.run.open[id_] for id_ in self.expiring if node in _names(self.run.open[id_]))
        return self.settle(Due(one.id, self.expiring.pop(one.id)))

    def gives_up(self) -> Decision:
        """The supervisor does not restart the run after the crash that it has just had."""
        assert self.crashed is not None
        key = self.run.open[self.crashed.id].key
        return self.settle(GaveUp(key, self.crashed.error))

    def gets_message(self, message: Message, id: str = "", **how: Any) -> bytes:
        """Somebody sends the run a message; its id there. With an ``id`` of the caller's, it is sent once."""
        identity = how.pop("identity", None) or (key_of(id.encode()) if id else os.urandom(16))
        schema = schema_of(type(message))
        values = schema.codecs.plain(message)
        content = key_of(schema.codecs.encode(values)) if id else b""
        form = Form(schema.name, schema.version, schema.table)
        self.settle(Receiving(identity, form=form, values=values, caller=id or None, content=content, **how))
        return identity

    def stop(self) -> Decision:
        """Somebody cancels the run."""
        return self.settle(Stop("cancelled", by="a test"))

    def settle(self, event: Event) -> Decision:
        """Decide and commit."""
        decision = self.decide(event)
        self.commit()
        return decision

    def decide(self, event: Event) -> Decision:
        """Decide; nothing is durable yet."""
        if isinstance(event, Returned | Raised | Suspended):
            self.ready.pop(event.id, None)
        decision = decide(self.graph.plan, self.run, event)
        self._take(decision)
        return decision

    def commit(self) -> None:
        """Make what was decided durable, and release what waited for it."""
        if self.pending:
            self.commits.append(encode_body(Body(tuple(self.pending))))
        self.pending = []
        self._release()

    def _take(self, decision: Decision) -> None:
        self.run = decision.run
        self.cause = decision.cause or self.cause
        self.pending += decision.records
        for command in decision.commands:
            if isinstance(command, Crash):
                self.crashed = command
            else:
                self.held.append(command)
        self.ready = {id_: attempt for id_, attempt in self.ready.items() if id_ in self.run.open}
        self.expiring = {id_: due for id_, due in self.expiring.items() if id_ in self.run.open}
        if self.run.durability != "sync":
            self._release()

    def _release(self) -> None:
        for command in self.held:
            if command.id not in self.run.open and command.id:
                continue
            match command:
                case Tell(message=message, said=said):
                    self.told[message] = said
                case Expire(0, due):
                    self.alarm = due
                case Start(id_):
                    self.ready[id_] = self.run.open[id_].attempt + 1
                case Retry(id_, attempt):
                    self.ready[id_] = attempt
                case Expire(id_, due):
                    self.expiring[id_] = due
        self.held = []

    # -- incarnations -------------------------------------------------------------

    def recover(self, *, graph: Graph[Any] | None = None, reopen: bool = False, unclean: bool = False) -> Decision:
        """Lose everything that is not committed; claim, load and sweep, perhaps under newer code."""
        self.graph = graph or self.graph
        self.lost += len(self.pending)
        self.pending, self.held, self.ready, self.crashed, self.cause = [], [], {}, None, None
        self.expiring = {}
        self.run = replayed(self.history)
        check_nodes(self.graph.plan, self.run)
        claim = Claimed(epoch=self.run.epoch + 1, opening=self.run.opening + reopen)
        self.run = deciding.fold(self.run, claim)
        self.commits.append(encode_body(Body((claim,))))
        return self.settle(Sweep(unclean=unclean))

    def reopen(self, *, graph: Graph[Any] | None = None) -> Decision:
        """What `resume` does with a run that ended."""
        return self.recover(graph=graph, reopen=True)


def replayed(records: Iterable[Record]) -> RunState:
    """The fold of a history from its start, each run spent by the next record."""
    *_, run = steps(records)
    return run


def steps(records: Iterable[Record]) -> Iterator[RunState]:
    """The run after each record, spent by the next one."""
    run: RunState | None = None
    for record in records:
        if run is None:
            assert isinstance(record, Spawned)
            run = begin(record)
        else:
            run = deciding.fold(run, record)
        yield run


def place(activation: Activation) -> str:
    """Where an activation stands: the path of its scope, its node, and its index if it is an item."""
    where = f"{activation.scope}/{activation.node}" if activation.scope else activation.node
    return where if activation.index is None else f"{where}[{activation.index}]"


def _names(activation: Activation) -> tuple[str, str]:
    return activation.node, place(activation)


def copied(run: RunState) -> RunState:
    """A run that shares nothing with this one that fold would change in place: all but values and results."""
    return msgspec.structs.replace(
        run,
        scopes={path: _copied_scope(scope) for path, scope in run.scopes.items()},
        open={id_: _copied_activation(activation) for id_, activation in run.open.items()},
        fans={
            owner: msgspec.structs.replace(fan, results=fan.results.copy(), failed=fan.failed.copy())
            for owner, fan in run.fans.items()
        },
        forms=run.forms.copy(),
        queue=run.queue.copy(),
        tags=run.tags.copy(),
        saga=run.saga.copy(),
        mail=copy.deepcopy(run.mail),
    )


def _copied_scope(scope: Scope) -> Scope:
    return msgspec.structs.replace(
        scope,
        waiting={
            target: {leg: [msgspec.structs.replace(token) for token in tokens] for leg, tokens in legs.items()}
            for target, legs in scope.waiting.items()
        },
        parked={leaf: msgspec.structs.replace(token) for leaf, token in scope.parked.items()},
        late={target: legs.copy() for target, legs in scope.late.items()},
        handed={name: updates.copy() for name, updates in scope.handed.items()},
    )


def _copied_activation(activation: Activation) -> Activation:
    return msgspec.structs.replace(
        activation,
        asks=activation.asks.copy(),
        answers=activation.answers.copy(),
        memos=activation.memos.copy(),
        undone=activation.undone.copy(),
    )


def picture(run: RunState) -> dict[str, Any]:
    """A run as builtin values, whatever its lists share: two runs are equal if their pictures are.

    Where something stands in a dict counts where it decides what comes next: the order of what is open, and of
    what waits. Counts of nothing, and empty dicts of them, do not count.
    """
    shown = msgspec.structs.asdict(run)
    shown["scopes"] = {path: _scope(scope) for path, scope in run.scopes.items()}
    shown["open"] = [_activation(activation) for activation in run.open.values()]
    shown["fans"] = {owner: msgspec.structs.asdict(fan) for owner, fan in run.fans.items()}
    return shown


def _scope(scope: Scope) -> dict[str, Any]:
    shown = msgspec.structs.asdict(scope)
    shown["values"] = thawed(scope.values)
    shown["before"] = None if scope.before is None else thawed(scope.before)
    shown["waiting"] = [
        (target, leg, [msgspec.structs.astuple(token) for token in tokens])
        for target, legs in scope.waiting.items()
        for leg, tokens in legs.items()
    ]
    shown["parked"] = {leaf: msgspec.structs.astuple(token) for leaf, token in scope.parked.items()}
    shown["late"] = {(target, leg): n for target, legs in scope.late.items() for leg, n in legs.items() if n}
    return shown


def _activation(activation: Activation) -> dict[str, Any]:
    shown = msgspec.structs.asdict(activation)
    shown["base"] = thawed(activation.base)
    return shown


def thawed(values: dict[str, Any]) -> dict[str, Any]:
    """Values as they would be encoded."""
    return {name: thaw(value) for name, value in values.items()}
