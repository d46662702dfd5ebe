"""Forgetting: a run may begin children for as long as it lives, and keeps nothing of those that ended. Part of `fold`.

What it must keep of a child, as long as the activation that began it is open:
that it did, since it says so again when it runs again. After that, a child
whose end this run has taken is of no concern any more. Two rules let it go:

- A lane that was forgotten begins again as a later generation, so that nothing
  the child has of the first one stands in the way, and nothing counts twice.
- A mark goes only if word of the end was all that the child ever sent: that
  comes again as word of the end of no child, which says nothing. With it a
  sender ends its lane, and what it sends later is a later generation, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from actorflow.engine.mail import Mail
    from actorflow.engine.records import Forgotten
    from actorflow.engine.run import RunState


def child_ended(run: RunState, record: Forgotten) -> None:
    """A child is forgotten, now or with the activation that began it."""
    mail = run.mail
    child = mail.children.get(record.run_id)
    if child is None or record.by not in run.open:
        forget(mail, record.run_id, record.sender, record.generation)
    elif child.over is None:
        mail.children[record.run_id] = replace(child, over=(record.sender, record.generation))
        mail.over.setdefault(record.by, []).append(record.run_id)


def forget_children_of(mail: Mail, activation: int) -> None:
    """An activation is over: so are its children that had ended before."""
    for run_id in mail.over.pop(activation, ()):
        child = mail.children.get(run_id)
        if child is not None and child.over is not None:
            forget(mail, run_id, *child.over)


def end_lane(mail: Mail, run_id: str) -> None:
    """What is sent to a run from here on is of a later generation."""
    if mail.lanes.pop(run_id, None) is not None:
        mail.forgotten += 1


def let_go(mail: Mail, run_id: str) -> None:
    """Have no hold on a run any more that was begun as a child; word of its end is still to come if it is watched."""
    child = mail.children.get(run_id)
    if child is not None and child.watched:
        mail.children[run_id] = replace(child, on_close="forget")
    elif child is not None:
        forget(mail, run_id)


def forget(mail: Mail, run_id: str, sender: str | None = None, generation: int = 0) -> None:
    """Keep nothing of a child; also not what it has sent, if that was only word of its end."""
    mail.children.pop(run_id, None)
    end_lane(mail, run_id)
    if sender is not None and mail.marks.get(sender) == (generation, 1):
        del mail.marks[sender]
