"""Scenes that tests play in child processes: each is called by its name there, with the store and an event loop.

A child is started by ``scene(...)``; it says lines, and waits for one where it says so.
"""

from __future__ import annotations

import importlib
import itertools
import math
import os
import resource
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from actorflow import END, Context, Graph, Runtime, Update
from actorflow.errors import StoreError, StoreFull
from actorflow.store import crashpoints
from tests.runtime.asking import asked, asker
from tests.runtime.graphs import Trail, chain
from tests.store.children import Child

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType

STEPS = 40


def scene(name: str, url: str, backend: str, *args: str, wrap: list[str] | None = None, **environment: str) -> Child:
    """A child process that plays the scene of this name."""
    code = "from tests.runtime import scenes\nscenes.play(*sys.argv[2:4], url, *sys.argv[4:])"
    return Child(code, url, name, backend, *args, wrap=wrap, **environment)


def play(name: str, backend: str, url: str, *args: str) -> None:
    """Play a scene, in the child. After a Ctrl-C it lives on, as a notebook's kernel does, unless it is UNCAUGHT."""
    try:
        anyio.run(_SCENES[name], url, *args, backend=backend)
    except KeyboardInterrupt:
        if "UNCAUGHT" in os.environ:
            raise
        say("interrupted")
        sys.stdin.readline()


def play_each_line(backend: str, url: str) -> None:
    """Own "x" in one store after the other, in each with a Ctrl-C one line later in entering and leaving."""
    for number in itertools.count():
        interrupted = False
        try:
            met = anyio.run(_enter_and_leave, f"{url}{number}", number, backend=backend)
        except KeyboardInterrupt:
            met = interrupted = True
        say(number, "interrupted" if interrupted else "left" if not met else "lost")
        if not met:  # there are no more
            return


async def _enter_and_leave(url: str, number: int) -> bool:
    lines = itertools.count()
    group = type(anyio.create_task_group())
    codes = {method.__code__ for kind in (Runtime, group) for method in (kind.__aenter__, kind.__aexit__)}

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code in codes:
            if event == "line" and next(lines) == number:
                signal.raise_signal(signal.SIGINT)
            return trace
        return None

    sys.settrace(trace)
    try:
        async with Runtime(url, recover="never") as runtime:
            await runtime.spawn(waiting(), id="x")
            raise LookupError  # noqa: TRY301 - leaving by it is the point
    except LookupError:
        await anyio.lowlevel.checkpoint()
    finally:
        sys.settrace(None)
    return next(lines) > number


def say(*words: object) -> None:
    """Say a line to the test, in one write: a kill between two words would leave half of it."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def waiting(inside: Callable[[], None] = lambda: None) -> Graph[Trail]:
    """First → wait, which never comes to an end by itself."""
    graph = Graph("waiting", Trail)

    @graph.node
    async def first(state: Trail) -> Update:
        return {"trace": ["first"]}

    @graph.node(after=first)
    async def wait(state: Trail) -> Update:
        inside()
        await anyio.sleep_forever()
        return {}

    return graph


def ready() -> Graph[Trail]:
    """The same graph with better code: it comes to an end."""
    return chain("first", "wait", name="waiting")


def counts(limit: int, counting: Callable[[], None] = lambda: None) -> Graph[Trail]:
    """A loop that counts to ``limit``; the second turn tells that the first is committed."""
    graph = Graph("counts", Trail, max_activations=10_000_000)

    @graph.node(entry=True)
    async def turn(state: Trail) -> Update:
        if state.n == 1:
            counting()
        return {"n": state.n + 1}

    graph.branch(lambda state: "turn" if state.n < limit else END, after=turn, to=("turn", END))
    return graph


def deadly(*, mended: bool) -> Graph[Trail]:
    """First → deadly, which kills its process until it is mended."""
    graph = Graph("deadly", Trail)

    @graph.node
    async def first(state: Trail) -> Update:
        return {"trace": ["first"]}

    @graph.node(after=first)
    async def last(state: Trail) -> Update:
        if not mended:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"trace": ["last"]}

    return graph


def steps(ran: Callable[[str], None]) -> Graph[Trail]:
    """Many nodes in a row, of which each tells its key when it starts; a few are sync."""
    graph = Graph("steps", Trail)
    before: str | None = None
    for number in range(STEPS):
        _step(graph, f"step{number}", before, ran, sync=number % 8 == 7)
        before = f"step{number}"
    return graph


def _step(graph: Graph[Trail], name: str, before: str | None, ran: Callable[[str], None], *, sync: bool) -> None:
    async def step(state: Trail, ctx: Context) -> Update:
        ran(ctx.idempotency_key)
        await anyio.sleep(0.001)
        return {"trace": [name]}

    def sync_step(state: Trail, ctx: Context) -> Update:
        ran(ctx.idempotency_key)
        time.sleep(0.001)
        return {"trace": [name]}

    node: Callable[..., Any] = sync_step if sync else step
    graph.node(node, name=name, after=before)


# -- the scenes -------------------------------------------------------------------


async def _hold(url: str) -> None:
    """Own the run "x" for as long as the process lives."""
    async with Runtime(url) as runtime:
        await runtime.run(waiting(lambda: say("inside")), id="x")


async def _die(url: str, max_crashes: str) -> None:
    """Run a graph that kills this process, or say why not."""
    async with Runtime(url, max_crashes=int(max_crashes)) as runtime:
        try:
            await runtime.run(deadly(mended=False), id="x")
        except Exception as error:  # noqa: BLE001 - said to the test
            say(type(error).__name__, error)


async def _notebook(url: str, way: str) -> None:
    """Leave a runtime in one of several ways while "x" counts, and live on as a notebook's kernel does."""
    counting = anyio.Event()
    try:
        with anyio.CancelScope() as scope:
            async with Runtime(url, drain="park" if way == "park" else "finish") as runtime:
                await runtime.spawn(counts(1_000_000, counting.set), id="x")
                await counting.wait()
                if way == "raise":
                    raise LookupError("on purpose")  # noqa: TRY301 - leaving by it is the point
                if way == "cancel":
                    scope.cancel()
                    await anyio.lowlevel.checkpoint()
    except LookupError:
        pass
    say("closed")
    await to_thread.run_sync(sys.stdin.readline)


async def _fork(url: str) -> None:
    """Own "x", and fork a child that outlives this process and knows nothing of it."""

    def inside() -> None:
        if os.fork() == 0:
            say(os.getpid())  # the child itself: fork has returned in it
            while True:
                signal.pause()

    async with Runtime(url) as runtime:
        await runtime.run(waiting(inside), id="x")


async def _fork_and_exit(url: str) -> None:
    """Own "x", and fork a child that ends at once as forked children do: nothing of the parent's is released."""

    def inside() -> None:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        say("gone")

    async with Runtime(url) as runtime:
        await runtime.run(waiting(inside), id="x")


async def _work(url: str, log: str, point: str) -> None:
    """Run the steps, each of which tells the side log that it started; at a named point there is a Ctrl-C."""
    told = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    errors = os.open(f"{log}.errors", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(errors, sys.stderr.fileno())
    if point:
        os.environ[crashpoints.VARIABLE] = point
        importlib.reload(crashpoints)
        # the places where others are killed, with another signal
        interrupt = SimpleNamespace(getpid=os.getpid, kill=lambda pid, _: os.kill(pid, signal.SIGINT))
        crashpoints.os = interrupt  # type: ignore[assignment]

    def ran(key: str) -> None:
        os.write(told, f"{key}\n".encode())

    say("ready")
    async with Runtime(url, recover="never") as runtime:
        result = await runtime.run(steps(ran), id="x")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from here on it would meet Python's own end, and nothing of ours
    say("finished", len(result.trace))


async def _count(url: str) -> None:
    """Own "x", which commits one turn after the other for as long as the process lives."""
    async with Runtime(url) as runtime:
        await runtime.run(counts(10_000_000, lambda: say("counting")), id="x")


async def _open(url: str) -> None:
    """Open a store, or say why not."""
    try:
        async with Runtime(url):
            say("opened")
    except StoreError as error:
        say(type(error).__name__, error)


async def _fill(url: str, ballast: str) -> None:
    """Run until the store is full, say so, make room, and go on."""
    async with Runtime(url, recover="never") as runtime:
        kept = await _run_until_full(runtime)
        try:
            await runtime.spawn(_pages(1), Trail(trace=["x" * 300_000]), id="another")
        except StoreFull:
            say("StoreFull again")
        Path(ballast).unlink()  # noqa: ASYNC240 - nothing else runs here
        result = await (await runtime.resume(_pages(kept + 3), "x")).result()
        say("finished", result.n - kept, [(finding.what, finding.broken) for finding in await runtime.verify()])


async def _outgrow(url: str) -> None:
    """Run until a file passes the limit that the kernel sets, say so, and go on without limit."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    async with Runtime(url, recover="never") as runtime:
        kept = await _run_until_full(runtime)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        result = await (await runtime.resume(_pages(kept + 3), "x")).result()
        say("finished", result.n - kept, [(finding.what, finding.broken) for finding in await runtime.verify()])


async def _run_until_full(runtime: Runtime) -> int:
    run = await runtime.spawn(_pages(1_000_000), id="x")
    try:
        await run.result()
    except StoreFull as error:
        say("StoreFull", error)
    kept = (await run.state()).n
    say("kept", kept, len([one async for one in run.views() if one.kind == "finished"]))
    return kept


def _pages(limit: int) -> Graph[Trail]:
    graph = Graph("pages", Trail)

    @graph.node(entry=True)
    async def page(state: Trail) -> Update:
        return {"n": state.n + 1, "trace": ["x" * 20_000]}

    graph.branch(lambda state: "page" if state.n < limit else END, after=page, to=("page", END))
    return graph


async def _asks(url: str) -> None:
    """A run that waits; the process lives on until it is told, and leaves."""
    async with Runtime(url) as rt:
        await (await rt.spawn(asker(str), id="x")).wait()
        say("waiting")
        await to_thread.run_sync(sys.stdin.readline)
    say("left")


async def _answers(url: str, answer: str) -> None:
    """Answers a run that waits, and dies as soon as that is acknowledged."""
    async with Runtime(url, recover="never", graphs=[asker(str)]) as rt:
        await rt.get("x").answer(answer)
        say("answered")
        os.kill(os.getpid(), signal.SIGKILL)


async def _holds(url: str) -> None:
    """Owns a run whose question expires some time, until it is killed."""
    async with Runtime(url, linger=math.inf) as rt:
        run = await rt.spawn(asker(str, timeout=900, default=""), id="x")
        await asked(run)
        say("asked")
        await anyio.sleep_forever()


_SCENES: dict[str, Callable[..., Awaitable[None]]] = {
    "asks": _asks,
    "answers": _answers,
    "holds": _holds,
    "hold": _hold,
    "die": _die,
    "notebook": _notebook,
    "fork": _fork,
    "fork and exit": _fork_and_exit,
    "work": _work,
    "count": _count,
    "open": _open,
    "fill": _fill,
    "outgrow": _outgrow,
}
