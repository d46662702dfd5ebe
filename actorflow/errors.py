"""Everything that can go wrong, as types: each names the thing, the place and the remedy.

    ActorflowError
    ├── GraphError (ValueError)              the graph as declared can't run: all problems at once
    ├── NodeError                            a node broke a rule; a restart would not help
    │   ├── BadUpdate (TypeError)            wrong type, unknown field, or something that can't be encoded
    │   ├── ReducerError                     a reducer raised or returned the wrong type
    │   ├── ConcurrentWrite                  two branches wrote one field and nothing says how to merge
    │   ├── UndeclaredTarget (LookupError)   a branch or Goto named a target that was not declared
    │   ├── StateMutated                     a node changed its state in place (debug mode only)
    │   ├── NodeTimeout (TimeoutError)       a node took longer than its timeout
    │   ├── StateTooLarge                    an update would make the state larger than max_state
    │   ├── WaitInMiddleware (RuntimeError)  middleware asked somebody; only nodes can wait
    │   ├── WorkerDied (ChildProcessError)   the worker process of a node ended under it
    │   ├── NotInWorker (AttributeError)     a node in a worker process asked for what is not there
    │   └── NestedWorkers (RuntimeError)     a module that a worker process imports starts workers itself
    ├── JoinStarved                          nothing is open, and a join waits for legs that can't come
    ├── TooManyActivations                   the run passed max_activations
    ├── TooManyItems                         a fan-out is larger than max_items
    ├── NoItems (LookupError)                a fan-out has no items, and on_empty="fail"
    ├── TooDeep (RecursionError)             graphs inside graphs, without an end
    ├── UnknownNode (LookupError)            an open activation names a node that this graph lacks
    ├── MigrationError                       a saved state can't be brought to the code's version
    │   ├── DuplicateMigration               two migrations for one edge (at registration)
    │   ├── AmbiguousMigration               two shortest chains
    │   ├── NoMigration (LookupError)        no chain leads there
    │   ├── MigrationFailed                  a migration raised; __cause__ is what it raised
    │   ├── MigrationTimeout (TimeoutError)  a migration passed its time limit
    │   ├── BadMigration (TypeError)         what a migration returned does not decode
    │   ├── SchemaTooNew                     the file is newer than the code
    │   └── SchemaDrift (TypeError)          same version, other fields
    ├── RunError                             about one run
    │   ├── BadRunId (ValueError)            this string can't be a run id
    │   ├── NoSuchRun (LookupError)          no run of this id exists
    │   ├── RunExists                        the id is taken (or its input was another one)
    │   ├── WrongGraph                       the id belongs to a run of another graph
    │   ├── UnknownGraph (LookupError)       the graph of the run is not registered here
    │   ├── RunOwned                         a live actor elsewhere owns the run
    │   │   └── ImportUnfinished             it is being imported, or its import was cut off
    │   ├── RunDeleted (LookupError)         the id was deleted
    │   ├── CheckpointGone (LookupError)     retention let go of this checkpoint
    │   ├── RunWaiting                       it waits for somebody, so that it has no result yet
    │   ├── RunEnded                         it is over, and this is only for a run that is not
    │   ├── NotWaiting                       it has no such question open
    │   ├── BadAnswer (TypeError)            an answer is not what was asked for
    │   ├── NoSuchTarget (LookupError)       the run has no such node or scope
    │   ├── AmbiguousTarget (LookupError)    several activations, or several questions, could be meant
    │   ├── InputPending                     it still works on what it was given before
    │   ├── NotPaused                        it goes on by itself, and this needs it to wait or be paused
    │   ├── RunFailed                        the run ended as failed; __cause__ is the node's error
    │   ├── RunCancelled                     the run ended as cancelled
    │   ├── BadCallerId (ValueError)         this string can't be the id of a message
    │   ├── IdempotencyConflict              the id of a message was used for another content
    │   ├── WindowFull                       the run remembers as many ids of messages as it can
    │   ├── Quarantined                      the run is set aside: a crash loop
    │   └── Blocked                          this process can't run what the newest header says
    ├── StoreError (OSError)                 about the store
    │   ├── UnsafeStore                      this store can't keep the guarantees
    │   ├── BadStoreUrl (ValueError)         this URL names no store
    │   │   └── NoSuchStore                  there is none, and it was not to be made
    │   ├── StoreMarkerMissing               runs without actorflow.json: not touched
    │   ├── ForeignStore                     actorflow.json is not ours, or of a later format
    │   ├── StoreFull                        no space, no quota, or over a limit
    │   ├── StoreDenied (PermissionError)    not allowed
    │   ├── StoreUnavailable                 the store does not answer; nothing was decided
    │   ├── CommitTooLarge                   one commit over the limit
    │   ├── CommitRefused                    validate= refused a commit
    │   ├── MessageTooLarge                  one message over the limit
    │   ├── CorruptMessage                   a message is damaged, foreign or not where it belongs
    │   ├── MissingKey                       a file is sealed under a key that is not in the keyring
    │   ├── MissingExtra                     reading or writing this takes a library that is not installed
    │   ├── CommitUnknown                    it stayed unclear whether a commit took effect
    │   ├── Fenced                           another owner claimed the run
    │   └── CorruptCheckpoint                a file is damaged, foreign or not where it belongs
    │       ├── UnsupportedFormat            a file of a format or with a flag this version can't read
    │       └── NotSealed                    a file is protected less than the store requires
    ├── BadKeyring (ValueError)              these keys can't be used
    └── RuntimeClosed (RuntimeError)         the runtime is not open

User exceptions travel unchanged as ``__cause__``; from another process they
come back as `RemoteError`, with type name, message and traceback as text.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class ActorflowError(Exception):
    """The root of all errors that actorflow raises on purpose."""


class RuntimeClosed(ActorflowError, RuntimeError):
    """The runtime was not entered, or has been left."""

    def __init__(self) -> None:
        super().__init__("this Runtime is not open; use it inside `async with Runtime(...) as rt:`")


class RemoteError(Exception):
    """A user's exception as it was recorded: type name, message and traceback text; and the node, if one handles it.

    Nothing is unpickled to rebuild the original (no code from data), so this
    stands in its place as the ``__cause__`` of `RunFailed`.
    """

    def __init__(self, type_name: str, message: str, traceback: str = "", *, node: str | None = None) -> None:
        # not super(): a worker's error is also an instance of a class that may be made of anything
        Exception.__init__(self, f"{type_name}: {message}" if message else type_name)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback
        self.node = node
        if traceback:
            self.add_note(traceback.rstrip())

    def __str__(self) -> str:
        return str(self.args[0])


# -- the graph ------------------------------------------------------------------


class GraphError(ActorflowError, ValueError):
    """The graph as declared can't run. ``problems`` lists every reason at once."""

    def __init__(self, graph: str, problems: Sequence[str]) -> None:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"graph {graph!r} has {len(problems)} problem{'s' * (len(problems) != 1)}:{lines}")
        self.graph = graph
        self.problems = tuple(problems)


class NodeError(ActorflowError):
    """A node broke a rule of the graph. Restarting would not help, so the run fails at once."""

    def __init__(self, node: str | None, message: str) -> None:
        super().__init__(message)
        self.node = node


class BadUpdate(NodeError, TypeError):
    """A node returned something that is no update of its State, or an input (``node`` is None) is no State.

    Nothing of it was merged, and no run began with it.
    """

    def __init__(self, node: str | None, problem: str, *, field: str | None = None) -> None:
        where = "the input" if node is None else f"node {node!r}"
        super().__init__(node, f"{where}{'' if field is None else f', field {field!r}'}: {problem}")
        self.field = field


class ReducerError(NodeError):
    """A reducer raised, or its result does not fit the field."""

    def __init__(self, node: str | None, field: str, problem: str) -> None:
        where = "the input" if node is None else f"node {node!r}"
        super().__init__(node, f"{where}: the reducer of field {field!r} {problem}")
        self.field = field


class ConcurrentWrite(NodeError):
    """A node overwrote a field whose last write it had not seen.

    You *don't* get this because two nodes ran at the same moment, but because
    neither comes after the other in the graph: it happens on every execution.
    """

    def __init__(self, node: str, fields: Iterable[str]) -> None:
        names = ", ".join(repr(name) for name in sorted(fields))
        super().__init__(
            node,
            f"node {node!r} overwrites {names}, written by a branch it does not come after; "
            "give the field a reducer (Annotated[T, reducer]) or order the nodes with after=",
        )
        self.fields = tuple(sorted(fields))


class UndeclaredTarget(NodeError, LookupError):
    """A branch or a returned Goto named a target that the graph does not declare."""

    def __init__(self, node: str, target: str, declared: Iterable[str]) -> None:
        names = ", ".join(sorted(declared)) or "none"
        super().__init__(
            node,
            f"node {node!r} routes to {target!r}, which is not declared (declared: {names}); "
            "a node declares its targets with goto=, a branch with its annotation or to=",
        )
        self.target = target


class StateMutated(NodeError):
    """A node changed its state in place. The change has no effect; return an update instead."""

    def __init__(self, node: str, fields: Iterable[str]) -> None:
        names = ", ".join(repr(name) for name in sorted(fields))
        super().__init__(node, f"node {node!r} changed {names} in place; return an update instead")
        self.fields = tuple(sorted(fields))


class NodeTimeout(NodeError, TimeoutError):
    """A node took longer than its timeout. A TimeoutError of the user's own stays what it is.

    ``limit`` says which one: of one ``attempt``, the ``total`` of all, or how long it may be ``idle``.
    """

    def __init__(self, node: str, seconds: float, limit: Literal["attempt", "total", "idle"] = "attempt") -> None:
        what = {
            "attempt": f"took longer than its timeout of {seconds:g} s",
            "total": f"took longer than {seconds:g} s, its total timeout for all attempts",
            "idle": f"said nothing for {seconds:g} s, its idle timeout; ctx.heartbeat() says that it goes on",
        }[limit]
        super().__init__(node, f"node {node!r} {what}")
        self.seconds = seconds
        self.limit = limit


class StateTooLarge(NodeError):
    """An update would make the state larger than ``max_state``. It was not merged."""

    def __init__(self, node: str, size: int, limit: int, field: str) -> None:
        super().__init__(
            node,
            f"node {node!r} would bring the state to about {size:,} bytes, and max_state is {limit:,}; the largest "
            f"field is {field!r}: keep large data elsewhere, use bounded(), or raise Graph(..., max_state=)",
        )
        self.size = size
        self.limit = limit
        self.field = field


class WaitInMiddleware(NodeError, RuntimeError):
    """A middleware asked somebody. Only the node itself can wait: it is called again when it has its answer."""

    def __init__(self, node: str, question: str) -> None:
        super().__init__(
            node,
            f"a middleware of node {node!r} asks {question!r}, and middleware can't wait; "
            "ask in the node, or in one before it",
        )
        self.question = question


class WorkerDied(NodeError, ChildProcessError):
    """The worker process that ran a node with ``isolate="process"`` ended before it answered, or had to be ended.

    Another one takes its place; whether the node is tried again is for its
    `Retry` and the supervisor to say. ``exit_code`` is as `subprocess` has it,
    the negative number of a signal; None: it was ended since it did not do its part.
    """

    def __init__(self, node: str, exit_code: int | None, problem: str | None = None) -> None:
        super().__init__(node, f"node {node!r}: its worker process {problem or _how_it_ended(exit_code)}")
        self.exit_code = exit_code


class NotInWorker(NodeError, AttributeError):
    """A node with ``isolate="process"`` asked its context for something that only the runtime's process has."""

    def __init__(self, node: str, attribute: str) -> None:
        super().__init__(
            node,
            f"node {node!r} runs in a worker process, where there is no ctx.{attribute}; "
            "use it in a node of its own, without isolate=, before or after this one",
        )
        self.attribute = attribute


class NestedWorkers(NodeError, RuntimeError):
    """A module that a worker process imports starts worker processes itself: that would go on for ever."""

    def __init__(self, node: str) -> None:
        super().__init__(
            node,
            f"node {node!r} is to run in a worker process of a worker process that only imports its module; "
            'put what the module runs under `if __name__ == "__main__":`',
        )


class JoinStarved(ActorflowError):
    """Nothing is open any more, and a join holds some of its legs but can't get the others."""

    def __init__(self, waiting: Mapping[str, Sequence[str]]) -> None:
        joins = "; ".join(f"{node!r} still waits for {', '.join(legs)}" for node, legs in sorted(waiting.items()))
        super().__init__(f"{joins}; a branch left the leg out, or it ended with END")
        self.waiting = {node: tuple(legs) for node, legs in waiting.items()}


class TooManyActivations(ActorflowError):
    """The run passed ``max_activations``: most likely a loop without an end."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"more than {limit} activations since the run was last opened; "
            "if the graph is right, raise Graph(..., max_activations=)"
        )
        self.limit = limit


class TooManyItems(ActorflowError):
    """A fan-out has more items than ``max_items``; none of them was begun."""

    def __init__(self, node: str, items: int, limit: int) -> None:
        super().__init__(
            f"node {node!r} fans out over {items:,} items, more than {limit:,}; "
            "take several at once, or raise Graph(..., max_items=)"
        )
        self.node = node
        self.items = items
        self.limit = limit


class NoItems(ActorflowError, LookupError):
    """A fan-out with ``on_empty="fail"`` has nothing to fan out over."""

    def __init__(self, node: str) -> None:
        super().__init__(f'node {node!r} has no items; with on_empty="skip" it would be passed over')
        self.node = node


class TooDeep(ActorflowError, RecursionError):
    """Graphs run inside graphs, deeper than is allowed: most likely one that contains itself without an end."""

    def __init__(self, node: str, limit: int) -> None:
        super().__init__(f"node {node!r} would be the {limit + 1}th graph inside another; {limit} are allowed")
        self.node = node
        self.limit = limit


class UnknownNode(ActorflowError, LookupError):
    """A saved run has an open activation of a node that this graph does not have, or has as another kind of node."""

    def __init__(self, node: str, graph: str, *, is_graph: bool | None = None) -> None:
        what = f"no node {node!r}" if is_graph is None else f"no subgraph or map {node!r}"
        super().__init__(
            f"graph {graph!r} has {what}, but the run is there; "
            f'keep the node, or say Graph(..., moves={{"{node}": "new-name"}})'
        )
        self.node = node
        self.graph = graph


# -- migrations -----------------------------------------------------------------


class MigrationError(ActorflowError):
    """A saved state can't be brought to the version of the code. Its files stay as they are."""

    def __init__(self, message: str, *, schema: str, found: Any, wanted: Any) -> None:
        super().__init__(message)
        self.schema = schema
        self.found = found
        self.wanted = wanted


class DuplicateMigration(MigrationError):
    """Two migrations were registered for the same pair of versions."""


class AmbiguousMigration(MigrationError):
    """Two chains of the same length lead from the saved version to the code's."""


class NoMigration(MigrationError, LookupError):
    """No chain of migrations leads from the saved version to the code's."""


class MigrationFailed(MigrationError):
    """A migration raised. The chain stopped there; ``__cause__`` is what it raised."""


class MigrationTimeout(MigrationError, TimeoutError):
    """A migration passed its time limit."""


class BadMigration(MigrationError, TypeError):
    """What a migration returned does not decode as the State it should be."""


class SchemaTooNew(MigrationError):
    """The checkpoint was written by a later version of the schema than the code knows."""


class SchemaDrift(MigrationError, TypeError):
    """Same schema and version, but the fields differ: give the changed State a new version."""


# -- runs -----------------------------------------------------------------------


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

    def __init__(self, run_id: str, status: str, questions: Sequence[str]) -> None:
        asks = f" for an answer to {', '.join(map(repr, questions))}" if questions else ""
        remedy = "answer() it, and wait for its result() then" if questions else "unpause() it"
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


# -- the store ------------------------------------------------------------------


class StoreError(ActorflowError, OSError):
    """About the store, or a file in it, named by ``path``."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path

    def __str__(self) -> str:
        return str(self.args[0])


class UnsafeStore(StoreError):
    """This store can't keep the guarantees: it lacks exclusive creation, locks, or sits where it must not."""


class BadStoreUrl(StoreError, ValueError):
    """This URL names no store that actorflow can open."""


class NoSuchStore(BadStoreUrl):
    """There could be a store at this URL, but there is none, and who only looks makes none."""


class StoreMarkerMissing(StoreError):
    """There are runs, but actorflow.json is gone. Nothing was written; put the marker back."""


class ForeignStore(StoreError):
    """actorflow.json is not ours, damaged, or of a format this version does not know."""


class StoreFull(StoreError):
    """No space, no quota, or the file passed a limit. Nothing was acknowledged; the last commit is intact."""


class StoreDenied(StoreError, PermissionError):
    """The store refused the operation: read-only, or no permission."""


class StoreUnavailable(StoreError):
    """The store does not answer, or answered with an I/O error. Nothing was decided."""


class CommitTooLarge(StoreError):
    """One commit is larger than the limit. Nothing was written."""

    def __init__(self, path: str, size: int, limit: int) -> None:
        super().__init__(path, f"a commit of {size:,} bytes is over the limit of {limit:,}; keep large data elsewhere")
        self.size = size
        self.limit = limit


class CommitRefused(StoreError):
    """``Runtime(validate=)`` refused a commit; ``__cause__`` is what it raised. Nothing was written."""

    def __init__(self, path: str, run_id: str, seq: int, error: Exception) -> None:
        super().__init__(path, f"commit {seq} of run {run_id!r} was refused by validate=: {error!r}")
        self.run_id = run_id
        self.seq = seq


class MessageTooLarge(StoreError):
    """One message is larger than the limit. Nothing was sent."""

    def __init__(self, path: str, size: int, limit: int) -> None:
        super().__init__(path, f"a message of {size:,} bytes is over the limit of {limit:,}; send where the data is")
        self.size = size
        self.limit = limit


class CorruptMessage(StoreError):
    """A message, or a dead letter, is damaged, foreign, or not where it belongs.

    A message becomes a dead letter, bytes and all, and the ones after it are taken.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, f"{reason}; it is kept as a dead letter, and the messages after it are taken")
        self.reason = reason


class MissingKey(StoreError):
    """A file is sealed under a key that is not in the keyring. Nothing was written; its header can be read."""

    def __init__(self, path: str, key_id: str) -> None:
        super().__init__(path, f"it is sealed under key {key_id!r}, which is not here; add that key to the keyring")
        self.key_id = key_id


class MissingExtra(StoreError):
    """Reading or writing this takes a library that comes with an extra of actorflow."""

    def __init__(self, path: str, what: str, extra: str) -> None:
        super().__init__(path, f"{what} takes a library that is not installed: pip install 'actorflow[{extra}]'")
        self.extra = extra


class CommitUnknown(StoreError):
    """It stayed unclear whether a commit took effect. The actor stops and restarts from storage."""


class Fenced(StoreError):
    """Another owner claimed the run. This one starts nothing and acknowledges nothing any more."""


class CorruptCheckpoint(StoreError):
    """A checkpoint file is damaged, foreign, or not where it belongs.

    The run is quarantined by this verdict of reading: nothing is written
    after a damaged commit, and no earlier one silently takes its place.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, f"{reason}; the run is left as it is (a copy from a backup is the remedy)")
        self.reason = reason


class UnsupportedFormat(CorruptCheckpoint):
    """The file is whole, but of a format or with a flag that this version of actorflow can't read."""


class NotSealed(CorruptCheckpoint):
    """A file is protected less than the store requires.

    Either it was written before that was so, or somebody has put it there:
    what it says is not believed.
    """

    def __init__(self, path: str, found: str, required: str) -> None:
        super().__init__(
            path,
            f"it is {found}, and this store requires {required}; if it was written before the sealing was turned on, "
            f"open the store with require={found!r} and rekey the run",
        )
        self.found = found
        self.required = required


class BadKeyring(ActorflowError, ValueError):
    """These keys can't be used. ``place`` is the file or variable they come from; no key is ever shown."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}")
        self.place = place


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"ended with exit status {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:  # a real-time signal
        name = f"signal {-exit_code}"
    out_of_memory = " (nobody did it? then the system was out of memory)" if name == "SIGKILL" else ""
    return f"was killed by {name}{out_of_memory}"
