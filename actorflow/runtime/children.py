"""Children: runs that other runs have asked for are begun, each once, by its id."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from actorflow.engine.keys import key_of
from actorflow.engine.mail import lane_of
from actorflow.engine.merge import typed
from actorflow.engine.records import ENDED, Received, Watched
from actorflow.engine.spawn import spawn
from actorflow.errors import (
    ActorflowError,
    BadUpdate,
    Blocked,
    CommitRefused,
    MigrationError,
    NoContext,
    RunDeleted,
    RunExists,
    RunOwned,
    WrongGraph,
)
from actorflow.runtime import clock
from actorflow.runtime.claiming import EndedMeanwhile, creating_run
from actorflow.runtime.conversion import Conversion, form_of
from actorflow.runtime.validation import Commit
from actorflow.store.keys import encode_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actorflow.engine.mail import Parcel
    from actorflow.engine.run import Form, RunState
    from actorflow.graph.graph import Graph
    from actorflow.graph.state import State
    from actorflow.runtime.lives import Lives

PARENT = "parent"
"""The tag of a child that names the run which began it, unless it was given one of its own."""


class NotYet(ActorflowError):
    """It can't be done now, and may be later, or by another process."""


CANT_BEGIN = (RunDeleted, WrongGraph, BadUpdate, MigrationError, CommitRefused)
"""Why a run can't be begun, now or later."""


class Children:
    """Begins runs for others. One for each runtime."""

    def __init__(self, lives: Lives, graphs: Mapping[str, Graph[Any]]) -> None:
        """Begin none.

        Args:
            lives: where they live.
            graphs: by name, those that are known here.
        """
        self._lives = lives
        self._graphs = graphs

    async def begin(self, parent: RunState, parcels: list[Parcel], *, awaited: bool) -> bool:
        """Begin the run that the first parcel asks for, watched as the others say; False: it was there before.

        Raises:
            NotYet: its graph is not known here, or without the context that its nodes need.
            CANT_BEGIN: it can't be begun, ever.
            StoreError: the store does not answer.
        """
        asked = parcels[0]
        graph = self._graphs.get(asked.graph or "")
        if graph is None:
            raise NotYet(f"child {asked.target!r} is not begun yet: graph {asked.graph!r} is not registered here")
        if not self._lives.may_run(graph, asked.target):
            raise NotYet(f"child {asked.target!r} is not begun yet: {NoContext(graph.name, graph.context_type)}")
        values, tags = asked.values
        try:
            state = await self._state(graph, parent.forms[asked.form], values)
            await self._spawn(graph, parent, parcels, state, {PARENT: parent.run_id, **tags}, awaited=awaited)
        except RunExists:
            await self._attach(graph, asked.target, awaited=awaited)
            return False
        return True

    async def _state(self, graph: Graph[Any], form: Form, values: dict[str, Any]) -> State:
        """What it begins with, as this code has it."""
        schema = graph.schema
        if form != form_of(schema):
            conversion = Conversion(schema, form, graph.migrations, time_limit=self._lives.limits.migration_timeout)
            values = await self._lives.in_store(lambda: conversion.values(values))
        try:
            return typed(schema, values)
        except Exception as error:
            raise MigrationError(
                f"this is no {schema.name!r}: {error}", schema=schema.name, found=form.version, wanted=schema.version
            ) from error

    async def _spawn(
        self,
        graph: Graph[Any],
        parent: RunState,
        parcels: list[Parcel],
        state: State,
        tags: dict[str, str],
        *,
        awaited: bool,
    ) -> None:
        lives, run_id, now = self._lives, parcels[0].target, clock.now()
        if await lives.find(run_id) is not None:
            raise RunExists(run_id)
        lives.check_first(Commit(run_id, graph.name, 0, "running", None, tags, state))
        decision = spawn(graph.plan, state, run_id=run_id, now=now)
        sender = encode_id(parent.run_id)
        for parcel in parcels:  # so that the lane goes on from here
            generation, number = lane_of(parent.life, parcel.number)
            lane = (sender, generation, number)
            id_ = key_of(b"lane", sender.encode(), generation.to_bytes(8, "big"), number.to_bytes(8, "big"))
            decision.note(Received(id_, now, sender=parent.run_id, lane=lane))
            if parcel.kind == "monitor":
                decision.note(Watched(parent.run_id, parcel.ask, linked=bool(parcel.values)))
        await lives.beginnings.launch(
            graph,
            run_id,
            lambda: lives.in_steps(creating_run(lives.store, graph, run_id, decision, tags, looked=True)),
            first=decision.commands,
            context=None,
            awaited=awaited,
        )

    async def _attach(self, graph: Graph[Any], run_id: str, *, awaited: bool) -> None:
        """See that a run which is there goes on.

        Raises:
            WrongGraph: it is not the one that was asked for.
        """
        tip = await self._lives.find(run_id)
        if tip is None:
            return
        if tip.file.graph != graph.name:
            raise WrongGraph(run_id, tip.file.graph, graph.name)
        if tip.header.status not in ENDED:
            with suppress(RunOwned, EndedMeanwhile, Blocked):  # then somebody looks after it, or will
                await self._lives.take_up(graph, run_id, context=None, reopen=None, awaited=awaited)
