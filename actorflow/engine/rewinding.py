"""Rewinding: a run as it was becomes a run that goes on, in its own history or as the beginning of another one.

State, frontier and waiting tokens go back. What others may have been told of
does not: numbers only rise, and what goes on does so under keys of its own, so
that no effect of the first time is taken for one of the second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from actorflow.engine.closing import close
from actorflow.engine.forgetting import forget_children_of
from actorflow.engine.keys import key_of
from actorflow.engine.mail import Letter, Mail
from actorflow.engine.run import NOTHING, ROOT, Activation, Answer, RunState, Scope, Token
from actorflow.engine.waits import RECEIVE

if TYPE_CHECKING:
    from collections.abc import Callable


def rewound(now: RunState, then: RunState, *, keep_keys: bool = False) -> RunState:
    """The run as it was ``then``, to go on from ``now``. Both are spent.

    Args:
        now: the run, as its newest commit has it.
        then: as one of its commits had it, under the same code.
        keep_keys: effects that were done are to be taken for the same ones. Only for who knows that they are.
    """
    for activation in list(now.mail.over):  # it is left behind
        forget_children_of(now.mail, activation)
    _keep_turns(now, then)
    _keep_received(now, then)
    _keep_forms(now, then)
    count = (now.rewinds + 1).to_bytes(8, "big")
    run = _renewed(then, (lambda key: key) if keep_keys else lambda key: key_of(key, b"rewind", count), now.next_id)
    return replace(
        run,
        run_id=now.run_id,
        life=now.life,
        epoch=now.epoch,
        opening=now.opening,
        inputs=now.inputs,
        queue=now.queue,
        rewinds=now.rewinds + 1,
        tags=now.tags,
        saga=now.saga,  # what was done outside is done, whatever became of the run
        durability=now.durability,
        mail=now.mail,
        supervisor=now.supervisor,
        restart=now.restart,
        closing=False,
    )


def forked(then: RunState, run_id: str, *, life: int) -> RunState:
    """A new run that begins as another one was. What was passed in is spent."""
    for turn in then.open.values():
        if turn.letter is not None:  # whoever sent it is answered by the other run
            turn.letter = replace(turn.letter, sender=None, caller=None, ask=None)
    seed = run_id.encode(), life.to_bytes(8, "big")
    run = _renewed(then, lambda key: key_of(key, b"fork", *seed), then.next_id)
    return replace(
        run,
        run_id=run_id,
        life=life,
        epoch=1,
        opening=1,
        rewinds=0,
        queue=[],
        tags={},
        saga=[],
        mail=Mail(),
        supervisor="",
        restart=None,
    )


def _keep_turns(now: RunState, then: RunState) -> None:
    """Messages that were taken since stay taken; one that is being handled is handled again.

    Its turn stays open, and so gets another key, like all that goes on: a reply
    to what it asked the first time is none to what it asks now.
    """
    handled = {one.letter.id: one for one in now.open.values() if one.letter is not None}
    for turn in [one for one in then.open.values() if one.letter is not None]:
        assert turn.letter is not None
        if (same := handled.pop(turn.letter.id, None)) is None:
            close(then, turn)
        else:
            turn.letter = same.letter  # how often it was begun does not go back
    for turn in handled.values():
        again = Activation(turn.id, turn.key, turn.node, ROOT, base=then.root.values, letter=turn.letter)
        then.open[again.id] = again
        then.turn = again.id
        then.root.live += 1


def _keep_received(now: RunState, then: RunState) -> None:
    """What nodes have taken, and are still busy with, they have again, or it waits again if they had not taken it."""
    in_hand = {(one.key, key): answer for one in now.open.values() for key, answer in _received(one).items()}
    for one in then.open.values():
        for key, answer in _received(one).items():
            if in_hand.get((one.key, key)) == answer:
                del in_hand[one.key, key]
            else:  # it went on, or its key was kept, and it has another one
                del one.answers[key]
    again: dict[bytes, Letter] = {}
    for (activation, key), answer in in_hand.items():
        form, values = answer.value
        id_ = key_of(activation, key.encode(), now.rewinds.to_bytes(8, "big"))
        again[id_] = Letter(id_, form, values, 0.0, by=answer.by)
    now.mail.queue = {**again, **now.mail.queue}


def _received(one: Activation) -> dict[str, Answer]:
    """The messages that an activation has taken."""
    return {key: said for key, said in one.answers.items() if key.startswith(RECEIVE) and said.value is not None}


def _keep_forms(now: RunState, then: RunState) -> None:
    """The forms of what is in the mail go with it: ``then`` the run may not have known them, or under another key."""

    def key(form: str) -> str:
        new = then.form_key(now.forms[form])
        then.forms[new] = now.forms[form]
        return new

    mail = now.mail
    handled = [one.letter for one in then.open.values() if one.letter is not None]
    for letter in (*mail.queue.values(), *handled):
        letter.form = key(letter.form)
    mail.timers = {name: replace(timer, form=key(timer.form)) for name, timer in mail.timers.items()}
    mail.outbox = [replace(parcel, form=parcel.form and key(parcel.form)) for parcel in mail.outbox]
    mail.dead = [replace(dead, letter=replace(dead.letter, form=key(dead.letter.form))) for dead in mail.dead]


def _renewed(then: RunState, renew: Callable[[bytes], bytes], first: int) -> RunState:
    ids = {old: first + index for index, old in enumerate(then.open)}
    return replace(
        then,
        status="running",
        error=None,
        failed_in=None,
        paused=False,
        activations=0,
        next_id=first + len(ids),
        turn=None if then.turn is None else ids[then.turn],
        open={ids[old]: _again(one, ids, renew) for old, one in then.open.items()},
        fans={ids[owner]: fan for owner, fan in then.fans.items()},
        scopes={path: _moved(scope, ids, renew) for path, scope in then.scopes.items()},
    )


def _again(one: Activation, ids: dict[int, int], renew: Callable[[bytes], bytes]) -> Activation:
    """An activation that begins anew: what it was told, but for messages, is forgotten; what it asks it asks again."""
    return replace(
        one,
        id=ids[one.id],
        key=renew(one.key),
        fan=None if one.fan is None else ids[one.fan],
        attempt=0,
        due=None,
        began=None,
        turned=NOTHING,
        asks=one.asks if one.merged else {},  # a merged one is only asked where to go
        answers=_received(one),
        memos={},
        undone=[],
        until={},
    )


def _moved(scope: Scope, ids: dict[int, int], renew: Callable[[bytes], bytes]) -> Scope:
    return replace(
        scope,
        owner=None if scope.owner is None else ids[scope.owner],
        waiting={
            target: {leg: [_token(token, renew) for token in tokens] for leg, tokens in legs.items()}
            for target, legs in scope.waiting.items()
        },
        parked={leaf: _token(token, renew) for leaf, token in scope.parked.items()},
    )


def _token(token: Token, renew: Callable[[bytes], bytes]) -> Token:
    return replace(token, key=renew(token.key))
