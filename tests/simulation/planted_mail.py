"""Bugs to be planted in what carries messages, by name. The worlds with messages must find each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import msgspec

from actorflow.engine import snapshot
from actorflow.engine.events import Receiving, Tell
from actorflow.runtime import claiming, recovery, writer
from actorflow.runtime.actor import Actor
from actorflow.runtime.attending import Attending
from actorflow.runtime.dispatcher import Dispatcher
from actorflow.runtime.letters import posted
from actorflow.store.inbox import Inbox
from tests.planted.registry import everywhere

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from actorflow.engine.decision import Decision
    from actorflow.engine.mail import Mail
    from actorflow.engine.run import RunState
    from actorflow.runtime.attending import Request
    from actorflow.store.inbox import Batch


def _at_takeover(patch: pytest.MonkeyPatch, forget: Callable[[Mail], object]) -> None:
    """Who claims a run begins with something of its mail forgotten."""
    fold = claiming.fold

    def forgetful(run: RunState, record: Any) -> RunState:
        run = fold(run, record)
        forget(run.mail)
        return run

    patch.setattr(claiming, "fold", forgetful)


def _drops_marks_at_takeover(patch: pytest.MonkeyPatch) -> None:
    """What was taken from a lane is not known any more."""
    _at_takeover(patch, lambda mail: mail.marks.clear())


def _counts_anew_at_takeover(patch: pytest.MonkeyPatch) -> None:
    """Whoever takes up a sender numbers what it sends from 1 again."""
    _at_takeover(patch, lambda mail: mail.lanes.clear())


def _drops_the_outbox_at_takeover(patch: pytest.MonkeyPatch) -> None:
    """What was sent and is not delivered is the dead owner's business."""
    _at_takeover(patch, lambda mail: mail.outbox.clear())


def _loses_ids_with_a_snapshot(patch: pytest.MonkeyPatch) -> None:
    """The window of callers' ids is in the records, and in no snapshot."""
    dump = snapshot.dump

    def without(run: RunState, *given: Any, **more: Any) -> Any:
        kept, run.mail = run.mail, msgspec.structs.replace(run.mail, seen={})
        try:
            return dump(run, *given, **more)
        finally:
            run.mail = kept

    everywhere(patch, dump, without)


def _delivers_before_the_put(patch: pytest.MonkeyPatch) -> None:
    """The sender is told that its message is in the inbox, which it is a little later."""

    async def later(self: Dispatcher, sender: Any, parcel: Any) -> None:
        kept, lives = posted(sender.run, parcel, now=0.0), self._lives

        async def put() -> None:
            await anyio.sleep(0.5)
            await lives.in_store(lambda: lives.store.inbox.send(kept))

        lives.in_background(put)

    patch.setattr(Dispatcher, "_keep", later)


def _replies_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    """Who asked is told as soon as the handler has returned."""
    take = Actor._take

    def hasty(self: Actor, decision: Decision) -> None:
        take(self, decision)
        for command in decision.commands:
            if isinstance(command, Tell):
                for request in self._askers.pop(command.message, ()):
                    request.said = command.said
                    request.done.set()

    patch.setattr(Actor, "_take", hasty)


def _accepts_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    """Who sends is told as soon as the run knows of the message."""
    answer = Attending._answer

    def hasty(self: Attending, request: Request) -> bool:
        answered = answer(self, request)
        if request.accepted and not request.reply and isinstance(request.event, Receiving):
            request.seq = self.header.seq
            request.done.set()
        return answered

    patch.setattr(Attending, "_answer", hasty)


def _deletes_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    """A message that was read need not be kept any longer."""
    take = Inbox.take

    def greedy(self: Inbox, run_id: str, **given: Any) -> Batch:
        batch = take(self, run_id, **given)
        self.delete(batch.taken)
        return batch

    patch.setattr(Inbox, "take", greedy)


def _forgets_the_last_words(patch: pytest.MonkeyPatch) -> None:
    """A run is over when its end is committed; what it has still to say, nobody says for a dead owner."""
    clear = recovery._clear

    def silent(*given: Any) -> None:
        clear(*given)

    patch.setattr(recovery, "_clear", silent)


def _sleeps_through_timers(patch: pytest.MonkeyPatch) -> None:
    """The release of a run that sleeps does not say until when: whoever put it to sleep knows."""
    patch.setattr(writer, "first_due", lambda run: None)


BUGS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "marks are dropped at takeover": _drops_marks_at_takeover,
    "what is sent is counted anew at takeover": _counts_anew_at_takeover,
    "the outbox is dropped at takeover": _drops_the_outbox_at_takeover,
    "ids of callers are lost with a snapshot": _loses_ids_with_a_snapshot,
    "a message is delivered before it is put": _delivers_before_the_put,
    "a reply is told before its commit": _replies_before_the_commit,
    "a message is acknowledged before its commit": _accepts_before_the_commit,
    "a message is deleted before its commit": _deletes_before_the_commit,
    "the last words of a run are forgotten": _forgets_the_last_words,
    "a run sleeps through its timers": _sleeps_through_timers,
}
