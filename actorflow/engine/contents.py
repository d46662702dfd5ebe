"""Contents: the values in what a run was sent, replied and sends, each changed. So large ones are kept elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.engine.mail import Dead, Letter, Mail, Parcel, Seen, Timer

    Change = Callable[[Any], Any]


def changed_mail(mail: Mail, change: Change) -> Mail:
    """The mail with other values; the mail passed in stays as it is."""
    return replace(
        mail,
        queue={id_: changed_letter(letter, change) for id_, letter in mail.queue.items()},
        seen={name: _changed_seen(seen, change) for name, seen in mail.seen.items()},
        timers={name: _changed_timer(timer, change) for name, timer in mail.timers.items()},
        outbox=[_changed_parcel(parcel, change) for parcel in mail.outbox],
        dead=[_changed_dead(dead, change) for dead in mail.dead],
    )


def changed_letter(letter: Letter, change: Change) -> Letter:
    """The message with other values."""
    return replace(letter, values=change(letter.values))


def _changed_seen(seen: Seen, change: Change) -> Seen:
    if seen.said is None or seen.said.value is None:
        return seen
    return replace(seen, said=replace(seen.said, value=change(seen.said.value)))


def _changed_timer(timer: Timer, change: Change) -> Timer:
    return replace(timer, values=change(timer.values))


def _changed_parcel(parcel: Parcel, change: Change) -> Parcel:
    return parcel if parcel.values is None else replace(parcel, values=change(parcel.values))


def _changed_dead(dead: Dead, change: Change) -> Dead:
    return replace(dead, letter=changed_letter(dead.letter, change))
