"""decide: a run and an event make the records to commit and the commands to carry out.

Pure: no I/O, no clock, no randomness but what the event brings. Each record is
folded as it is made, so a decision sees its own consequences: a finish opens a
join, an empty scope ends the run. Commands are released by the commit of the
records they came with; the sweep for what should be running is level-triggered
and repeated by every claim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from actorflow.engine.decision import Decision, Place
from actorflow.engine.events import (
    Answering,
    Bounced,
    Dispatched,
    Due,
    Event,
    Expire,
    GaveUp,
    Inputting,
    Intending,
    Pausing,
    Raised,
    Receiving,
    Retry,
    Returned,
    Start,
    Stepping,
    Stop,
    Suspended,
    Sweep,
    Tagging,
    Taking,
    Tell,
    Trying,
    Undoing,
    Updating,
)
from actorflow.engine.fans import fail_item, fan_out, item_returned, look_at
from actorflow.engine.flow import deliver, route_merged, take_apart
from actorflow.engine.keys import key_of
from actorflow.engine.mail import Letter, Said
from actorflow.engine.merge import typed
from actorflow.engine.policy import PERMANENT
from actorflow.engine.posting import bounced, dispatched, farewell, hand_out, without_begun
from actorflow.engine.records import Attempted, Began, Buried, Ended, Finished, Handling, Open, Opened, describe
from actorflow.engine.run import ROOT, Activation, RunState
from actorflow.engine.scopes import enter, leave
from actorflow.engine.steering import give_input, pause, queued_input, tag, update
from actorflow.engine.steps import record_step
from actorflow.engine.tokens import deferred, mended, offer, starved
from actorflow.engine.turns import bury, fire, next_letter, open_turn, receive, retake, take
from actorflow.engine.waits import answer, await_expiry, expire, hold, suspend
from actorflow.errors import ConcurrentWrite, JoinStarved, TooManyActivations
from actorflow.graph.retry import Retry as Policy
from actorflow.graph.retry import first_applying

if TYPE_CHECKING:
    from actorflow.graph.node import Handler
    from actorflow.graph.plan import Plan
    from actorflow.graph.routing import End


def decide(plan: Plan, run: RunState, event: Event) -> Decision:  # noqa: C901, PLR0912 - one line a kind of event
    """What an event leads to. The run passed in is spent; its successor is in the decision.

    An event about an activation that is not open any more, or about a run
    that has ended, leads to nothing.

    Raises:
        ActorflowError: what somebody asked of the run is refused; nothing has changed.
    """
    decision = Decision(plan, run, now=getattr(event, "now", 0.0))
    if run.ended:
        return decision
    match event:
        case Returned(id=id_) if id_ in run.open:
            _returned(decision, event)
        case Receiving():
            receive(decision, event)
        case Raised(id=id_) if id_ in run.open:
            _raised(decision, decision.place(run.open[id_]), event)
        case Suspended(id=id_) if id_ in run.open:
            suspend(decision, event)
        case Due(id=0):
            fire(decision)
        case Due(id=id_) if id_ in run.open:
            _due(decision, run.open[id_])
        case Sweep():
            _sweep(decision, unclean=event.unclean)
        case GaveUp(key=key, error=error):
            found = next((one.id for one in run.open.values() if one.key == key), None)
            decision.fail(found, error)
        case Stop(status=status, by=by):
            decision.note(Ended(status, by))
        case Answering():
            answer(decision, event)
        case Updating():
            update(decision, event)
        case Inputting():
            give_input(decision, event)
        case Pausing():
            pause(decision, event)
        case Tagging():
            tag(decision, event)
        case Intending() | Trying() | Stepping() | Undoing():
            record_step(decision, event)
        case Taking():
            take(decision, event)
        case Dispatched():
            dispatched(decision, event)
        case Bounced():
            bounced(decision, event)
        case _:
            pass
    settle(decision)
    if decision.run.ended:
        for record in farewell(decision.run, plan.schema, now=decision.now):
            decision.note(record)
            if isinstance(record, Buried):
                decision.commands.append(Tell(0, record.message, Said(error=record.error)))
    return decision


def settle(decision: Decision) -> None:
    """Begin what opened, and see what came to its end, until nothing is left to decide."""
    while not decision.run.ended:
        if decision.leaving is not None:
            (path, goto), decision.leaving = decision.leaving, None
            _leave(decision, path, goto)
        elif decision.begin:
            _begin(decision, decision.begin.pop(0))
        elif decision.done:
            _look_at_items(decision, decision.done.pop(0))
        elif decision.look:
            _look(decision, decision.look.pop(0))
        elif (letter := next_letter(decision)) is not None:
            open_turn(decision, letter)
        else:
            return
    decision.drop_commands()


# -- what an attempt led to ---------------------------------------------------------


def _returned(decision: Decision, event: Returned) -> None:
    place = decision.place(decision.run.open[event.id])
    if event.outgoing:  # before it is over, and its children may be forgotten
        event = replace(event, outgoing=without_begun(decision.run, event.outgoing))
    try:
        if place.is_item:
            item_returned(decision, place, event.value, took=event.took)
            _hand_out(decision, event)
            return
        outcome, letter = take_apart(place, event.value), place.activation.letter
        updates = [outcome.update] if outcome.update else []
        deliver(decision, place, outcome, updates=updates, took=event.took, cached=event.cached)
        _hand_out(decision, event, letter, None if outcome.reply is None else outcome.reply[0])
    except Exception as error:  # noqa: BLE001 - the user's objects may raise anything; nothing was merged
        _raised(decision, place, Raised(event.id, error, event.attempt, event.now, event.chance))


def _hand_out(decision: Decision, event: Returned, letter: Letter | None = None, reply: Any = None) -> None:
    """What it sends goes out, and whoever asked is told, unless it is to run again."""
    left = decision.run.open.get(event.id)
    if left is not None and not left.merged:
        return
    if event.outgoing:
        hand_out(decision, event.outgoing, by=event.id)
    if letter is not None:
        decision.commands.append(Tell(0, letter.id, Said(reply)))


def _raised(decision: Decision, place: Place, event: Raised) -> None:
    activation = place.activation
    if activation.handling or not _policies(place):
        _failed(decision, place, event, final=event.final)
        return
    delay = None if event.final else _pause(place, event)
    if delay is None:
        _failed(decision, place, event, final=True)
        return
    owns = place.node.inner is not None  # what it had begun is dropped, by the record
    if owns or delay >= decision.plan.record_backoff_over:
        decision.note(Attempted(activation.id, event.attempt, event.now + delay, describe(event.error)))
    if owns:
        decision.commands.append(Expire(activation.id, event.now + delay))
    else:
        decision.commands.append(Retry(event.id, event.attempt + 1, delay))


def _policies(place: Place) -> tuple[Policy, ...]:
    """How an activation is tried again. Those of a map are for its items."""
    spreads = not place.is_item and (place.node.fan is not None or place.activation.sent is not None)
    return () if spreads else place.node.retry


def _pause(place: Place, event: Raised) -> float | None:
    """Seconds until the next attempt; None: there is none."""
    try:
        policy = first_applying(place.node.retry, event.error, typed(place.schema, place.activation.base))
    except Exception as error:  # noqa: BLE001 - a user's `on=` that raises retries nothing
        event.error.add_note(f"Retry(on=) raised {error!r}")
        return None
    if policy is None or event.attempt >= policy.attempts:
        return None
    delay, began = policy.delay(event.attempt, event.chance), place.activation.began
    if policy.deadline is not None and began is not None and event.now + delay > began + policy.deadline:
        event.error.add_note(f"Retry(deadline={policy.deadline:g}): there is no time for another attempt")
        return None
    return delay


def _failed(decision: Decision, place: Place, event: Raised, *, final: bool = False) -> None:
    """An activation failed for good: whoever is around it and wants to know takes over, else the run fails.

    Args:
        decision: in which.
        place: the activation.
        event: how it failed.
        final: no restart of the process would help: it was tried as often and as long as it may be.
    """
    at, error = place, event.error
    # which of two writers fails is timing, so that nobody may make anything of it
    while not isinstance(error, ConcurrentWrite):
        activation, handler = at.activation, at.node.on_error
        if handler is not None and handler.catches(error) and _may_handle(place, at, handler):
            _handle(decision, at, error, failed=place.node.name)
            return
        if at is not place and at.is_item and at.node.retry:
            again = Raised(activation.id, error, activation.attempt + 1, event.now, event.chance)
            if _pause(at, again) is not None:
                _raised(decision, at, again)
                return
            final = True
        if at.is_item and at.node.fan is not None and at.node.fan.on_error == "collect":
            fail_item(decision, at, error)
            return
        if activation.letter is not None:  # the message is consumed, and the run goes on
            bury(decision, activation, activation.letter.id, "failed", error)
            decision.look.append(ROOT)
            return
        owner = decision.run.owner_of(activation)
        if owner is None:
            break
        at = decision.place(owner)
    if final or isinstance(error, PERMANENT) or place.activation.handling:
        decision.fail(place.activation.id, error)
    else:
        decision.crash(place.activation.id, error)


def _may_handle(failed: Place, at: Place, handler: Handler) -> bool:
    """Whether a handler may take over at an activation around the one that failed, or at that one itself.

    What was sent to a node is handled item by item if a function does it. A node takes over for all that was sent,
    since it stands in place of what comes after. So does whoever handles a map: its items have results, not updates.
    """
    if at.activation.handling or (at.is_item and at.node.fan is not None):
        return False
    if at.is_item:
        return handler.node is None
    of_items = at.activation.sent is not None and at is not failed
    return not of_items or handler.node is not None


def _handle(decision: Decision, place: Place, error: Exception, *, failed: str) -> None:
    activation, handler = place.activation, place.node.on_error
    assert handler is not None
    if handler.node is None:
        decision.note(Handling(activation.id, describe(error), failed))
        decision.begin.append(activation.id)
        return
    key = key_of(activation.key, b"error", handler.node.encode())
    opened = Open(handler.node, key, error=describe(error), failed=failed)
    path = activation.scope
    decision.note(Finished(activation.id, opens=(opened,)))
    decision.look.append(path)


# -- what is to begin, and what is over -----------------------------------------------


def _begin(decision: Decision, id_: int) -> None:
    run = decision.run
    activation = run.open.get(id_)
    if activation is None or run.paused:
        return
    if run.activations > decision.plan.max_activations:
        decision.fail(None, TooManyActivations(decision.plan.max_activations))
    elif activation.merged and not activation.asks:
        route_merged(decision, decision.place(activation))
    elif activation.asks:
        await_expiry(decision, activation)
    else:
        place = decision.place(activation)
        if not hold(decision, place):
            _start(decision, place)


def _start(decision: Decision, place: Place) -> None:
    activation, node = place.activation, place.node
    fans = activation.fan is None and (node.fan is not None or activation.sent is not None)
    limited = activation.began is None and not activation.handling and (node.timeout or node.retry)
    if limited and node.is_limited:
        if not decision.now:  # what led here knows no time, so that it is asked for first
            decision.commands.append(Expire(activation.id, 0.0))
            return
        decision.note(Began(activation.id, decision.now))
    if activation.handling or not (fans or node.inner is not None):
        decision.commands.append(Start(activation.id))
    elif activation.id in decision.run.fans or activation.inner is not None:
        pass  # it has begun already: what it owns goes on
    elif activation.due is not None and activation.due > decision.now:
        decision.commands.append(Expire(activation.id, activation.due))
    else:
        try:
            (fan_out if fans else enter)(decision, place)
        except Exception as error:  # noqa: BLE001 - `enter=`, `over=` and `limit=` are the user's
            attempt = activation.attempt + 1
            _raised(decision, place, Raised(activation.id, error, attempt, decision.now))
        else:
            begun = decision.run.open.get(activation.id)  # a fan-out without items is over already
            if begun is not None and begun.inner is not None:
                decision.look.append(begun.inner)


def _due(decision: Decision, activation: Activation) -> None:
    if activation.asks:
        expire(decision, activation)
    else:
        decision.begin.append(activation.id)


def _look_at_items(decision: Decision, id_: int) -> None:
    """See whether all items of a fan-out are done: then their results are merged, and their owner is finished."""
    owner = decision.run.open.get(id_)
    if owner is None or id_ not in decision.run.fans or owner.merged:  # a merged one only waits to be led on
        return
    place = decision.place(owner)
    try:
        look_at(decision, place)
    except Exception as error:  # noqa: BLE001 - a reducer of the user's; all items are done, and stay so
        _raised(decision, place, Raised(id_, error, owner.attempt + 1, decision.now))


def _look(decision: Decision, path: str) -> None:
    """See whether nothing is open in a scope: then deferred nodes have their turn, and then it is over."""
    run = decision.run
    scope = run.scopes.get(path)
    if scope is None or scope.live or (path != ROOT and scope.owner is None):
        return
    if path == ROOT and run.rests and not scope.waiting and not run.queue:
        return  # an actor waits for messages
    if scope.owner is not None and run.open[scope.owner].merged:
        return  # what it made was handed up already
    plan = decision.plan_of(path)
    if opens := tuple(mended(plan, scope)) or tuple(deferred(plan, scope)):
        decision.note(Opened(path, opens))
    elif path == ROOT and next_letter(decision) is not None:
        pass  # a message that came before the end is handled before it
    elif not (path == ROOT and run.lifetime == "actor") and (lacking := starved(plan, scope)):
        if scope.owner is None:
            decision.fail(None, JoinStarved(lacking))
        else:
            owner = run.open[scope.owner]
            starving = Raised(owner.id, JoinStarved(lacking), owner.attempt + 1, decision.now)
            _failed(decision, decision.place(owner), starving)
    elif scope.owner is not None:
        _leave(decision, path)
    elif run.queue:
        try:
            queued_input(decision)
        except Exception as error:  # noqa: BLE001 - it fitted when it was given; it stays, for newer code or an update
            decision.fail(None, error)
    elif not run.rests:
        decision.note(Ended("finished"))


def _leave(decision: Decision, path: str, goto: tuple[str | End, ...] | None = None) -> None:
    owner = decision.run.scopes[path].owner
    assert owner is not None
    place = decision.place(decision.run.open[owner])
    try:
        leave(decision, path, goto)
    except Exception as error:  # noqa: BLE001 - `leave=` is the user's, and what it hands up may not fit
        _raised(decision, place, Raised(owner, error, place.activation.attempt + 1, decision.now))


def _sweep(decision: Decision, *, unclean: bool) -> None:
    run = decision.run
    if run.topology != decision.plan.digest:
        try:
            decision.note(offer(decision.plan, run))
        except Exception as error:  # noqa: BLE001 - a branch of a grown leaf raised: the run fails there
            decision.fail(None, error)
            return
    retake(decision, unclean=unclean)
    fire(decision)
    decision.begin.clear()
    decision.begin.extend(run.open)
    decision.done.extend(run.fans)
    decision.look.extend(path for path, scope in run.scopes.items() if not scope.live)
