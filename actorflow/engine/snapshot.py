"""Snapshots: a whole run as bytes. Each base is kept once, as its difference from its scope's values."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, field, msgpack
from msgspec.structs import replace

from actorflow.engine.contents import changed_letter, changed_mail
from actorflow.engine.mail import Letter, Mail
from actorflow.engine.memos import Memo, Undoable
from actorflow.engine.operations import Grown, Values, thaw
from actorflow.engine.records import Ask, ErrorInfo, Handed, Status
from actorflow.engine.run import Activation, Answer, FanOut, Form, RunState, Scope, Token
from actorflow.engine.supervision import RestartType

if TYPE_CHECKING:
    from collections.abc import Callable


class _Length(Struct, frozen=True, array_like=True, tag="n"):
    """An older length of the list that the scope holds now."""

    length: int


class _Value(Struct, frozen=True, array_like=True, tag="v"):
    value: Any


class _Base(Struct, frozen=True, array_like=True):
    """A base as its difference from the values of its scope."""

    scope: str
    fields: dict[str, _Length | _Value]
    absent: tuple[str, ...]


class _Token(Struct, frozen=True, array_like=True):
    key: bytes
    unseen: tuple[str, ...]
    offered: tuple[str, ...]


class _More(Struct, frozen=True, omit_defaults=True):
    """What most activations don't have."""

    goto: tuple[str, ...] | None = None
    sends: tuple[tuple[str, list[Any]], ...] = ()
    leaves: bool = False
    turned: tuple[str, ...] = ()
    sent: list[Any] | None = None
    fan: int | None = None
    index: int | None = None
    inner: str | None = None
    queued: bool = False
    error: ErrorInfo | None = None
    failed: str | None = None
    handling: bool = False
    asks: dict[str, Ask] = {}
    answers: dict[str, Answer] = {}
    began: float | None = None
    memos: dict[bytes, Memo] = {}
    undone: list[str] = []
    letter: Letter | None = None
    until: dict[str, float | None] = {}


class _Activation(Struct, frozen=True, array_like=True):
    id: int
    key: bytes
    node: str
    scope: str
    base: int  # index into the bases
    unseen: tuple[str, ...]
    attempt: int
    due: float | None
    merged: bool
    more: _More | None = None


class _Scope(Struct, frozen=True, array_like=True):
    path: str
    values: dict[str, Any]
    owner: int | None
    waiting: dict[str, dict[str, list[_Token]]]
    parked: dict[str, _Token]
    late: dict[str, dict[str, int]] = {}
    schema: str = ""
    kept: bool = False
    written: tuple[str, ...] = ()
    handed: dict[str, list[Handed]] = {}
    size: int | None = None
    before: dict[str, Any] | None = None


class _Fan(Struct, frozen=True, array_like=True):
    total: int
    limit: int
    field: str | None
    items: list[Any] | None  # None also for those that were sent to the owner
    results: list[Any]
    next: int
    failed: dict[int, ErrorInfo]


class _Run(Struct, frozen=True):
    run_id: str
    life: int
    graph: str
    topology: bytes
    durability: Literal["sync", "async", "exit"]
    digest: bytes
    scopes: tuple[_Scope, ...]
    bases: tuple[_Base, ...]
    open: tuple[_Activation, ...]
    status: Status
    epoch: int
    opening: int
    next_id: int
    activations: int
    last_node: str | None
    failed_in: str | None
    error: ErrorInfo | None
    fans: dict[int, _Fan] = {}
    forms: dict[str, Form] = {}
    paused: bool = False
    inputs: int = 0
    queue: list[tuple[tuple[Handed, ...], str | None]] = []
    rewinds: int = 0
    tags: dict[str, int] = {}
    saga: list[Undoable] = []
    lifetime: Literal["run", "actor"] = "run"
    closing: bool = False
    mail: Mail = field(default_factory=Mail)
    supervisor: str = ""
    restart: RestartType | None = None


_MADE = frozenset({"scopes", "bases", "open", "fans", "saga", "mail"})
_SAME = tuple(name for name in _Run.__struct_fields__ if name not in _MADE)
_NONE = _More()
_encoder = msgpack.Encoder()
_decoder = msgpack.Decoder(_Run)


def dump(run: RunState, *, shorten: Callable[[Any], Any] = thaw) -> bytes:
    """The run as bytes; the run is not spent.

    Args:
        run: what to dump.
        shorten: what to encode for a value: the value, or what stands for a large one.
    """
    index: dict[int, int] = {}
    bases: list[_Base] = []
    activations: list[_Activation] = []
    for activation in run.open.values():
        at = index.setdefault(id(activation.base), len(bases))
        if at == len(bases):
            values = run.scopes[activation.scope].values
            bases.append(_difference(activation.scope, activation.base, values, shorten))
        activations.append(
            _Activation(
                activation.id,
                activation.key,
                activation.node,
                activation.scope,
                at,
                tuple(sorted(activation.unseen)),
                activation.attempt,
                activation.due,
                activation.merged,
                _dump_more(activation, shorten),
            )
        )
    same = {name: getattr(run, name) for name in _SAME}
    scopes = tuple(_dump_scope(scope, shorten) for scope in run.scopes.values())
    fans = {owner: _dump_fan(fan, run.open[owner], shorten) for owner, fan in run.fans.items()}
    saga = _changed(run.saga, shorten)
    mail = run.mail if shorten is thaw else changed_mail(run.mail, shorten)  # which holds plain values only
    return _encoder.encode(
        _Run(scopes=scopes, bases=tuple(bases), open=tuple(activations), fans=fans, saga=saga, mail=mail, **same)
    )


def load(data: bytes, *, restore: Callable[[Any], Any] = thaw) -> RunState:
    """The run that was dumped; raises msgspec.DecodeError or ValidationError for what is no snapshot.

    Args:
        data: what `dump` made.
        restore: the value for what was encoded instead of it.
    """
    kept = _decoder.decode(data)
    scopes = {scope.path: _load_scope(scope, restore) for scope in kept.scopes}
    for base in kept.bases:  # before any base shares a list with its scope: that one would grow in place
        _make_grown(base, scopes[base.scope].values)
    bases = [_load_base(base, scopes[base.scope], restore) for base in kept.bases]
    run = RunState(
        scopes=scopes,
        open={one.id: _load_activation(one, bases[one.base], restore) for one in kept.open},
        mail=kept.mail if restore is thaw else changed_mail(kept.mail, restore),
        **{name: getattr(kept, name) for name in _SAME},
    )
    run.fans = {owner: _load_fan(fan, run, owner, restore) for owner, fan in kept.fans.items()}
    run.saga = _changed(kept.saga, restore)
    for activation in run.open.values():
        run.scopes[activation.scope].live += 1
        if activation.letter is not None:
            run.turn = activation.id
        if activation.fan is not None:
            run.fans[activation.fan].open += 1
    return run


def _changed(saga: list[Undoable], change: Callable[[Any], Any]) -> list[Undoable]:
    return [replace(one, value=change(one.value)) for one in saga]


def _changed_answers(answers: dict[str, Answer], change: Callable[[Any], Any]) -> dict[str, Answer]:
    return {key: replace(answer, value=change(answer.value)) for key, answer in answers.items()}


def _dump_more(activation: Activation, shorten: Callable[[Any], Any]) -> _More | None:
    more = _More(
        goto=activation.goto,
        sends=activation.sends,
        leaves=activation.leaves,
        turned=tuple(sorted(activation.turned)),
        sent=None if activation.sent is None else shorten(activation.sent),
        fan=activation.fan,
        index=activation.index,
        inner=activation.inner,
        queued=activation.queued,
        error=activation.error,
        failed=activation.failed,
        handling=activation.handling,
        asks=activation.asks,
        answers=_changed_answers(activation.answers, shorten),
        began=activation.began,
        memos={step: replace(memo, value=shorten(memo.value)) for step, memo in activation.memos.items()},
        undone=activation.undone,
        letter=None if activation.letter is None else changed_letter(activation.letter, shorten),
        until=activation.until,
    )
    return None if more == _NONE else more


def _load_activation(kept: _Activation, base: Values, restore: Callable[[Any], Any]) -> Activation:
    activation = Activation(
        id=kept.id,
        key=kept.key,
        node=kept.node,
        scope=kept.scope,
        base=base,
        unseen=frozenset(kept.unseen),
        attempt=kept.attempt,
        due=kept.due,
        merged=kept.merged,
    )
    if (more := kept.more) is not None:
        activation.goto, activation.sends, activation.leaves = more.goto, more.sends, more.leaves
        activation.turned = frozenset(more.turned)
        activation.sent = None if more.sent is None else restore(more.sent)
        activation.fan, activation.index, activation.inner = more.fan, more.index, more.inner
        activation.queued = more.queued
        activation.error, activation.failed, activation.handling = more.error, more.failed, more.handling
        activation.asks, activation.answers = dict(more.asks), _changed_answers(more.answers, restore)
        activation.began = more.began
        activation.memos = {step: replace(memo, value=restore(memo.value)) for step, memo in more.memos.items()}
        activation.undone = list(more.undone)
        activation.letter = None if more.letter is None else changed_letter(more.letter, restore)
        activation.until = dict(more.until)
    return activation


def _dump_fan(fan: FanOut, owner: Activation, shorten: Callable[[Any], Any]) -> _Fan:
    items = None if fan.items is None or fan.items is owner.sent else shorten(fan.items)
    return _Fan(fan.total, fan.limit, fan.over, items, shorten(fan.results), fan.next, fan.failed)


def _load_fan(kept: _Fan, run: RunState, owner: int, restore: Callable[[Any], Any]) -> FanOut:
    return FanOut(
        total=kept.total,
        limit=kept.limit,
        over=kept.field,
        items=run.open[owner].sent if kept.items is None else restore(kept.items),
        results=restore(kept.results),
        next=kept.next,
        done=kept.next - sum(one.fan == owner for one in run.open.values()),
        failed=dict(kept.failed),
    )


def _difference(scope: str, base: Values, now: Values, shorten: Callable[[Any], Any]) -> _Base:
    fields: dict[str, _Length | _Value] = {}
    for name, value in base.items():
        current = now.get(name)
        if value is current:
            continue
        length = _older_length(value, current) if type(current) is Grown else None
        fields[name] = _Value(shorten(value)) if length is None else _Length(length)
    return _Base(scope, fields, tuple(name for name in now if name not in base))


def _older_length(value: Any, current: Grown) -> int | None:
    """The length at which ``current`` was this value, if it grew from it: the elements are the same objects."""
    if type(value) is Grown:
        return value.length if value.items is current.items else None
    if value.__class__ is list and len(value) <= current.length and all(map(operator.is_, value, current.items)):
        return len(value)
    return None


def _make_grown(base: _Base, values: Values) -> None:
    for name, kept in base.fields.items():
        if isinstance(kept, _Length) and type(values[name]) is not Grown:
            values[name] = Grown(values[name], len(values[name]))


def _load_base(base: _Base, scope: Scope, restore: Callable[[Any], Any]) -> Values:
    if not base.fields and not base.absent:
        return scope.values
    values = {name: value for name, value in scope.values.items() if name not in base.absent}
    for name, kept in base.fields.items():
        if isinstance(kept, _Value):
            values[name] = restore(kept.value)
        else:
            values[name] = Grown(scope.values[name].items, kept.length)
    return values


def _dump_scope(scope: Scope, shorten: Callable[[Any], Any]) -> _Scope:
    return _Scope(
        path=scope.path,
        values={name: shorten(value) for name, value in scope.values.items()},
        owner=scope.owner,
        waiting={
            target: {leg: [_dump_token(token) for token in tokens] for leg, tokens in legs.items()}
            for target, legs in scope.waiting.items()
        },
        parked={leaf: _dump_token(token) for leaf, token in scope.parked.items()},
        late=scope.late,
        schema=scope.schema,
        kept=scope.kept,
        written=tuple(sorted(scope.written)),
        handed=scope.handed,
        size=scope.size,
        before=None if scope.before is None else {name: shorten(value) for name, value in scope.before.items()},
    )


def _load_scope(kept: _Scope, restore: Callable[[Any], Any]) -> Scope:
    return Scope(
        path=kept.path,
        values={name: restore(value) for name, value in kept.values.items()},
        owner=kept.owner,
        waiting={
            target: {leg: [_load_token(token) for token in tokens] for leg, tokens in legs.items()}
            for target, legs in kept.waiting.items()
        },
        parked={leaf: _load_token(token) for leaf, token in kept.parked.items()},
        late={target: dict(legs) for target, legs in kept.late.items()},
        schema=kept.schema,
        kept=kept.kept,
        written=frozenset(kept.written),
        handed={name: list(updates) for name, updates in kept.handed.items()},
        size=kept.size,
        before=None if kept.before is None else {name: restore(value) for name, value in kept.before.items()},
    )


def _dump_token(token: Token) -> _Token:
    return _Token(token.key, tuple(sorted(token.unseen)), tuple(sorted(token.offered)))


def _load_token(kept: _Token) -> Token:
    return Token(kept.key, frozenset(kept.unseen), frozenset(kept.offered))
