"""Reload: the runs of a graph that live here go on under newer code of it: all of them, or none.

First every run is tried against the new code as it is, while it goes on. Then
each finishes what runs and stands still, fully committed and still claimed;
as it stands it is tried again; and only when all of them fit, all go on under
the new code. Nothing is written for it: what the new code changed becomes
durable with the next commit, so that a process that dies at any moment leaves
runs that either code can take up.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import anyio
from msgspec import Struct

from actorflow.engine.snapshot import dump, load
from actorflow.errors import MigrationError, NoContext, ReloadRefused, UnknownNode
from actorflow.graph.state import State
from actorflow.runtime.adopt import adopt
from actorflow.runtime.contexts import lacks_context
from actorflow.runtime.dryrun import problem_of
from actorflow.runtime.opened import OpenRuntime
from actorflow.runtime.options import check_context

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.engine.run import RunState
    from actorflow.graph.graph import Graph
    from actorflow.runtime.halt import Halt
    from actorflow.runtime.life import Life
    from actorflow.runtime.lives import Lives
    from actorflow.store.frames import FilePart

S = TypeVar("S", bound=State)


class Reloaded(Struct, frozen=True, kw_only=True):
    """What came of a reload: the runs that live here and went on under the new code, by their ids.

    Those in ``changed`` were migrated, or stood at a node that has another name now.
    """

    graph: str
    runs: tuple[str, ...]
    changed: tuple[str, ...]


class _Fitted(NamedTuple):
    """A run as the new code understands it."""

    life: Life
    run: RunState
    changed: bool


class Reloading(OpenRuntime):
    """The part of a runtime that changes the code of runs while they live."""

    def newest(self, graph: Graph[S]) -> Graph[S]:
        """The graph that a reload put in the place of this one; itself, if none did."""
        return self._graphs.get(graph.name, graph) if graph in self._replaced else graph

    async def reload(self, graph: Graph[Any], *, drain: float | None = None, context: Any = None) -> Reloaded:
        """Let the runs that live here, and all that come later, go on under newer code of their graph.

        Each run finishes the activations that run just now, and goes on from
        where it stands: its state migrated, its nodes moved, as after a restart.
        Whoever waits for it does not notice. The graph that was replaced stands
        for the new one from then on, wherever it is still given. A run that waits
        in the store has the new code when it comes back.

        If one of the runs can't go on under the new code, none does: all of
        them stay with the old, and so do new ones.

        Args:
            graph: the new code, of the same name.
            drain: seconds that activations may take to finish. What still runs then is cancelled, unrecorded,
                and runs again, under whichever code goes on. By default they take as long as they take.
            context: what the nodes of all of them get as ``ctx.context`` from then on, and of those that come later, as
                with `register`. By default each run keeps what it has.

        Raises:
            GraphError: the graph can't run.
            BadContext: the context is not what the graph declares.
            ReloadRefused: runs can't go on under it; says which, and why.
        """
        _ = graph.plan
        check_context(graph, context)
        lives = self._writable()
        async with lives.one_reload:
            await _fit_all(lives, graph, _others(lives, graph), context)
            lives.reloading.add(graph.name)
            try:
                fitted = await _halt_all(lives, graph, drain, context)
                # nothing is awaited from the last look at them to here: all of them, or none
                self._put_in_place(lives, graph)
                lives.contexts.register(graph, context)
                for one in fitted:
                    one.life.context = one.life.context if context is None else context
                    one.life.go_on(graph, one.run)
            finally:
                lives.reloading.discard(graph.name)
                for life in lives.of_graph(graph.name):
                    life.go_on()
        await lives.workers.renew()
        return Reloaded(
            graph=graph.name,
            runs=tuple(one.life.run_id for one in fitted),
            changed=tuple(one.life.run_id for one in fitted if one.changed),
        )

    def _put_in_place(self, lives: Lives, graph: Graph[Any]) -> None:
        before = self._graphs.get(graph.name)
        self._replaced.update(life.graph for life in _others(lives, graph))
        self._replaced.update([] if before is None else [before])
        self._replaced.discard(graph)
        self._graphs[graph.name] = graph
        lives.blocked.look_again()


async def _halt_all(lives: Lives, graph: Graph[Any], drain: float | None, context: Any) -> list[_Fitted]:
    """Let all runs stand still, and fit each as it stands; all that stand.

    A run that begins meanwhile halts before its first node, so that there is an end to it.

    Raises:
        ReloadRefused: one does not fit.
    """
    fitted: dict[Life, _Fitted] = {}
    late = math.inf if drain is None else anyio.current_time() + drain
    while coming := [life for life in _others(lives, graph) if life not in fitted]:
        halts = [life.halt() for life in coming]
        with anyio.CancelScope(deadline=late) as waiting:
            await _settled(halts)
        if waiting.cancelled_caught:
            for life in coming:
                life.interrupt()
            await _settled(halts)
        standing = [life for life in coming if life.stands]
        fitted |= {one.life: one for one in await _fit_all(lives, graph, standing, context)}
    return [one for one in fitted.values() if one.life.stands]


async def _settled(halts: Iterable[Halt]) -> None:
    for halt in halts:
        await halt.settled.wait()


async def _fit_all(lives: Lives, graph: Graph[Any], those: Iterable[Life], context: Any) -> list[_Fitted]:
    """Runs as the new code understands them, tried on copies.

    Raises:
        ReloadRefused: with all that do not fit.
    """
    fitted: list[_Fitted] = []
    reasons: dict[str, str] = {}
    for life in those:
        run, saved = life.actor.run, life.actor.writer.file
        try:
            work = partial(_fit, graph, dump(run), saved, lives.limits.migration_timeout)
            adopted, problem = await lives.in_store(work)
        except (MigrationError, UnknownNode) as error:
            reasons[life.run_id] = str(error)
            continue
        if problem is None and lacks_context(graph, life.context if context is None else context):
            problem = f"{NoContext(graph.name, graph.context_type)}"
        if problem is not None:
            reasons[life.run_id] = problem
        fitted.append(_Fitted(life, adopted, adopted.renewed))
        adopted.renewed = adopted.renewed or run.renewed
    if reasons:
        raise ReloadRefused(graph.name, reasons)
    return fitted


def _fit(graph: Graph[Any], data: bytes, saved: FilePart, time_limit: float) -> tuple[RunState, str | None]:
    """A run as the new code has it, and why a node could not be given its state, if so. Calls the user's migrations."""
    run = adopt(graph, load(data), saved, time_limit=time_limit)
    return run, problem_of(graph, run)


def _others(lives: Lives, graph: Graph[Any]) -> list[Life]:
    """The lives of runs of a graph of this name that is not this one, and that go on."""
    return [life for life in lives.of_graph(graph.name) if life.graph is not graph and life.lasts]
