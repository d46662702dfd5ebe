"""Undo: functions of a graph that undo what a step did, found again by their names after any restart."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from actorflow.graph.node import input_type, problems_of_name, problems_of_parameters, takes_context
from actorflow.graph.retry import Retries, Retry, policies_of, problems_of_retry
from actorflow.graph.routing import label
from actorflow.graph.signature import identity, is_async, is_generator, placed, site_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from actorflow.graph.plan import Plan


class DeclaredUndo(Struct, frozen=True):
    """A call of `Graph.undo`."""

    fn: Callable[..., Any]
    name: str | None  # None: the function's own
    retry: Retries

    @property
    def called(self) -> str:
        """The name that steps are undone by."""
        return getattr(self.fn, "__name__", "<lambda>") if self.name is None else self.name


class Undo(Struct, frozen=True, eq=False):
    """A function that undoes what a step did: it takes the result of that, and perhaps a context."""

    name: str
    fn: Callable[..., Any]
    is_async: bool
    takes_context: bool
    takes: Any  # the type of the result
    retry: tuple[Retry, ...]


def undos_of(declared: Iterable[DeclaredUndo]) -> dict[str, Undo]:
    """What was declared, as it is run."""
    return {
        one.called: Undo(
            one.called, one.fn, is_async(one.fn), takes_context(one.fn), input_type(one.fn), policies_of(one.retry)
        )
        for one in declared
        if not [*problems_of_retry(one.retry)]
    }


def problems_of_undos(declared: Iterable[DeclaredUndo]) -> Iterator[str]:
    """What is wrong with the undo functions of one graph."""
    seen: set[str] = set()
    for one in declared:
        place = placed(f"undo {one.called!r}", site_of(one.fn))
        problems = [*problems_of_retry(one.retry), *problems_of_parameters(one.fn, None, ("result", "ctx"))]
        if one.called == "<lambda>":
            problems.append("its function has no name of its own; say name=")
        else:
            problems += problems_of_name(one.called)
        if is_generator(one.fn):
            problems.append("it is a generator; it undoes what was done once")
        if one.called in seen:
            problems.append("this name is declared twice; give one of them another with name=")
        seen.add(one.called)
        yield from (f"{place}: {problem}" for problem in problems)


def undos_within(plan: Plan) -> dict[str, Undo]:
    """Those of a graph and of all graphs inside it, by name. Names are told apart across them: see `clashes`."""
    return {undo.name: undo for _, undo in _all(plan)}


def clashes(plan: Plan) -> Iterator[str]:
    """Names under which two graphs inside each other declare different functions."""
    found: dict[str, tuple[str, Undo]] = {}
    for graph, undo in _all(plan):
        first, other = found.setdefault(undo.name, (graph, undo))
        if identity(other.fn) != identity(undo.fn):
            yield (
                f"undo {undo.name!r} is one function in graph {first!r} and another in graph {graph!r}, and a run "
                "finds it by its name; give one of them another with name="
            )


def find_undo(undos: Mapping[str, Undo], wanted: object) -> Undo | None:
    """The declared function that is meant: by its name, or the function itself."""
    if isinstance(wanted, str):
        return undos.get(wanted)
    return next((undo for undo in undos.values() if identity(undo.fn) == identity(wanted)), None)


def named(wanted: object) -> str:
    """How a message calls what was given for ``undo=``."""
    return wanted if isinstance(wanted, str) else label(wanted)


def _all(plan: Plan) -> Iterator[tuple[str, Undo]]:
    seen: set[int] = set()
    todo = [plan]
    while todo:
        one = todo.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield from ((one.graph, undo) for undo in one.undos.values())
        todo += [node.inner.graph.compiled()[0] for node in one.nodes.values() if node.inner is not None]
