"""Asking: what the handles of runs want to know of their runtime, and of the files of their run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from actorflow.runtime.checkpoint import check_told
from actorflow.runtime.large import Joiner
from actorflow.runtime.letting_go import stop_run
from actorflow.runtime.opened import OpenRuntime
from actorflow.runtime.replay import reading, replay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from actorflow.engine.events import Stop
    from actorflow.engine.run import RunState
    from actorflow.graph.graph import Graph
    from actorflow.runtime.life import Life
    from actorflow.runtime.lives import Lives
    from actorflow.store.frames import Frame
    from actorflow.store.log import Tip
    from actorflow.store.store import Store

T = TypeVar("T")


class Asking(OpenRuntime):
    """The part of a runtime that its handles use."""

    def living(self) -> Lives:
        """The runs that live in this process, and the store, for whoever goes on asking."""
        return self._open()

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
        lives = self._open()
        log, blobs = lives.store.log(run_id), lives.store.blobs(run_id)

        def read() -> tuple[list[Frame], RunState | None]:
            return reading(log, lambda frames: replay(frames, Joiner(blobs)) if frames else None)

        frames, run = await lives.in_store(read)
        if run is None:
            raise await lives.unknown(run_id)
        check_told(frames[-1].header, run_id)
        return frames[-1], run

    async def ask(self, question: Callable[[Store], T]) -> T:
        """What the store answers; it blocks, and is asked in a worker thread."""
        lives = self._open()
        return await lives.in_store(lambda: question(lives.store))

    def telling(self, story: Callable[[Store], Iterator[T]]) -> Callable[[], Awaitable[T | None]]:
        """A function that gives the next piece of a story each time, and None at its end. It begins with the first."""
        begun: list[Iterator[T]] = []

        async def piece() -> T | None:
            lives = self._open()
            if not begun:
                begun.append(story(lives.store))
            return await lives.in_store(lambda: next(begun[0], None))

        return piece

    async def stop(self, run_id: str, stop: Stop) -> str:
        """End a run in this status, wherever it is; the status it has then.

        Raises:
            StoreError: this could not be recorded.
        """
        return await stop_run(self._writable(), run_id, stop)
