"""Dry run: what this code would do with the runs of a store, each read and adopted, and left as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from actorflow.engine.decision import plan_of
from actorflow.engine.operations import thaw
from actorflow.engine.records import ENDED
from actorflow.engine.run import ROOT
from actorflow.errors import Blocked, CorruptCheckpoint, ImportUnfinished, NoSuchRun
from actorflow.graph.state import Version
from actorflow.runtime.claiming import check_graph, nodes_to_start, preview_run
from actorflow.runtime.listing import list_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.engine.run import RunState
    from actorflow.graph.graph import Graph
    from actorflow.runtime.claiming import Limits
    from actorflow.runtime.listing import RunInfo
    from actorflow.store.store import Store


class Verdict(Struct, frozen=True, kw_only=True):
    """What this code could do with one run.

    ``ready``: it could go on, with the nodes in ``starts``. ``over``: it has
    ended, and there is nowhere to go. ``blocked``: it could not; ``reason``
    says why. ``corrupt``: it can't be read at all.
    """

    run: str
    status: str
    verdict: Literal["ready", "over", "blocked", "corrupt"]
    starts: tuple[str, ...] = ()
    migrates: tuple[Version | None, Version | None] | None = None
    reason: str | None = None


def dry_run(store: Store, graph: Graph[Any], limits: Limits, *, ended: bool) -> list[Verdict]:
    """What this graph could do with each of its runs. Nothing is written.

    Args:
        store: where they are.
        graph: the code to ask.
        limits: of each migration.
        ended: also those that have ended.
    """
    return list(_verdicts(store, graph, limits, ended=ended))


def _verdicts(store: Store, graph: Graph[Any], limits: Limits, *, ended: bool) -> Iterator[Verdict]:
    for info in list_runs(store):
        if info.status == "corrupt":
            yield Verdict(run=info.id, status=info.status, verdict="corrupt", reason=info.error)
        elif info.graph == graph.name and (ended or info.status not in ENDED):
            verdict = _verdict(store, graph, limits, info)
            if verdict is not None:
                yield verdict


def _verdict(store: Store, graph: Graph[Any], limits: Limits, info: RunInfo) -> Verdict | None:
    log = store.log(info.id)
    try:
        tip = log.tip()
        if tip is None:
            return None  # deleted since it was listed
        check_graph(graph, log, tip)
        preview = preview_run(store, graph, log, tip, limits)
        if (problem := problem_of(graph, preview.run)) is not None:
            return Verdict(run=info.id, status=info.status, verdict="blocked", reason=problem)
    except NoSuchRun:
        return None
    except (Blocked, ImportUnfinished) as error:
        reason = error.reason if isinstance(error, Blocked) else str(error)
        return Verdict(run=info.id, status=info.status, verdict="blocked", reason=reason)
    except CorruptCheckpoint as error:
        return Verdict(run=info.id, status=info.status, verdict="corrupt", reason=str(error))
    starts = nodes_to_start(graph, preview)
    here = graph.schema.version
    migrates = None if tip.file.version == here else (tip.file.version, here)
    return Verdict(
        run=info.id,
        status=info.status,
        verdict="ready" if starts else "over",
        starts=starts,
        migrates=migrates,
    )


def problem_of(graph: Graph[Any], run: RunState) -> str | None:
    """Why a node of an adopted run could not be given its state: a type inside a field changed, or a rule refuses."""
    for path, scope in run.scopes.items():
        if path != ROOT and scope.owner is None:
            continue  # kept for a next visit, which brings it to the state that the code has then
        schema = plan_of(graph.plan, run, path).schema
        for values in (scope.values, *(activation.base for activation in run.open_in(path))):
            try:
                schema.load({name: thaw(value) for name, value in values.items()})
            except Exception as error:  # noqa: BLE001 - a rule of the State's own may raise anything
                where = f" in {path!r}" if path else ""
                return f"its state{where} is no {schema.name} any more: {error}"
    return None
