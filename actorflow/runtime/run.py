"""Run: a handle of one run, alive here, alive elsewhere or long over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import anyio

from actorflow.engine.events import Stop
from actorflow.engine.operations import thaw
from actorflow.engine.records import ENDED
from actorflow.errors import Blocked, CheckpointGone, Quarantined, RemoteError, RunCancelled, RunError, RunFailed
from actorflow.graph.state import State
from actorflow.runtime.adopt import read_state
from actorflow.runtime.checkpoint import Checkpoint, checkpoints
from actorflow.runtime.options import check_texts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorflow.engine.records import ErrorInfo
    from actorflow.graph.graph import Graph
    from actorflow.runtime.life import Life, Outcome
    from actorflow.runtime.runtime import Runtime
    from actorflow.store.frames import FilePart

S = TypeVar("S", bound=State)

_POLL = (0.02, 1.0)  # seconds: the first and the longest pause between two looks at a run that lives elsewhere


class Run(Generic[S]):
    """A handle of one run. `Runtime` makes them; it holds nothing that the store does not.

    Example:
        >>> import anyio
        >>> from actorflow import Graph, Runtime, State
        >>> class Count(State):
        ...     n: int = 0
        >>> count = Graph("count", Count)
        >>> @count.node
        ... async def add(state: Count):
        ...     return {"n": state.n + 1}
        >>> async def main():
        ...     async with Runtime("memory://") as rt:
        ...         run = await rt.spawn(count, Count(n=1), id="c")
        ...         print((await run.result()).n, await run.status())
        >>> anyio.run(main)
        2 finished
    """

    def __init__(self, runtime: Runtime, run_id: str, graph: Graph[Any] | None, life: Life | None) -> None:
        self.id = run_id
        self._runtime = runtime
        self._graph = graph
        self._life = life

    def __repr__(self) -> str:
        return f"<Run {self.id!r}>"

    async def result(self) -> S:
        """Wait for the end of the run; its final state, typed.

        Cancelling this ends the waiting, never the run. A run that lives in
        another process is looked at again and again, at most once a second.

        Raises:
            RunFailed: ``__cause__`` is the node's exception (or, from another process, its text).
            RunCancelled, Quarantined: it ended so.
            NoSuchRun: there is no such run.
            Blocked: this process found that it can't run it.
            StoreError: this process had to let go of the run.
        """
        life = self._runtime.life_of(self.id) or self._life
        if life is not None:
            await life.done.wait()
            if life.error is not None and (await self._runtime.tip(self.id)).header.status not in ENDED:
                raise life.error
            end = life.outcome
            if end is not None and await self._is_current(end):
                return self._judge(end.status, end.values, end.file, seq=end.seq, node=end.node, cause=end.cause)
        pause = _POLL[0]
        while (tip := await self._runtime.tip(self.id)).header.status not in ENDED:
            if (reason := self._runtime.why_blocked(self.id)) is not None:
                raise Blocked(self.id, reason)
            await anyio.sleep(pause)
            pause = min(pause * 2, _POLL[1])
        _, run = await self._runtime.load(self.id)
        return self._judge(
            run.status, run.root.values, tip.file, seq=tip.header.seq, node=run.failed_in, cause=_remote(run.error)
        )

    async def status(self) -> str:
        """The status that the newest commit gives, or ``blocked`` if this process found that it can't run it."""
        status = (await self._runtime.tip(self.id)).header.status
        return "blocked" if status not in ENDED and self._runtime.why_blocked(self.id) is not None else status

    async def state(self) -> S:
        """The state as of the newest commit.

        Raises:
            NoSuchRun, CorruptCheckpoint, MigrationError
        """
        newest, run = await self._runtime.load(self.id)
        graph = self._graph or self._runtime.graph_named(newest.file.graph)
        if graph is None:
            raise RunError(self.id, f"the graph of run {self.id!r} is not registered here; register it, or use at()")
        state = read_state(graph, run.root.values, newest.file, time_limit=self._runtime.migration_timeout)
        return cast("S", state)  # the handle's type is its graph's

    def history(self) -> History[S]:
        """The run's checkpoints, newest first, for ``async for``; as of when the loop begins."""
        return History(self._checkpoints)

    async def at(self, seq: int | None = None, *, node: str | None = None) -> Checkpoint[S]:
        """One checkpoint: of a commit, the last one of a node, or (without either) the newest.

        Raises:
            CheckpointGone: retention let go of it.
            LookupError: the run has no such checkpoint.
        """
        # the newest is there without what came before, which may be long, or under a key that is gone
        kept = await self._checkpoints(whole=seq is not None or node is not None)
        found = [one for one in kept if (seq is None or one.seq == seq) and (node is None or one.node == node)]
        if not found:
            if seq is not None and 0 <= seq < kept[0].seq:
                raise CheckpointGone(self.id, seq, kept[0].seq)
            what = f"commit {seq}" if node is None else f"checkpoint of node {node!r}"
            msg = f"run {self.id!r} has no {what}; history() lists what it has"
            raise LookupError(msg)
        return found[-1]

    async def cancel(self, *, by: str | None = None) -> str:
        """Record the run as cancelled, its nodes having been cancelled first; the status it has then.

        A run that has ended stays as it is. A finished or cancelled run is no error.

        Raises:
            NoSuchRun: there is no such run.
            RunOwned: a live actor in another process owns it.
        """
        if by is not None:
            check_texts("by", [by])
        return await self._runtime.stop(self.id, Stop("cancelled", by))

    async def delete(self, *, by: str | None = None) -> None:
        """Delete the run: see `Runtime.delete`.

        Raises:
            NoSuchRun, RunOwned, CorruptCheckpoint
        """
        await self._runtime.delete(self.id, by=by)

    async def _is_current(self, end: Outcome) -> bool:
        """Whether this is how the run ended last: what failed may have been resumed since."""
        return end.status == "finished" or (await self._runtime.tip(self.id)).header.seq == end.seq

    async def _checkpoints(self, *, whole: bool = True) -> list[Checkpoint[S]]:
        told = await self._runtime.moments(self.id, whole=whole)
        graph = self._graph or self._runtime.graph_named(told[-1].frame.file.graph)
        return list(checkpoints(told, graph, time_limit=self._runtime.migration_timeout))

    def _judge(
        self, status: str, values: dict[str, Any], file: FilePart, *, seq: int, node: str | None, cause: Any
    ) -> S:
        """The final state of a finished run; an exception for every other ending."""
        if status == "cancelled":
            raise RunCancelled(self.id, seq=seq)
        if status == "quarantined":
            raise Quarantined(self.id, self._runtime.max_crashes)
        graph = self._graph or self._runtime.graph_named(file.graph)
        state: Any = (
            {name: thaw(value) for name, value in values.items()}
            if graph is None
            else read_state(graph, values, file, time_limit=self._runtime.migration_timeout)
        )
        if status == "failed":
            error = str(cause) or type(cause).__name__
            raise RunFailed(self.id, node=node, seq=seq, state=state, error=error) from cause
        return cast("S", state)  # the handle's type is its graph's


class History(Generic[S]):
    """The checkpoints of a run. Not an async generator, so that a loop left early leaves nothing behind."""

    def __init__(self, read: Callable[[], Awaitable[list[Checkpoint[S]]]]) -> None:
        self._read = read
        self._left: list[Checkpoint[S]] | None = None

    def __aiter__(self) -> History[S]:
        return History(self._read)

    async def __anext__(self) -> Checkpoint[S]:
        if self._left is None:
            self._left = await self._read()
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


def _remote(error: ErrorInfo | None) -> RemoteError | None:
    return None if error is None else RemoteError(error.type, error.message, error.traceback)
