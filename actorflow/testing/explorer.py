"""The crash explorer: a run is killed at every operation of its store, and must end as if nothing had been."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from random import Random
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from actorflow.graph.state import State
from actorflow.store.memory import MemoryBackend
from actorflow.testing.crashing import KINDS, Fault, parse_faults
from actorflow.testing.lifetime import Ending, Lifetime, Scene, live, quiet
from actorflow.testing.places import Bucket, Folder
from actorflow.testing.report import Calls, Failure, Report, where_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence

    from actorflow.graph.graph import Graph
    from actorflow.runtime.options import Durability
    from actorflow.runtime.run import Run
    from actorflow.runtime.steered import Interrupt
    from actorflow.store.backend import Backend
    from actorflow.testing.crashing import Kind, Operation

S = TypeVar("S", bound=State)

ENOUGH = 5
"""Failures after which an exploration ends: what follows would mostly be the same again."""

_AGAIN = 1 / 3
"""The chance that the process which follows a fault is befallen, too."""


async def explore(
    graph: Graph[S],
    state: S | None = None,
    *,
    operations: int | Literal["all"] = "all",
    kinds: Sequence[Kind] = KINDS,
    depth: int = 2,
    seed: int = 0,
    durability: Durability = "sync",
    context: Callable[[], Any] = lambda: None,
    answers: Mapping[str, Any] | Callable[[Interrupt], Any] | None = None,
    outside: Callable[[Run[S]], Coroutine[Any, Any, object]] | None = None,
    compare: Callable[[S, S], bool] | None = None,
    check: Callable[[S, Any], object] | None = None,
    backend: Callable[[], Backend] = MemoryBackend,
    folder: str | os.PathLike[str] | None = None,
    time_limit: float = 10.0,
    only: str | None = None,
) -> Report[S]:
    """Run a graph once uninterrupted, then once for each operation of its store at which something can befall it.

    Each time on a store of its own. The process is killed there, or hears no
    reply; another one takes up what is left and brings it to its end. That must
    be the end of the uninterrupted run. All that a process was told is stored
    must be in the history, which must be one; no activation may finish twice, none
    that finished may run again, and (under ``sync``) none may start before the
    commit that opened it.

    A killed process is as dead as one in this process can be: nothing of it
    reaches the store, and no node starts. But ``finally`` and ``except`` of a
    node that was running do run, and what a sync node has begun it ends. A node
    with ``isolate="process"`` runs in the process of the test.

    Args:
        graph: what to run. Its updates must commute where they are concurrent, or ``compare`` says what is equal.
        state: the input.
        operations: at how many operations, spread evenly; by default at all.
        kinds: what befalls a process: see `KINDS`.
        depth: how many processes in a row are befallen: at every fault the first, and now and then those after it.
        seed: decides where and when that is.
        durability: as `Runtime.spawn` takes it.
        context: makes what nodes read as ``ctx.context``: anew for each lifetime of the run, and the same
            for all its processes, as the world outside is.
        answers: what the run's questions are answered with: by their text, or by a function of the question.
        outside: what else is done to the run from outside. It is called in each process with the run's handle, beside
            the run, and cancelled when that ends; `RunEnded` ends it quietly. So it looks first at what is there,
            or does what is harmless when it is repeated: the process before may have done it.
        compare: whether a final state is as good as that of the uninterrupted run; by default if they are equal.
        check: called with the final state and the context after each lifetime; what it asserts is reported.
        backend: makes an empty store.
        folder: explore the log of local disks instead, in new folders in this one (say pytest's ``tmp_path``). The
            operations are then the points between system calls, at which a process is killed, and nothing else.
        time_limit: seconds for one lifetime.
        only: do just this, as a report's line says: ``"7:after"``, or for two processes ``"7:after 3:dropped"``.

    Raises:
        GraphError: the graph can't run.
        ValueError: there is no such kind or fault, or ``only`` befell nobody.

    Example:
        >>> import anyio
        >>> from actorflow import Graph, State
        >>> from actorflow.testing import explore
        >>> class Count(State):
        ...     n: int = 0
        >>> count = Graph("count", Count)
        >>> @count.node
        ... async def add(state: Count):
        ...     return {"n": state.n + 1}
        >>> report = anyio.run(explore, count)
        >>> report.failures, report.expected.state
        ([], Count(n=1))
    """
    if operations != "all" and operations < 1:
        raise ValueError(f"operations={operations}: give how many, at least 1, or 'all'")
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"kinds: {kind!r} is none of {', '.join(KINDS)}")
    if folder is not None and "before" not in kinds:
        raise ValueError("kinds: on a local disk a process is killed 'before' a point, and nothing else befalls it")
    _ = graph.plan
    planned = None if only is None else parse_faults(only)
    scene = Scene(
        graph=graph,
        state=state,
        durability=durability,
        context=context,
        answers=answers,
        outside=outside,
        place=(lambda: Bucket(backend())) if folder is None else (lambda: Folder(folder)),
        check=check,
        time_limit=time_limit,
    )
    exploration = _Exploration(scene, compare)
    with quiet() if planned is None else nullcontext():
        if await exploration.begin():
            if planned is None:
                await exploration.sweep(operations, depth, seed, kinds)
            else:
                await exploration.again(planned)
    return exploration.report


async def assert_resumes_equal(graph: Graph[S], state: S | None = None, **how: Any) -> Report[S]:
    """`explore`, and raise if anything is wrong.

    Args:
        graph: see `explore`.
        state: see `explore`.
        how: what else `explore` takes.

    Raises:
        AssertionError: with the whole report.
    """
    report = await explore(graph, state, **how)
    if not report:
        raise AssertionError(str(report))
    return report


class _Exploration(Generic[S]):
    """An exploration under way."""

    def __init__(self, scene: Scene[S], compare: Callable[[S, S], bool] | None) -> None:
        self._scene = scene
        self._compare = compare or self._same
        self.report: Report[S] = Report(
            graph=scene.graph.name, expected=None, operations=[], lifetimes=0, failures=[], calls={}
        )

    async def begin(self) -> bool:
        """Twice, and nothing befalls anybody: whether it is worth going on."""
        first = await self._live(())
        self.report.operations = first.processes[0].operations
        self.report.expected = first.endings[-1] if first.endings else None
        return self._judge((), first) and self._judge((), await self._live(()))

    async def sweep(self, operations: int | Literal["all"], depth: int, seed: int, kinds: Sequence[Kind]) -> None:
        """Every fault, until enough went wrong."""
        for fault in _spread(self.report.operations, operations, kinds):
            await self._descend((fault,), depth, Random(f"{seed} {fault}"), kinds)
            if len(self.report.failures) >= ENOUGH:
                break

    async def again(self, faults: tuple[Fault, ...]) -> None:
        """Just these faults, which must befall somebody.

        Raises:
            ValueError: they befell nobody.
        """
        lifetime = await self._tried(faults)
        for process, fault in zip(lifetime.processes, faults, strict=False):
            if process.struck is None:
                raise ValueError(
                    f"only: {fault} befell nobody, since its process made {len(process.operations)} operations"
                )

    async def _descend(self, faults: tuple[Fault, ...], depth: int, chance: Random, kinds: Sequence[Kind]) -> None:
        """These faults; then now and then one more, in the process that came after them."""
        lifetime = await self._tried(faults)
        heirs = lifetime.processes[len(faults) :]
        further = [*_spread(heirs[0].operations, "all", kinds)] if heirs and len(faults) < depth else []
        if further and chance.random() < _AGAIN:
            await self._descend((*faults, chance.choice(further)), depth, chance, kinds)

    async def _tried(self, faults: tuple[Fault, ...]) -> Lifetime[S]:
        """A lifetime with these faults, judged."""
        lifetime = await self._live(faults)
        self._judge(faults, lifetime)
        return lifetime

    async def _live(self, faults: tuple[Fault, ...]) -> Lifetime[S]:
        lifetime = await live(self._scene, faults)
        self.report.lifetimes += 1
        self._count(lifetime)
        return lifetime

    def _judge(self, faults: tuple[Fault, ...], lifetime: Lifetime[S]) -> bool:
        wrong, endings = [*dict.fromkeys(lifetime.wrong)], lifetime.endings
        for earlier, later in itertools.pairwise(endings):
            if not _agree(earlier, later, self._same):
                wrong.append(f"first it was told that the run is {earlier}, then {later}")
        expected = self.report.expected
        if expected is not None and endings and not _agree(expected, endings[-1], self._compare):
            what = "it" if faults else "a second run that nothing befell, either,"
            wrong.append(f"{what} is {endings[-1]}, not {expected}")
        if wrong:
            where = where_of(faults, [process.struck for process in lifetime.processes])
            self.report.failures.append(Failure(" ".join(map(str, faults)), where, tuple(wrong)))
        return not wrong

    def _same(self, one: S, other: S) -> bool:
        """Equal, or equal as they are kept: a NaN is not even equal to itself."""
        if one == other:
            return True
        encode = self._scene.graph.schema.codecs.encode
        return all(encode(getattr(one, name)) == encode(getattr(other, name)) for name in one.__struct_fields__)

    def _count(self, lifetime: Lifetime[S]) -> None:
        counts: dict[str, Calls] = {}
        for call in lifetime.calls:
            counts.setdefault(call.key, Calls(call.node, 0)).most += 1
        for key, calls in counts.items():
            known = self.report.calls.setdefault(key, calls)
            known.most = max(known.most, calls.most)


def _spread(made: list[Operation], operations: int | Literal["all"], kinds: Sequence[Kind]) -> Iterator[Fault]:
    """Every fault that makes a difference, at so many of the operations."""
    step = 1.0 if operations == "all" else max(1.0, len(made) / operations)
    numbers = {int(index * step) for index in range(int(len(made) / step))}
    for number, operation in enumerate(made):
        if number in numbers:
            faults = (Fault(number + 1, kind) for kind in kinds)
            yield from (fault for fault in faults if fault.befalls(operation))


def _agree(one: Ending[S], other: Ending[S], equal: Callable[[S, S], bool]) -> bool:
    if (one.status, one.node) != (other.status, other.node):
        return False
    if one.state is None or other.state is None:
        return one.state is other.state
    return equal(one.state, other.state)
