"""Asking: what the handles of runs want to know of their runtime, and of the files of their run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from actorflow.errors import RunDeleted
from actorflow.runtime.large import Joiner
from actorflow.runtime.opened import OpenRuntime
from actorflow.runtime.replay import Moment, moments, reading, replay
from actorflow.store.deletion import DELETED

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.engine.events import Stop
    from actorflow.engine.run import RunState
    from actorflow.graph.graph import Graph
    from actorflow.runtime.life import Life
    from actorflow.store.frames import Frame
    from actorflow.store.log import Tip

T = TypeVar("T")


class Asking(OpenRuntime):
    """The part of a runtime that its handles use."""

    def life_of(self, run_id: str) -> Life | None:
        """The life of a run in this process, if it has one."""
        return self._open().get(run_id)

    def graph_named(self, name: str) -> Graph[Any] | None:
        """The registered graph of this name."""
        return self._graphs.get(name)

    def why_blocked(self, run_id: str) -> str | None:
        """Why this process found that it can't run this run; None: it did not."""
        return self._open().blocked.get(run_id)

    async def tip(self, run_id: str) -> Tip:
        """The newest commit of a run.

        Raises:
            NoSuchRun: with ids that look alike.
        """
        return await self._open().tip(run_id)

    async def read(self, run_id: str, *, first: int | None = None) -> list[Frame]:
        """The frames of a run, from its newest snapshot or from ``first``.

        Raises:
            NoSuchRun: with ids that look alike.
        """
        lives = self._open()
        frames = await lives.in_store(lambda: lives.store.log(run_id).read(first=first))
        if not frames:
            raise await lives.unknown(run_id)
        return frames

    async def load(self, run_id: str) -> tuple[Frame, RunState]:
        """The newest frame of a run, and the run as of it.

        Raises:
            NoSuchRun: with ids that look alike.
        """
        frames, run = await self._made(run_id, replay)
        return frames[-1], run

    async def moments(self, run_id: str, *, whole: bool = True) -> list[Moment]:
        """Every record of a run, or those from its newest snapshot on, and the run as it was after it.

        Raises:
            NoSuchRun: with ids that look alike.
        """
        _, told = await self._made(
            run_id, lambda frames, joiner: list(moments(frames, joiner)), first=0 if whole else None
        )
        return told

    async def _made(
        self, run_id: str, make: Callable[[list[Frame], Joiner], T], *, first: int | None = None
    ) -> tuple[list[Frame], T]:
        lives = self._open()
        log, blobs = lives.store.log(run_id), lives.store.blobs(run_id)

        def read() -> tuple[list[Frame], T | None]:
            return reading(log, lambda frames: make(frames, Joiner(blobs)) if frames else None, first=first)

        frames, made = await lives.in_store(read)
        if made is None:
            raise await lives.unknown(run_id)
        if frames[-1].header.status == DELETED:
            raise RunDeleted(run_id)
        return frames, made

    async def stop(self, run_id: str, stop: Stop) -> str:
        """End a run in this status, wherever it is; the status it has then.

        Raises:
            StoreError: this could not be recorded.
        """
        return await self._writable().stop(run_id, stop)
