"""Errors of graphs and their nodes: what was declared can't run, or broke a rule while it ran."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Literal

from actorflow.errors.root import ActorflowError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class GraphError(ActorflowError, ValueError):
    """The graph as declared can't run. ``problems`` lists every reason at once."""

    def __init__(self, graph: str, problems: Sequence[str]) -> None:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"graph {graph!r} has {len(problems)} problem{'s' * (len(problems) != 1)}:{lines}")
        self.graph = graph
        self.problems = tuple(problems)


class BadContext(ActorflowError, TypeError):
    """What was given as ``context=`` is not of the class that the graph declares. Nothing was written."""

    def __init__(self, graph: str, wanted: type, given: object) -> None:
        kind = type(given)
        names = getattr(wanted, "__qualname__", str(wanted)), kind.__qualname__
        if names[0] == names[1]:  # of another module, or declared twice
            names = f"{wanted.__module__}.{names[0]}", f"{kind.__module__}.{names[1]}"
        super().__init__(
            f"graph {graph!r} declares Graph(context={names[0]}), and was given a context of type {names[1]}"
        )
        self.graph = graph
        self.wanted = wanted
        self.given = given


class NoContext(BadContext):
    """The graph declares ``context=``, and this process has none for it. Nothing was written.

    You *don't* get this where None is one: ``Graph(context=Clients | None)``.
    """

    def __init__(self, graph: str, wanted: type | None) -> None:
        super().__init__(graph, wanted or object, None)
        name = getattr(wanted, "__qualname__", str(wanted))
        said = f"graph {graph!r} declares Graph(context={name}), and this process has none for its runs"
        self.args = (f"{said}; give context= with the call, or with the graph to register()",)


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
    """What is around a node, or inside a step of it, asked somebody or slept. Only the node itself can wait.

    The node is called again when it has its answer; a middleware, a step and a
    function that undoes one are not.
    """

    def __init__(self, node: str, question: str, within: str = "a middleware") -> None:
        super().__init__(
            node,
            f"{within} of node {node!r} asks {question!r}, and {within.rsplit(maxsplit=1)[-1]} can't wait; "
            "ask in the node, or in one before it",
        )
        self.question = question


class AmbiguousStep(NodeError):
    """Two steps of one name go on side by side, and nothing says which is which. Neither of the two was begun twice.

    Which of them began first is timing, so that after a restart each could
    get the result of the other.
    """

    def __init__(self, node: str, step: str, key: str | None = None) -> None:
        which = repr(step) if key is None else f"{step!r} with key={key!r}"
        remedy = "say key= in each of them" if key is None else "give each a key= of its own"
        super().__init__(node, f"node {node!r} has two steps {which} side by side; {remedy}")
        self.step = step
        self.key = key


class OutcomeUnknown(NodeError):
    """A step that must not run twice was begun, and nobody knows what came of it. It was not run again.

    ``idempotency_key`` is what it was done under. With ``reconcile=`` the
    step asks whoever knows; a node can catch this and ask a human.
    """

    def __init__(self, node: str, step: str, key: str | None, idempotency_key: str) -> None:
        which = repr(step) if key is None else f"{step!r} (key={key!r})"
        super().__init__(
            node,
            f"node {node!r}: step {which} was begun and its outcome is unknown, so that it is not run again; say "
            f"reconcile= to ask whoever knows, by its idempotency key {idempotency_key}",
        )
        self.step = step
        self.key = key
        self.idempotency_key = idempotency_key


class StepFailed(NodeError):
    """A step failed for good: its retries are used up, or it must not run twice. ``type_name`` is what it raised.

    It is the same on every attempt of the node. ``__cause__`` is the exception,
    where it was raised just now, and a `RemoteError` after that.
    """

    def __init__(self, node: str, step: str, key: str | None, type_name: str, message: str) -> None:
        which = repr(step) if key is None else f"{step!r} (key={key!r})"
        super().__init__(node, f"node {node!r}: step {which} failed for good: {type_name}: {message}")
        self.step = step
        self.key = key
        self.type_name = type_name


class StepTimeout(NodeTimeout):
    """A step took longer than its timeout: one attempt of it, or all of them together."""

    def __init__(self, node: str, step: str, seconds: float, limit: Literal["attempt", "total"] = "attempt") -> None:
        super().__init__(node, seconds, limit)
        whole = "" if limit == "attempt" else ", its total timeout for all attempts"
        self.args = (f"node {node!r}: step {step!r} took longer than {seconds:g} s{whole}",)
        self.step = step


class BadStepResult(NodeError, TypeError):
    """What a step returned can't be kept, or is not of the type that is wanted."""

    def __init__(self, node: str, step: str, problem: str) -> None:
        super().__init__(node, f"node {node!r}: the result of step {step!r} {problem}")
        self.step = step


class UnknownUndo(NodeError, LookupError):
    """A step names a function to undo it that the graph does not declare. Nothing was done."""

    def __init__(self, node: str, step: str, undo: str, declared: Iterable[str]) -> None:
        names = ", ".join(sorted(declared)) or "none"
        super().__init__(
            node,
            f"node {node!r}: step {step!r} is undone by {undo!r}, which no graph of the run declares (declared: "
            f"{names}); declare it with @graph.undo",
        )
        self.step = step
        self.undo = undo


class AttemptOver(NodeError, RuntimeError):
    """A node wanted to record something after its attempt was over: it was too slow, cancelled, or has returned.

    Nothing was recorded.
    """

    def __init__(self, node: str | None, what: str) -> None:
        which = "a node" if node is None else f"node {node!r}"
        super().__init__(node, f"{which}: {what} came after its attempt was over; nothing of it was recorded")
        self.what = what


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


class TooManySteps(ActorflowError):
    """A node has more steps than ``max_steps``: most likely a loop without an end. The last one was not begun."""

    def __init__(self, node: str, limit: int) -> None:
        super().__init__(
            f"node {node!r} has more than {limit:,} steps, and all are remembered until it is finished; "
            "let several nodes do the work, or a map, or raise Graph(..., max_steps=)"
        )
        self.node = node
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


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"ended with exit status {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:  # a real-time signal
        name = f"signal {-exit_code}"
    out_of_memory = " (nobody did it? then the system was out of memory)" if name == "SIGKILL" else ""
    return f"was killed by {name}{out_of_memory}"
