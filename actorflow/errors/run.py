"""Errors about one run: its id, who owns it, what it waits for, how it ended."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from actorflow.errors.root import ActorflowError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_FEW = 5
"""Of how many runs a message tells."""


class RunError(ActorflowError):
    """About one run, named by ``run_id``."""

    def __init__(self, run_id: str, message: str) -> None:
        super().__init__(message)
        self.run_id = run_id


class BadRunId(RunError, ValueError):
    """This string can't be a run id."""

    def __init__(self, run_id: str, problem: str) -> None:
        super().__init__(run_id, f"{run_id[:80]!r} can't be a run id: {problem}")


class NoSuchRun(RunError, LookupError):
    """No run of this id exists in the store.

    You *don't* get this when files exist but can't be read: that is
    `CorruptCheckpoint`, and the run is not silently started afresh.
    """

    def __init__(self, run_id: str, near: Sequence[str] = ()) -> None:
        hint = f"did you mean {', '.join(repr(name) for name in near)}?" if near else "use spawn() or run() to start it"
        super().__init__(run_id, f"no run {run_id!r} in this store; {hint}")
        self.near = tuple(near)


class RunExists(RunError):
    """The id is taken. Nothing was started and nothing was changed."""

    def __init__(self, run_id: str, problem: str = "exists already") -> None:
        super().__init__(
            run_id,
            f"run {run_id!r} {problem}; resume(graph, id) goes on with it, "
            'spawn(..., on_conflict="attach") takes it as it is, another id starts a new one',
        )


class WrongGraph(RunError):
    """The id belongs to a run of another graph."""

    def __init__(self, run_id: str, found: str, wanted: str) -> None:
        super().__init__(run_id, f"run {run_id!r} is a run of graph {found!r}, not of {wanted!r}; use another id")
        self.found = found
        self.wanted = wanted


class UnknownGraph(RunError, LookupError):
    """The graph of the run is not registered here, and without it nobody can say what this would do."""

    def __init__(self, run_id: str, graph: str) -> None:
        super().__init__(run_id, f"run {run_id!r} is of graph {graph!r}; make it known with rt.register(graph)")
        self.graph = graph


class RunOwned(RunError):
    """A live actor in another process (or another Runtime) owns the run. Nothing was changed."""

    def __init__(self, run_id: str, host: str, pid: int, *, here: bool = True) -> None:
        if not here:
            remedy = "that is another machine, whose end can't be seen from here: close the runtime there"
        elif pid == os.getpid():
            remedy = "that is this process: use the Runtime that has it, or leave that one first"
        else:
            remedy = "stop it there, or wait: the run can be claimed as soon as that process ends"
        super().__init__(run_id, f"run {run_id!r} is owned by process {pid} on {host}; {remedy}")
        self.host = host
        self.pid = pid


class ImportUnfinished(RunOwned):
    """The run is being copied from another store, or that was cut off. Nobody goes on with half a run."""

    def __init__(self, run_id: str, host: str, pid: int) -> None:
        super().__init__(run_id, host, pid)
        self.args = (f"run {run_id!r} is being imported, or its import was cut off; to finish it, ask for it again",)


class RunDeleted(RunError, LookupError):
    """The run was deleted; its id stays taken, unless somebody asks for it again by name."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            run_id, f"run {run_id!r} was deleted; use another id, or begin it anew: spawn(..., reuse=True)"
        )


class ChildNotBegun(RunError):
    """Another run is still to begin as a child of this one, so that this one can't be deleted yet. It is as it was.

    A spawn that was committed happens, but nobody has begun the child so far: no process with its graph was there.
    """

    def __init__(self, run_id: str, children: Mapping[str, str]) -> None:
        named = ", ".join(f"{child!r} of graph {graph!r}" for child, graph in children.items())
        super().__init__(
            run_id,
            f"run {run_id!r} is not deleted: what it has spawned is not begun yet: {named}; a runtime of this store "
            "that knows the graph (Runtime(graphs=[...])) begins it by itself, and then this one can be deleted",
        )
        self.children = dict(children)


class CheckpointGone(RunError, LookupError):
    """Retention let go of this checkpoint. The run itself is whole: its history begins with ``oldest``."""

    def __init__(self, run_id: str, seq: int, oldest: int) -> None:
        super().__init__(
            run_id, f"commit {seq} of run {run_id!r} was let go of by retention; the oldest one kept is {oldest}"
        )
        self.seq = seq
        self.oldest = oldest


class RunWaiting(RunError):
    """The run waits for somebody outside, so that it has no result yet. It is durable, and costs nothing."""

    def __init__(self, run_id: str, status: str, questions: Sequence[str], others: Sequence[str] = ()) -> None:
        asked = f"an answer to {', '.join(map(repr, questions))}" if questions else ""
        awaited = ", ".join(filter(None, (asked, *others)))
        asks = f" for {awaited}" if awaited else ""
        remedy = "answer() it, and wait for its result() then" if questions else "unpause() it"
        if not questions and status == "waiting":
            remedy = "it goes on when its time or a message for it has come; a runtime that is open sees to that"
        super().__init__(run_id, f"run {run_id!r} is {status}{asks}; {remedy}")
        self.status = status
        self.questions = tuple(questions)


class RunEnded(RunError):
    """The run is over, and this is only for a run that is not."""

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(
            run_id, f"run {run_id!r} is {status}; input(), rewind(), fork() and resume() go on from a run that is over"
        )
        self.status = status


class NotWaiting(RunError):
    """Nobody asks what this is to answer: nothing waits in the run, or not for that."""

    def __init__(self, run_id: str, status: str, to: str | None) -> None:
        what = "no question is open in it" if to is None else f"no question {to!r} is open in it"
        super().__init__(run_id, f"run {run_id!r} is {status}: {what}; interrupts() lists those that are")
        self.status = status
        self.to = to


class BadAnswer(RunError, TypeError):
    """An answer is not what was asked for. The question stays open, and nothing has changed."""

    def __init__(self, run_id: str, question: str, problem: str) -> None:
        super().__init__(run_id, f"{question!r} of run {run_id!r} is not answered by this: {problem}")
        self.question = question


class NoSuchTarget(RunError, LookupError):
    """The run has no such node, or no such scope at this moment."""

    def __init__(self, run_id: str, target: str, known: Iterable[str]) -> None:
        names = ", ".join(known)
        super().__init__(run_id, f"run {run_id!r} has no {target!r} now; name a node ({names}) or scope/node")
        self.target = target


class AmbiguousTarget(RunError, LookupError):
    """Several activations, or several questions, could be meant: name one of ``choices``."""

    def __init__(self, run_id: str, what: str, choices: Sequence[str]) -> None:
        super().__init__(run_id, f"run {run_id!r}: more than one {what} could be meant: {', '.join(choices)}")
        self.choices = tuple(choices)


class InputPending(RunError):
    """The run still works on what it was given before."""

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(
            run_id, f'run {run_id!r} is {status}; wait for it, or say on_pending="queue" or on_pending="discard"'
        )
        self.status = status


class NotPaused(RunError):
    """The run goes on by itself, so that nobody can say where it is."""

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(run_id, f"run {run_id!r} is {status}; pause() it first, or let it come to wait")
        self.status = status


class RunFailed(RunError):
    """The run ended as failed. ``__cause__`` is the error; the history is intact, and resume() reopens it.

    ``state`` is the last committed state, ``seq`` the commit that recorded the end.
    """

    def __init__(self, run_id: str, *, node: str | None, seq: int, state: Any, error: str) -> None:
        where = f" in node {node!r}" if node is not None else ""
        super().__init__(
            run_id,
            f"run {run_id!r} failed{where} at commit {seq}: {error}; resume(graph, {run_id!r}) tries again from there",
        )
        self.node = node
        self.seq = seq
        self.state = state


class RunCancelled(RunError):
    """The run was cancelled: a recorded outcome. resume() reopens it."""

    def __init__(self, run_id: str, *, seq: int) -> None:
        super().__init__(run_id, f"run {run_id!r} was cancelled at commit {seq}; resume(graph, {run_id!r}) reopens it")
        self.seq = seq


class BadCallerId(RunError, ValueError):
    """This string can't be the id of a message. Nothing was sent."""

    def __init__(self, run_id: str, caller_id: str, problem: str) -> None:
        super().__init__(run_id, f"{str(caller_id)[:80]!r} can't be the id of a message to run {run_id!r}: {problem}")
        self.caller_id = caller_id


class IdempotencyConflict(RunError):
    """The id of a message, or its number in a lane, was used before for another content. Nothing was changed."""

    def __init__(self, run_id: str, message: str) -> None:
        super().__init__(
            run_id,
            f"{message} was sent to run {run_id!r} before, with another content; "
            "the same id is the same message: give another message another id",
        )
        self.message = message


class MailboxFull(RunError):
    """So much waits for the run to handle it that it takes no more. The message was not taken."""

    def __init__(self, run_id: str, messages: int, size: int) -> None:
        super().__init__(
            run_id,
            f"the mailbox of run {run_id!r} is full: {messages:,} messages of {size:,} bytes wait; send again later, "
            "let send() wait for room, or raise Graph(mailbox=)",
        )
        self.messages = messages
        self.size = size


class BadMessage(RunError, TypeError):
    """The run takes no messages of this type, or this is no message. Nothing was changed."""

    def __init__(self, run_id: str, type_name: str, known: Sequence[str], problem: str = "") -> None:
        takes = f"it takes {', '.join(known)}" if known else "it takes none; declare what handles it with Graph.on"
        super().__init__(run_id, f"run {run_id!r} can't be sent {type_name}: {problem or takes}")
        self.type_name = type_name
        self.known = tuple(known)


class MessageRejected(RunError):
    """The graph refused the message before anything was changed. What it raised is the cause."""

    def __init__(self, run_id: str, type_name: str, reason: str) -> None:
        super().__init__(run_id, f"run {run_id!r} rejected {type_name}: {reason}")
        self.type_name = type_name
        self.reason = reason


class AskFailed(RunError):
    """The run could not answer: its handler raised, or it ended before. The text of that is in ``reason``.

    The message is a dead letter of the run: `Run.dead_letters` has it.
    """

    def __init__(self, run_id: str, reason: str, traceback: str = "") -> None:
        super().__init__(run_id, f"run {run_id!r} did not answer: {reason}")
        self.reason = reason
        self.traceback = traceback


class ChildFailed(RunError):
    """A run whose result a node waited for did not finish. How it ended, and with what, is in ``reason``."""

    def __init__(self, run_id: str, reason: str, traceback: str = "") -> None:
        super().__init__(run_id, f"run {run_id!r} has no result: {reason}")
        self.reason = reason
        self.traceback = traceback


class LinkedExit(RunError):
    """A run that this one is linked to ended, and not well, so that this one fails with it."""

    def __init__(self, run_id: str, other: str, status: str) -> None:
        super().__init__(run_id, f"run {run_id!r} is linked to run {other!r}, which is {status}")
        self.other = other
        self.status = status


class OutOfOrder(RunError):
    """A message of a lane came before others of it. It was not taken; it is sent again after those."""

    def __init__(self, run_id: str, sender: str, generation: int, number: int) -> None:
        super().__init__(
            run_id, f"run {run_id!r} was sent number {number} of generation {generation} by {sender} before others"
        )


class WindowFull(RunError):
    """The run remembers as many ids of messages as it can, and may not forget one yet. The message was not taken.

    ``wait`` is the number of seconds until the oldest of them may be forgotten.
    """

    def __init__(self, run_id: str, *, ids: int, hours: float, wait: float) -> None:
        super().__init__(
            run_id,
            f"run {run_id!r} has taken {ids:,} messages with an id of their own within {hours:g} h, as many as it "
            f"remembers; send again in {wait:.0f} s, send from a run, or raise the limit",
        )
        self.ids = ids
        self.hours = hours
        self.wait = wait


class Quarantined(RunError):
    """The run is set aside because process after process died with it. Nothing was lost."""

    def __init__(self, run_id: str, crashes: int) -> None:
        super().__init__(
            run_id,
            f"run {run_id!r} is quarantined: {crashes} processes died with it without finishing an activation; "
            f"find out why, then resume(graph, {run_id!r})",
        )
        self.crashes = crashes


class Blocked(RunError):
    """This process can't run what the newest header says, and wrote nothing. ``__cause__`` says why."""

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(run_id, f"run {run_id!r} is blocked in this process: {reason}")
        self.reason = reason


class ReloadRefused(ActorflowError):
    """Runs that live here can't go on under the new code of their graph, so that all of them stay with the old.

    ``reasons`` has what is in the way, by the id of the run.
    """

    def __init__(self, graph: str, reasons: Mapping[str, str]) -> None:
        few = list(reasons.items())[:_FEW]
        more = f"\n  - and {len(reasons) - len(few):,} more" if len(reasons) > len(few) else ""
        lines = "".join(f"\n  - run {run_id!r}: {reason}" for run_id, reason in few)
        many = "1 run" if len(reasons) == 1 else f"{len(reasons):,} runs"
        super().__init__(f"graph {graph!r} goes on as it was: {many} can't go on under the new code:{lines}{more}")
        self.graph = graph
        self.reasons = dict(reasons)
