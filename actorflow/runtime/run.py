"""Run: a handle of one run, alive here, alive elsewhere or long over."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

import anyio.lowlevel

from actorflow.engine.events import Stop
from actorflow.engine.merge import typed
from actorflow.engine.operations import thaw
from actorflow.engine.records import ENDED
from actorflow.engine.waits import questions, waited_for
from actorflow.errors import Blocked, Quarantined, RemoteError, RunCancelled, RunError, RunFailed, RunWaiting
from actorflow.graph.state import State
from actorflow.runtime import clock
from actorflow.runtime.adopt import read_state
from actorflow.runtime.checkpoint import Checkpoint, Wanted, tell_checkpoints
from actorflow.runtime.difference import Change, diff
from actorflow.runtime.events import Mode, Offset
from actorflow.runtime.history import History, find_view, tell_views, to_point
from actorflow.runtime.options import check_limit, check_texts, check_word
from actorflow.runtime.overview import Overview, overview_of
from actorflow.runtime.picture import find_progress
from actorflow.runtime.stats import RunStats, run_stats
from actorflow.runtime.steered import Steered
from actorflow.runtime.stream import EventStream
from actorflow.store.frames import Kind

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping

    from actorflow.engine.records import ErrorInfo
    from actorflow.graph.draw import Format
    from actorflow.graph.graph import Graph
    from actorflow.graph.progress import Progress
    from actorflow.runtime.archive import Archived
    from actorflow.runtime.life import Life, Outcome
    from actorflow.runtime.starting import Starting
    from actorflow.runtime.view import View
    from actorflow.store.backend import Backend
    from actorflow.store.frames import FilePart

S = TypeVar("S", bound=State)
T = TypeVar("T")

_ASYNC_QUERY = "query() takes a function that returns at once, and not an async one: it only looks at the state"

_POLL = (0.02, 1.0)  # seconds: the first and the longest pause between two looks at a run that lives elsewhere


class Run(Steered[S]):
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

    def __init__(self, runtime: Starting, run_id: str, graph: Graph[Any] | None, life: Life | None) -> None:
        self.id = run_id
        self._runtime = runtime
        self._given = graph
        self._life = life

    def __repr__(self) -> str:
        return f"<Run {self.id!r}>"

    @property
    def _graph(self) -> Graph[Any] | None:
        return None if self._given is None else self._runtime.newest(self._given)

    async def result(self) -> S:
        """Wait for the end of the run; its final state, typed.

        Cancelling this ends the waiting, never the run. A run that lives in
        another process is looked at again and again, at most once a second.

        Raises:
            RunFailed: ``__cause__`` is the node's exception (or, from another process, its text).
            RunCancelled, Quarantined: it ended so.
            NoSuchRun: there is no such run.
            Blocked: this process found that it can't run it.
            MigrationError: it is over, and its state can't be brought to the code's version: it is `SchemaTooNew`
                if newer code wrote it.
            StoreError: this process had to let go of the run.
        """
        lives = self._runtime.living()
        living = lives.get(self.id)
        life = living or self._life
        if life is not None:
            await life.done.wait()
            if life.error is not None and (await self._runtime.tip(self.id)).header.status not in ENDED:
                raise life.error
            end = life.outcome
            if end is not None and ((living is not None and end.status == "finished") or await self._is_current(end)):
                return self._judge(end.status, end.values, end.file, seq=end.seq, node=end.node, cause=end.cause)
        pause, observers = _POLL[0], lives.observers(self.id)
        while True:
            seq = observers.seq
            tip = await self._runtime.tip(self.id)
            if tip.header.status in ENDED:
                break
            if (next_life := lives.get(self.id)) is not None and next_life is not life:
                return await self.result()  # somebody answered it here, or its time had come
            if (reason := self._runtime.why_blocked(self.id)) is not None:
                raise Blocked(self.id, reason)
            await clock.rest(pause, until=partial(observers.newer, seq))
            pause = min(pause * 2, _POLL[1])
        _, run = await self._runtime.load(self.id)
        return self._judge(
            run.status, run.root.values, tip.file, seq=tip.header.seq, node=run.failed_in, cause=_remote(run.error)
        )

    async def outcome(self) -> S:
        """The result, where it comes by itself: what `Runtime.run` gives.

        Of the life that this handle began it is known without asking the store, whose listings may be stale.

        Raises:
            RunWaiting: it waits for an answer, or is paused.
            What `result` raises.
        """
        if self._life is not None:
            await self._life.done.wait()
            if (end := self._life.outcome) is not None and self._life.error is None:
                return self._judge(end.status, end.values, end.file, seq=end.seq, node=end.node, cause=end.cause)
        status = await self.wait()
        if status in {"waiting", "paused"}:
            raise await self.waiting(status)
        return await self.result()

    async def waiting(self, status: str) -> RunWaiting:
        """The error for whoever wants a result of the run while it waits, with what it asks."""
        _, run = await self._runtime.load(self.id)
        return RunWaiting(self.id, status, [ask.question for _, ask in questions(run)], waited_for(run))

    async def wait(self) -> str:
        """Wait until nothing goes on in the run by itself: it is over, waits for an answer, or is paused; its status.

        A run that this process is to wake at a time goes on by itself.

        Raises:
            NoSuchRun, Blocked
            StoreError: this process had to let go of the run.
        """
        pause, lives = _POLL[0], self._runtime.living()
        observers = lives.observers(self.id)
        while True:
            living = lives.get(self.id)
            life = living or self._life
            if life is not None:
                await life.done.wait()
                while lives.get(self.id) is life:  # it is known in a moment whether it is to be woken
                    await anyio.lowlevel.checkpoint()
                if life.error is not None and (await self._runtime.tip(self.id)).header.status not in ENDED:
                    raise life.error
                known = living.actor.header.status if living is not None else "running"
                if known != "running" and not lives.sleepers.will_wake(self.id):
                    return known
            seq = observers.seq
            status = (await self._runtime.tip(self.id)).header.status
            if observers.seq != seq:
                continue  # it lived here while that was read, which may be of before
            goes_on = self.id in lives or lives.sleepers.will_wake(self.id)  # perhaps since that was read
            if status in ENDED or (status != "running" and not goes_on):
                return status
            if (reason := self._runtime.why_blocked(self.id)) is not None:
                raise Blocked(self.id, reason)
            await clock.rest(pause, until=partial(observers.newer, seq))
            pause = min(pause * 2, _POLL[1])

    def _handle(self, life: Life) -> Run[S]:
        return Run(self._runtime, life.run_id, self._graph, life)

    def stats(self) -> RunStats | None:
        """What goes on in the run in this process: restarts, mailbox, last commit. None: it does not live here."""
        life = self._runtime.life_of(self.id) or self._life
        return None if life is None else run_stats(life)

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
        graph = self._graph_of(newest.file.graph)
        if graph is None:
            raise RunError(self.id, f"the graph of run {self.id!r} is not registered here; register it, or use at()")
        state = read_state(graph, run.root.values, newest.file, time_limit=self._runtime.migration_timeout)
        return cast("S", state)  # the handle's type is its graph's

    async def query(self, fn: Callable[[S], T]) -> T:
        """What a function makes of the state, as of the newest commit. Nothing is changed by it, and nobody is woken.

        The state of a run that lives here is at hand; of one that lives elsewhere, sleeps or is over, it is read.

        Args:
            fn: takes the state, a copy of its own. Called on the event loop, so it must be quick, and not async.
                What it raises comes out of this as it is.

        Raises:
            NoSuchRun, RunDeleted, CorruptCheckpoint, MigrationError
            RunError: the graph of the run is not registered here.
            TypeError: ``fn`` is async.

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
            ...         await run.result()
            ...         print(await run.query(lambda state: state.n * 10))
            >>> anyio.run(main)
            20
        """
        if inspect.iscoroutinefunction(fn):
            raise TypeError(_ASYNC_QUERY)
        life = self._runtime.life_of(self.id)
        at_hand = life is not None and life.actor.writer.committed
        state = typed(life.graph.schema, life.actor.run.root.values) if life is not None and at_hand else None
        found = fn(cast("S", state) if state is not None else await self.state())
        if inspect.isawaitable(found):
            if inspect.iscoroutine(found):
                found.close()  # or Python warns that nobody awaited it
            raise TypeError(_ASYNC_QUERY)
        return found

    def history(
        self,
        *,
        kind: Kind | None = None,
        node: str | None = None,
        tag: str | Mapping[str, str] | None = None,
        status: str | None = None,
        since: float | None = None,
        before: int | None = None,
        limit: int | None = None,
    ) -> History[Checkpoint]:
        """The run's checkpoints, newest first, for ``async for``: what the header of each commit says.

        No state is read or decoded, whatever is asked for: `at` has that, and
        `views` has it for all. All filters hold at once. What is read is
        verified as far as the loop goes.

        Args:
            kind: ``claim``, ``commit`` or ``release``.
            node: the last one that had finished by then.
            tag: the name of a tag, or tags with their values.
            status: the run's, as of then.
            since: committed at or after this time, in seconds since 1970.
            before: only commits below this number: the last one of a page begins the next.
            limit: at most so many.

        Raises:
            NoSuchRun, RunDeleted
            CorruptCheckpoint: what comes next is damaged; all that is newer has been told.
        """
        check_limit(limit)
        if kind is not None:
            check_word("kind", kind, Kind)
        wanted = Wanted(kind=kind, node=node, tag=tag, status=status, since=since, before=before)
        story = partial(tell_checkpoints, run_id=self.id, wanted=wanted)
        return History(partial(self._runtime.telling, story), limit=limit)

    def views(self, *, before: int | None = None, limit: int | None = None) -> History[View[S]]:
        """`history` with states: the run after each activation that finished, and after each other commit.

        Newest first, replayed from snapshot to snapshot as the loop goes on. Raises what `history` does.

        Args:
            before: only commits below this number.
            limit: at most so many.
        """
        check_limit(limit)
        story = partial(tell_views, run_id=self.id, graphs=self._graph_of, before=before, time_limit=self._time_limit)
        return History(partial(self._runtime.telling, story), limit=limit)

    async def at(self, seq: int | str | None = None, *, record: int | None = None, node: str | None = None) -> View[S]:
        """The run as it was: as of a commit, of one record in it, after a node, or (without any) as of now.

        Needs no claim, and nobody notices: it may live, here or elsewhere, or be long over.

        Args:
            seq: the number of a commit; ``"12.1"`` is record 1 of commit 12.
            record: the same, apart.
            node: the last time that this node finished; with ``seq``, in that commit.

        Raises:
            NoSuchRun, RunDeleted, CorruptCheckpoint
            CheckpointGone: retention let go of it; ``oldest`` is the nearest one that is kept.
            LookupError: the run has no such commit, record or node.
            ValueError: that names no place in a history.
        """
        if seq is None and record is not None:
            raise ValueError(f"record={record}: say of which commit, as at(12, record={record}) or at('12.{record}')")
        point = None if seq is None else to_point(seq, record)
        if point is not None and point.record is not None and node is not None:
            raise ValueError(f"{point} is one record: give node= without it, or not at all")
        return await self._runtime.ask(
            partial(
                find_view,
                run_id=self.id,
                graphs=self._graph_of,
                point=point,
                node=node,
                time_limit=self._time_limit,
            )
        )

    async def overview(self) -> Overview:
        """What goes on in the run as of its newest commit: how far its open fan-outs are, and what is open.

        Needs no claim and no graph, and nobody notices. `status` is cheaper, `progress` counts what was done, too.

        Raises:
            NoSuchRun, RunDeleted, CorruptCheckpoint
        """
        _, run = await self._runtime.load(self.id)
        return overview_of(run)

    def events(
        self,
        modes: Mode | Iterable[Mode] | None = None,
        *,
        after: Offset | str | int | None = None,
        committed_only: bool = False,
        scope: str | None = None,
    ) -> EventStream:
        """What happens in the run, for ``async for``, until it is over: what its log tells, then what happens.

        From the log come the same events, whenever and wherever they are read:
        each once, in the order of their offsets. What is live only (a node
        started, emitted or reports something) is told of a run that lives in
        this process, to who is quick enough: see `DroppedEvent`. A run that
        lives in another process is looked at again and again, at most once a
        second. The loop may be left at any time, and ends when the runtime is left.

        Args:
            modes: what to tell of; by default everything. ``values`` is the state after each change, ``updates``
                what was written, ``nodes`` what became of activations, ``commits`` each commit, ``data`` what nodes
                emit, ``progress`` what they report and how far fan-outs are, ``waits`` questions and their answers,
                ``hooks`` hooks that failed.
            after: the offset of the last event that is known already, or the number of a commit; by default from
                the beginning, or the oldest commit that is kept.
            committed_only: leave out what is live only: no event before the commit that holds it.
            scope: only what happens in this scope; "" is the root.

        Raises:
            NoSuchRun, RunDeleted, CorruptCheckpoint
            CheckpointGone: retention let go of what comes after ``after``, or of what a slow reader was to read next.
            LookupError: the run never got as far as ``after``.
            Blocked: this process found that it can't run it, and nothing more is to be read.
            ValueError: of a mode or an offset that there is not.
        """
        wanted: list[Mode] = [modes] if isinstance(modes, str) else list(get_args(Mode) if modes is None else modes)
        for mode in wanted:
            check_word("modes", mode, Mode)
        return EventStream(
            self._runtime.living,
            self.id,
            modes=wanted,
            graphs=self._graph_of,
            after=None if after is None else Offset.parse(after),
            committed_only=committed_only,
            scope=scope,
        )

    async def diff(self, a: int | str, b: int | str | None = None) -> tuple[Change, ...]:
        """What changed in the state from one commit to another, or to now: `actorflow.diff` of `at`.

        Raises what `at` does.
        """
        return diff(await self.at(a), await self.at(b))

    async def progress(self) -> Progress:
        """How far the run has come in each node of its graph, as ``graph.draw(run=...)`` takes it.

        Needs no claim, and nobody notices. Reads the history that is kept; what
        a rewind took back does not count.

        Raises:
            NoSuchRun, RunDeleted, CorruptCheckpoint
            RunError: its graph is not registered here.
        """
        progress, _ = await self._runtime.ask(partial(find_progress, run_id=self.id, graphs=self._graph_of))
        return progress

    async def picture(self, format: Format = "svg", *, expand: bool = True) -> str:
        """The graph, with what of it is done, open, waiting, failed and skipped: `Graph.draw` of `progress`.

        Raises what `progress` does.
        """
        progress, graph = await self._runtime.ask(partial(find_progress, run_id=self.id, graphs=self._graph_of))
        return graph.draw(format, expand=expand, run=progress)

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

    async def archive(self, to: str | os.PathLike[str] | Backend | None = None, *, by: str | None = None) -> Archived:
        """Take the run out of this store, into its archive or the store that is named: see `Runtime.archive`.

        Raises:
            NoSuchRun, RunDeleted, RunOwned, BadStoreUrl, CorruptCheckpoint
        """
        return await self._runtime.archive(self.id, to, by=by)

    async def delete(self, *, by: str | None = None) -> None:
        """Delete the run: see `Runtime.delete`.

        Raises:
            NoSuchRun, RunOwned, CorruptCheckpoint
        """
        await self._runtime.delete(self.id, by=by)

    async def _is_current(self, end: Outcome) -> bool:
        """Whether this is how the run ended last: it may have been resumed, or given more input, since."""
        return (await self._runtime.tip(self.id)).header.seq == end.seq

    @property
    def _time_limit(self) -> float:
        return self._runtime.migration_timeout

    def _graph_of(self, name: str) -> Graph[Any] | None:
        return self._graph or self._runtime.graph_named(name)

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


def _remote(error: ErrorInfo | None) -> RemoteError | None:
    return None if error is None else RemoteError(error.type, error.message, error.traceback)
