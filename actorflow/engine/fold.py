"""fold: a run and a record make the run after it. Reads no graph and calls no user code.

The run passed in is spent: containers of it are changed in place, because
copying them for each record would double its cost. Only `Values` are never
changed (see operations.py), so bases stay what they were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.engine.closing import close, drop_owned
from actorflow.engine.keys import item_key
from actorflow.engine.mailing import OF_MAIL, end_turn, fold_mail
from actorflow.engine.memos import fold_step, reopened
from actorflow.engine.merge import plain_writes
from actorflow.engine.operations import Extended, Operation, Put, apply
from actorflow.engine.records import (
    Answered,
    Asked,
    Attempted,
    Began,
    Claimed,
    Ended,
    Entered,
    Failed,
    Fanned,
    Finished,
    Forked,
    Formed,
    Handling,
    Imported,
    InputGiven,
    InputQueued,
    Intended,
    ItemDone,
    ItemFailed,
    Measured,
    Merged,
    Offered,
    Open,
    Opened,
    Paused,
    Queued,
    Rebased,
    Record,
    Released,
    Repaired,
    Rewound,
    Spawned,
    Stepped,
    Tagged,
    Tried,
    Undone,
    Unpaused,
    Updated,
)
from actorflow.engine.run import NOTHING, ROOT, Activation, Answer, FanOut, Form, RunState, Scope, Token, Unseen
from actorflow.engine.sizes import growth
from actorflow.engine.updates import AS_OPERATION
from actorflow.graph.fan import WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.engine.records import ErrorInfo, Gather, Handed

ASKED = "?"
"""Stands among a parked token's offered targets once the branches of its leaf have been asked."""


def begin(record: Spawned) -> RunState:
    """The run that a spawn makes."""
    run = RunState(
        run_id=record.run_id,
        life=record.life,
        graph=record.graph,
        topology=record.topology,
        durability=record.durability,
        digest=record.digest,
        scopes={ROOT: Scope(path=ROOT, values=record.values)},
        lifetime=record.lifetime,
    )
    _open(run, ROOT, record.opens, NOTHING)
    return run


def fold(run: RunState, record: Record) -> RunState:  # noqa: C901, PLR0912, PLR0915 - one case a kind of record
    """The run after the record. The run passed in is spent."""
    if record.__class__ in OF_MAIL:  # first, since most of an actor's are; asking a set is quick, and narrows no type
        fold_mail(run, record)  # type: ignore[arg-type]
        return run
    match record:
        case Finished():
            _finish(run, record)
        case ItemDone(id=id_, result=result):
            _end_item(run, id_, result, None)
        case ItemFailed(id=id_, error=error):
            _end_item(run, id_, None, error)
        case Merged(id=id_, operations=operations):
            activation = run.open[id_]
            operations += tuple(gathered(run, activation, record.gathers))
            _write(run, activation, operations, record.handed)
            activation.merged, activation.goto, activation.sends = True, record.goto, record.sends
            activation.leaves = record.leaves
        case Began(id=id_, at=at):
            run.open[id_].began = at
        case Measured(scope=path, size=size):
            run.scopes[path].size = size
        case Attempted(id=id_, attempt=attempt, due=due):
            drop_owned(run, run.open[id_])
            run.open[id_].attempt = attempt
            run.open[id_].due = due
        case Handling(id=id_, error=error, failed=failed):
            activation = run.open[id_]
            drop_owned(run, activation)
            activation.error, activation.failed, activation.handling = error, failed, True
            activation.attempt, activation.due, activation.began = 0, None, None
        case Rebased(id=id_):
            activation = run.open[id_]
            drop_owned(run, activation)
            activation.base = run.scopes[activation.scope].values
            activation.turned = NOTHING
            if activation.letter is not None:  # a turn is handled again on what it has overlooked
                activation.unseen = NOTHING
            run.activations += 1
        case Formed(schema=key, version=version, fields=fields, name=name):
            run.forms[key] = Form(name or key, version, fields)
        case Entered():
            _enter(run, record)
        case Queued(id=id_):
            run.open[id_].queued = True
        case Fanned():
            _fan_out(run, record)
        case Asked(id=id_, asks=asks, attempt=attempt):
            run.open[id_].asks |= {ask.key: ask for ask in asks}
            run.open[id_].attempt = max(run.open[id_].attempt, attempt)
        case Answered(id=id_, key=key, value=value, by=by):
            del run.open[id_].asks[key]
            run.open[id_].answers[key] = Answer(value, by)
            run.open[id_].began = None  # the time in which somebody thought about it is not the node's
        case Updated():
            _update(run, record)
        case InputGiven():
            _input(run, record)
        case InputQueued(values=values, by=by):
            run.queue.append((values, by))
        case Opened(scope=path, opens=opens):
            _open(run, path, opens, NOTHING)
        case Paused():
            run.paused = True
        case Unpaused():
            run.paused = False
        case Tagged(name=name, seq=seq):
            run.tags.pop(name, None)
            if seq is not None:
                run.tags[name] = seq
        case Claimed(epoch=epoch, opening=opening, supervisor=supervisor):
            run.epoch = epoch
            if supervisor is not None:
                run.supervisor, run.restart = supervisor, record.restart
            if opening > run.opening:
                run.opening = opening
                if run.ended:  # otherwise it slept, and goes on as it was
                    _reopen(run)
        case Offered():
            _offer(run, record)
        case Failed(id=id_, error=error):
            run.status = "failed"
            run.error = error
            run.failed_in = run.open[id_].node if id_ is not None else None
        case Ended(status=status):
            run.status = status
        case Released() | Imported() | Repaired() | Rewound() | Forked():
            pass
        case Intended() | Tried() | Stepped() | Undone():
            fold_step(run, record)
        case Spawned():
            return begin(record)
        case _:
            pass  # of mail, above
    return run


# -- activations ------------------------------------------------------------------


def _finish(run: RunState, record: Finished) -> None:
    activation = run.open[record.id]
    operations = record.operations
    if record.gathers:
        operations += tuple(gathered(run, activation, record.gathers))
    _write(run, activation, operations, record.handed)
    if activation.letter is not None:
        end_turn(run, activation)
    opens = record.opens
    close(run, activation, done=not (opens and any(one.error for one in opens)))  # else a node handles its failure
    scope = run.scopes[activation.scope]
    _put(scope, record.puts, activation.key, activation.unseen)
    if record.parks:
        scope.parked[activation.node] = Token(activation.key, activation.unseen)
    if opens:
        _open(run, activation.scope, opens, activation.unseen)
    run.last_node = activation.node


def _put(scope: Scope, puts: Iterable[tuple[str, str]], key: bytes, unseen: Unseen) -> None:
    for target, leg in puts:
        late = scope.late.get(target, {})
        if late.get(leg):  # its round has been opened by other legs
            late[leg] -= 1
        else:
            scope.waiting.setdefault(target, {}).setdefault(leg, []).append(Token(key, unseen))


def _apply(scope: Scope, operations: tuple[Operation, ...]) -> None:
    if scope.size is not None:
        scope.size += growth(operations, scope.values)
    scope.values = apply(operations, scope.values)


def _write(
    run: RunState, activation: Activation, operations: tuple[Operation, ...], handed: Iterable[Handed] = ()
) -> None:
    scope = run.scopes[activation.scope]
    _apply(scope, operations)
    if scope.owner is not None:
        _note_written(scope, operations, handed)
    alone = len(run.open) == 1
    if alone and activation.letter is not None:
        return  # nobody overlooks it
    writes = plain_writes(operations)
    if not writes:
        return
    others = [] if alone else [other for other in run.open_in(scope.path) if other is not activation]
    if activation.letter is not None:  # as an update from outside: nobody fails for it
        for other in others:
            other.turned |= writes
        return
    for other in others:
        other.unseen |= writes
    for token in run.tokens_in(scope.path):
        token.unseen |= writes


def _note_written(scope: Scope, operations: tuple[Operation, ...], handed: Iterable[Handed]) -> None:
    scope.written |= {operation.field for operation in operations}
    for one in handed:
        if one.mark == AS_OPERATION:
            items = next(its.items for its in operations if type(its) is Extended and its.field == one.field)
            scope.handed[one.field].append(type(one)(one.field, "", items))
        else:
            scope.handed[one.field].append(one)


def _open(run: RunState, path: str, opens: Iterable[Open], inherited: Unseen) -> None:
    scope = run.scopes[path]
    for opened in opens:
        taken = [_take(scope, opened.node, leg) for leg in opened.takes]
        for leaf in opened.parked:  # it stays, for whatever the graph grows next
            scope.parked[leaf].offered |= {opened.node}
            taken.append(scope.parked[leaf])
        for leg in opened.late:
            if scope.waiting.get(opened.node, {}).get(leg):  # there already, under code that needed more of them
                _take(scope, opened.node, leg)
            else:
                late = scope.late.setdefault(opened.node, {})
                late[leg] = late.get(leg, 0) + 1
        unseen = taken[0].unseen if taken else inherited
        for token in taken[1:]:
            unseen &= token.unseen
        run.open[run.next_id] = Activation(
            id=run.next_id,
            key=opened.key,
            node=opened.node,
            scope=path,
            base=scope.values,
            unseen=unseen,
            sent=opened.sent,
            error=opened.error,
            failed=opened.failed,
        )
        run.next_id += 1
        run.activations += 1
        scope.live += 1


def _take(scope: Scope, target: str, leg: str) -> Token:
    legs = scope.waiting[target]
    token = legs[leg].pop(0)
    if not legs[leg]:
        del legs[leg]
    if not legs:
        del scope.waiting[target]
    return token


# -- scopes and fan-outs ------------------------------------------------------------


def _enter(run: RunState, record: Entered) -> None:
    activation = run.open[record.id]
    activation.inner, activation.queued = record.path, False
    before = run.scopes.get(record.path)
    run.scopes[record.path] = Scope(
        path=record.path,
        values=record.values,
        owner=record.id,
        schema=record.schema,
        kept=record.kept,
        handed={name: [] for name in record.hands},
        before=None if before is None else before.values,
    )
    _open(run, record.path, record.opens, NOTHING)


def _fan_out(run: RunState, record: Fanned) -> None:
    owner = run.open[record.id]
    fan = run.fans[record.id] = FanOut(
        total=record.total,
        limit=record.limit,
        over=record.field,
        items=owner.sent if record.items is None else record.items,
        results=[None] * record.total,
    )
    while fan.next < min(fan.limit, fan.total):
        _open_item(run, owner, fan)


def _open_item(run: RunState, owner: Activation, fan: FanOut) -> None:
    index = fan.next
    run.open[run.next_id] = Activation(
        id=run.next_id,
        key=item_key(owner.key, index),
        node=owner.node,
        scope=owner.scope,
        base=owner.base,
        fan=owner.id,
        index=index,
    )
    run.next_id += 1
    run.activations += 1
    run.scopes[owner.scope].live += 1
    fan.next += 1
    fan.open += 1


def _end_item(run: RunState, id_: int, result: object, error: ErrorInfo | None) -> None:
    item = run.open[id_]
    assert item.fan is not None
    assert item.index is not None
    close(run, item, done=error is None)
    owner, fan = run.open[item.fan], run.fans[item.fan]
    fan.results[item.index] = result
    if error is not None:
        fan.failed[item.index] = error
    fan.done += 1
    fan.open -= 1
    if fan.next < fan.total:
        _open_item(run, owner, fan)


def gather(fan: FanOut, part: str) -> list[object]:
    """The results of the items that are done, or one part of each, in the order of the items."""
    done = (result for index, result in enumerate(fan.results) if index not in fan.failed)
    return list(done) if part == WHOLE else [result[part] for result in done]


def gathered(run: RunState, activation: Activation, gathers: Iterable[Gather]) -> Iterable[Operation]:
    """The operations that put the results of an activation's fan-out where they belong."""
    for one in gathers:
        results = gather(run.fans[activation.id], one.part)
        yield Extended(one.field, results) if one.extends else Put(one.field, results)


# -- from outside -------------------------------------------------------------------


def _update(run: RunState, record: Updated) -> None:
    scope = run.scopes[record.scope]
    writes = plain_writes(record.operations)
    closed = None if record.closes is None else run.open[record.closes]
    if closed is not None:
        close(run, closed)
    _apply(scope, record.operations)
    if scope.owner is not None:
        _note_written(scope, record.operations, record.handed)
    if record.withdraws and record.node is not None:
        scope.waiting.pop(record.node, None)
    for activation in run.open_in(record.scope):
        activation.turned |= writes
    _put(scope, record.puts, record.key, NOTHING)
    if record.parks and record.node is not None:
        scope.parked[record.node] = Token(record.key)
    _open(run, record.scope, record.opens, NOTHING)
    if record.node is not None:
        run.last_node = record.node


def _input(run: RunState, record: InputGiven) -> None:
    run.inputs += 1
    run.closing = False  # an actor that was over takes messages again
    if record.queued:
        run.queue.pop(0)
    if record.discards:
        for activation in [one for one in run.open_in(ROOT) if one.fan is None]:
            close(run, activation)
        run.root.waiting.clear()
        run.root.late.clear()
        run.queue.clear()
    run.root.parked.clear()
    run.activations = 0
    writes = plain_writes(record.operations)
    _apply(run.root, record.operations)
    for activation in run.open_in(ROOT):
        activation.turned |= writes
    _open(run, ROOT, record.opens, NOTHING)


def _offer(run: RunState, record: Offered) -> None:
    run.topology = record.topology
    scope = run.root
    for target, leaf in record.puts:
        token = scope.parked[leaf]
        token.offered |= {target}
        scope.waiting.setdefault(target, {}).setdefault(leaf, []).append(Token(token.key, token.unseen))
    _open(run, ROOT, record.opens, NOTHING)
    for leaf in record.routed:
        scope.parked[leaf].offered |= {ASKED}


def _reopen(run: RunState) -> None:
    run.status = "running"
    run.error = None
    run.failed_in = None
    run.activations = 0
    for activation in run.open.values():
        activation.attempt = 0
        activation.due = activation.began = None
        activation.memos = reopened(activation.memos)
