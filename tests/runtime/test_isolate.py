"""Nodes in worker processes: values and errors come through, and no process is left, whatever happens."""

from __future__ import annotations

import functools
import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest
from anyio import to_thread

from actorflow import (
    END,
    Codec,
    Goto,
    Graph,
    Message,
    Overwrite,
    Remove,
    Reply,
    RestartPolicy,
    Retry,
    Runtime,
    State,
    Update,
)
from actorflow.engine.run import Activation
from actorflow.errors import (
    BadUpdate,
    GraphError,
    NodeTimeout,
    NotInWorker,
    RemoteError,
    RunCancelled,
    RunFailed,
    UndeclaredTarget,
    WorkerDied,
)
from actorflow.graph.codec import NO_CODECS
from actorflow.graph.routing import Send
from actorflow.graph.timeouts import Timeout
from actorflow.runtime.context import NodeContext
from actorflow.runtime.workers.pool import Workers
from actorflow.runtime.workers.raised import pack_error, unpack_error
from actorflow.runtime.workers.returned import pack, unpack
from actorflow.runtime.workers.wire import MAX_MESSAGE, decode_reply, framed, length_of
from actorflow.testing import VirtualClock
from tests.runtime import isolated
from tests.runtime.isolated import BankDown, Goods, Money, Part, Trail

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


def of(*fns: Callable[..., Any], **options: Any) -> Graph[Trail]:
    """Isolated nodes in a row."""
    graph = Graph("isolated", Trail)
    before = None
    for fn in fns:
        graph.node(fn, after=before, isolate="process", **options)
        before = fn
    return graph


def once(store: str, **options: Any) -> Runtime:
    """A runtime that restarts nothing."""
    return Runtime(store, restarts=RestartPolicy(max_restarts=0), **options)


async def cause_of(graph: Graph[Trail], state: Trail, **options: Any) -> BaseException | None:
    """What makes a run fail."""
    async with once("memory://", processes=1, **options) as rt:
        with pytest.raises(RunFailed) as failed:
            await rt.run(graph, state, id="x")
    return failed.value.__cause__


class Pipe:
    """A named pipe that isolated nodes hold open; `closed` comes when all of them are gone."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.opened = anyio.Event()
        self.closed = anyio.Event()

    async def watch(self) -> None:
        """Read it to its end, which comes when nobody has it open for writing any more."""
        pipe = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            await anyio.wait_readable(pipe)
            while os.read(pipe, 100):
                self.opened.set()
                await anyio.wait_readable(pipe)
        finally:
            os.close(pipe)
        self.closed.set()


# -- values --------------------------------------------------------------------------


async def test_values_of_all_types_go_there_and_come_back(store_url: str) -> None:
    """Codecs, structs, enums, sets, bytes, dates; updates, whole states, `Overwrite` and `Remove`."""
    began = Goods(
        names={"x", "y"},
        by_number={7: ["seven"]},
        maybe=Part("nut", Money(1)),
        parts=[Part("nut", Money(2))],
        prices={"old": Money(4), "new": Money(5)},
        any=[1, "two", None],
    )

    async with Runtime(store_url, processes=1) as rt:
        done = await rt.run(isolated.goods, began)

    assert done == Goods(
        names={"a"},
        by_number={1: ["one"]},
        maybe=Part("nut", Money(1)),
        parts=[Part("bolt", Money(3))],
        prices={"new": Money(5)},
        any={"nested": [1, None]},
        big=5,
    )


async def test_sync_and_async_nodes_run_in_another_process(store_url: str) -> None:
    """In one that is kept, and has the event loop of the runtime."""
    async with Runtime(store_url, processes=3) as rt:
        done = await rt.run(of(isolated.where, isolated.where_async), Trail())

    assert done.n == 2
    assert len(set(done.pids)) == 1
    assert os.getpid() not in done.pids


async def test_items_and_what_is_sent_run_in_other_processes_too(store_url: str) -> None:
    """A map over structs with codecs, one without an annotation, and a list of sends."""
    began = isolated.Batch(parts=[Part(str(n), Money(n)) for n in range(5)], words=["a", "bcd"])

    async with Runtime(store_url, processes=2) as rt:
        done = await rt.run(isolated.batch, began)

    assert (done.cents, done.lengths, done.pids) == ([0, 1, 2, 3, 4], [1, 3], [1, 3])


async def test_200_calls_reuse_the_processes() -> None:
    """However many are called for at once, there are no more processes than allowed, and they are kept."""
    graph = of(isolated.where)
    node, workers, pids = graph.plan.nodes["where"], Workers(2), list[int]()
    assert node.isolated is not None

    async def call() -> None:
        async with workers.one(node, node.isolated) as worker:  # type: ignore[arg-type]
            update = await worker.call(graph.plan, node, graph.schema, (Trail(),), _context())
        pids.extend(update["pids"])

    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(call)
    await workers.close()

    assert len(pids) == 200
    assert len(set(pids)) <= 2


async def test_routes_come_back(store_url: str) -> None:
    """A Goto to the function itself, with an update, 200 times in one process, and END."""
    graph = Graph("count", Trail)
    graph.node(isolated.count, isolate="process", entry=True, goto=(isolated.count, END))

    async with Runtime(store_url, processes=1) as rt:
        done = await rt.run(graph, Trail())

    assert done.n == 200
    assert len(set(done.pids)) == 1


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"n": 1, "trace": ["a"]},
        {"trace": Overwrite(["a"])},
        {"n": Remove("a", 2)},
        Trail(n=4),
        Goto("where"),
        Goto(isolated.where, "where_async", update={"n": 1}),
        Goto("where", update={"n": 1}, parent=True),
        Goto(END, "where"),
        END,
        Send("gets", {"any": [1]}),
        [Send(isolated.gets, 1, update={"n": 1}), Send("gets", None)],
        Reply(None),
        Reply({"n": [1]}, update={"n": 1}),
    ],
    ids=repr,
)
def test_what_a_node_may_return_means_the_same_after_the_way(value: Any) -> None:
    """Each kind of outcome, packed as the worker does it and unpacked as the runtime does it."""
    graph = Graph("routes", Trail)
    graph.node(isolated.where, goto=(isolated.where, isolated.where_async, END), send=isolated.gets, entry=True)
    graph.node(isolated.where_async)
    graph.node(isolated.gets, takes=int)

    sent = decode_reply(framed(pack(value, graph.schema.codecs, is_item=False, call=1))[4:])

    again = unpack(sent, graph.plan, "where", graph.schema)  # type: ignore[arg-type]
    assert _shown(again) == _shown([value] if isinstance(value, Send) else value)


async def test_a_handler_in_another_process_gets_state_and_message() -> None:
    """And its context after them; it is found, and so is the type of its messages, by import."""
    graph = Graph("handled", Trail, lifetime="actor")
    graph.on(isolated.Price, isolated.prices, isolate="process")
    node, workers = graph.plan.nodes["prices"], Workers(1)
    assert node.isolated is not None

    async with workers.one(node, node.isolated) as worker:
        message = isolated.Price(amount=3)
        reply = await worker.call(graph.plan, node, graph.schema, (Trail(n=4), message), _context())
    await workers.close()

    assert isinstance(reply, Reply)
    assert reply.value == "7 run"
    assert reply.update is not None
    assert reply.update["pids"] != [os.getpid()]


def test_the_type_of_messages_must_be_found_by_a_worker_process() -> None:
    """As must be the function."""

    class Here(Message):
        pass

    graph = Graph("handled", Trail, lifetime="actor")
    graph.on(Here, isolated.prices_any, isolate="process")

    with pytest.raises(GraphError, match=r"its messages: .*Here is defined inside a function"):
        _ = graph.plan


def _shown(value: Any) -> Any:
    """Goto, Send and Remove are equal to nothing but themselves."""
    if isinstance(value, Goto | Send | dict) or (isinstance(value, list) and value):
        return repr(value)
    return value


@pytest.mark.parametrize("value", [None, 3, "text", [1, {"a": None}], {"n": 1}])
def test_the_result_of_an_item_is_whatever_it_is(value: Any) -> None:
    """A mapped function's dict is no update, and its list no list of sends."""
    graph = of(isolated.where)

    sent = decode_reply(framed(pack(value, graph.schema.codecs, is_item=True, call=1))[4:])

    assert unpack(sent, graph.plan, "where", graph.schema) == value  # type: ignore[arg-type]


def test_a_route_to_another_function_is_undeclared() -> None:
    """The name of a function that was sent is compared with the declared ones; it is never imported."""
    graph = of(isolated.where)
    sent = decode_reply(framed(pack(Goto(isolated.hangs), graph.schema.codecs, is_item=False, call=1))[4:])

    with pytest.raises(UndeclaredTarget, match=r"tests\.runtime\.isolated:hangs"):
        unpack(sent, graph.plan, "where", graph.schema)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("n", "match"),
    [
        (0, r"node 'gives_back', field 'trace': Encoding objects of type object is unsupported"),
        (1, r"node 'gives_back', field 'n': Expected `int`, got `str`"),
        (2, r"returned int; a node returns None, a dict of fields"),
        (3, r"returned a Goods, not a Trail or an update"),
        (4, r"returned a list with int; a node may return a list of Send"),
        (5, r"Trail has no field 'nix'"),
    ],
)
async def test_what_is_no_update_is_refused(n: int, match: str) -> None:
    """With the error that a node in this process would get: node, field, and what is wrong."""
    cause = await cause_of(of(isolated.gives_back), Trail(n=n))

    assert isinstance(cause, BadUpdate)
    with pytest.raises(BadUpdate, match=match):
        raise cause


async def test_a_function_inside_a_decorator_is_found(store_url: str) -> None:
    """What was declared runs, with or without the decorator around it."""
    async with Runtime(store_url, processes=1) as rt:
        inner = await rt.run(of(isolated.undecorated), Trail())
        outer = await rt.run(of(isolated.decorated), Trail())

    assert (inner.trace, outer.trace) == (["plain"], ["plain", "decorated"])


# -- the context ---------------------------------------------------------------------


async def test_the_context_says_who_runs_and_logs_here(store_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A line logged there comes out of the logger here, with where it was logged and with its traceback."""
    caplog.set_level(logging.INFO, "actorflow.node")

    async with Runtime(store_url, processes=1) as rt:
        done = await rt.run(of(isolated.asks), Trail(), id="who")

    assert done.trace[:3] == ["who", "asks", "1"]
    assert len(done.trace[3]) >= 32
    told, caught = (record for record in caplog.records if record.name == "actorflow.node")
    assert (told.getMessage(), told.funcName, told.levelname) == ("attempt 1", "asks", "INFO")
    assert vars(told)["run"] == "who"
    assert "ValueError: inside" in str(caught.exc_text)


async def test_what_is_emitted_is_told_here() -> None:
    """In order, and not what a thread that outlived its call emits during the next one."""
    graph = of(isolated.tells, isolated.lets_go)
    told: list[Any] = []
    workers = Workers(1)

    for name in ("tells", "lets_go"):
        node = graph.plan.nodes[name]
        assert node.isolated is not None
        async with workers.one(node, node.isolated) as worker:
            update = await worker.call(graph.plan, node, graph.schema, (Trail(),), _context(told))
    await workers.close()

    assert update == {"trace": ["1 late"]}
    assert told == [("emit", ({"token": "a"},)), ("progress", (1, 2)), ("heartbeat", ()), ("emit", ("own",))]


def _context(told: list[Any] | None = None) -> NodeContext:
    """One that notes what it is told."""
    notes: list[Any] = [] if told is None else told
    activation = Activation(id=1, key=b"key", node="node", scope="scope", base={}, index=3)
    tell = lambda *what: notes.append(what)  # noqa: E731 - one line a test context
    return NodeContext(activation, 1, run_id="run", context=None, codecs=NO_CODECS, tell=tell, means=cast("Any", None))


@pytest.mark.parametrize(("node", "name"), [(isolated.uses_clients, "context"), (isolated.asks_a_human, "interrupt")])
async def test_what_is_only_here_is_refused_there(node: Any, name: str) -> None:
    """A client or a question can't go to another process: asking for it is an error at once, and no restart helps."""
    cause = await cause_of(of(node), Trail())

    assert isinstance(cause, NotInWorker)
    assert f"there is no ctx.{name}; use it in a node of its own, without isolate=" in str(cause)


@pytest.mark.parametrize("catch", [Exception, BankDown, ConnectionError])
async def test_an_error_of_one_process_is_handled_in_another(store_url: str, catch: Any) -> None:
    """What ``catch=`` names is caught, and the handler knows what it was and where."""
    graph = Graph("handled", Trail)
    graph.node(isolated.raises_own, isolate="process", on_error="comforts", catch=catch)
    graph.node(isolated.comforts, isolate="process")

    async with once(store_url, processes=1) as rt:
        done = await rt.run(graph, Trail())

    assert done.trace == ["BankDown", "the bank says 7", "raises_own"]


# -- exceptions ----------------------------------------------------------------------


async def test_one_of_python_s_exceptions_is_the_same_here(tmp_path: Path) -> None:
    """With its arguments, and the traceback of the other process as a note."""
    cause = await cause_of(of(isolated.raises_builtin), Trail(path=str(tmp_path / "none")))

    assert type(cause) is FileNotFoundError
    assert cause.filename == str(tmp_path / "none")
    assert "in raises_builtin" in cause.__notes__[0]
    assert "actorflow/runtime" not in cause.__notes__[0]


async def test_an_exception_of_one_s_own_is_told_as_text() -> None:
    """Its class is not looked up; it is still an instance of what it derives from in Python itself."""
    cause = await cause_of(of(isolated.raises_own), Trail())

    assert isinstance(cause, RemoteError)
    assert not isinstance(cause, BankDown)
    assert isinstance(cause, ConnectionError)
    assert (cause.type_name, cause.message) == ("BankDown", "the bank says 7")
    assert str(cause) == "BankDown: the bank says 7"


@pytest.mark.parametrize("on", [BankDown, (KeyError, BankDown), OSError, lambda error, _: isinstance(error, OSError)])
async def test_retry_knows_an_exception_of_one_s_own(store_url: str, tmp_path: Path, on: Any) -> None:
    """The classes that ``on=`` names are matched, without a call of their code."""
    graph = of(isolated.fails_once, retry=Retry(attempts=2, backoff=0, on=on))

    async with once(store_url, processes=1) as rt:
        done = await rt.run(graph, Trail(path=str(tmp_path / "touched")))

    assert done.trace == ["worked"]


async def test_retry_does_not_know_what_it_does_not_name(tmp_path: Path) -> None:
    """An ``on=`` of another class does not match."""
    graph = of(isolated.fails_once, retry=Retry(attempts=2, backoff=0, on=KeyError))

    cause = await cause_of(graph, Trail(path=str(tmp_path / "touched")))

    assert isinstance(cause, RemoteError)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("a", 1, None), ValueError),
        (KeyError("k"), KeyError),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"), UnicodeDecodeError),
        pytest.param(ValueError(object()), RemoteError, id="an object"),
        (StopIteration(), RemoteError),
        (ExceptionGroup("several", [ValueError()]), RemoteError),
        (Exception("plain"), RemoteError),
        (RecursionError("deep"), RecursionError),
        (ValueError("\ud800"), RemoteError),
    ],
    ids=repr,
)
def test_exceptions_by_the_table(error: Exception, kind: type[Exception]) -> None:
    """Python's own are made again of plain arguments; whatever else is told as text, and stays catchable."""
    raised = decode_reply(framed(pack_error(error, call=1))[4:])

    again = unpack_error(raised, ())  # type: ignore[arg-type]

    assert isinstance(again, kind)
    assert isinstance(again, type(error) | RemoteError)


class _Hostile(Exception):
    """Nobody can inherit it, and its text can't be read."""

    def __init_subclass__(cls) -> None:
        raise TypeError("sealed")

    def __str__(self) -> str:
        raise ValueError("no text")


def test_an_exception_that_resists_is_told_all_the_same() -> None:
    """Whatever a class does, the node's failure is not lost."""
    raised = decode_reply(framed(pack_error(_Hostile(), call=1))[4:])

    again = unpack_error(raised, (_Hostile,))  # type: ignore[arg-type]

    assert type(again) is RemoteError
    assert again.type_name == "_Hostile"


# -- death ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "says"),
    [
        (-signal.SIGKILL, "was killed by SIGKILL (nobody did it? then the system was out of memory)"),
        (-signal.SIGSEGV, "was killed by SIGSEGV"),
        (3, "ended with exit status 3"),
        (0, "ended with exit status 0"),
    ],
)
async def test_a_process_that_dies_is_a_failure_of_its_node(n: int, says: str) -> None:
    """The error names the signal or the exit status."""
    cause = await cause_of(of(isolated.is_killed), Trail(n=n))

    assert isinstance(cause, WorkerDied)
    assert cause.exit_code == n
    assert str(cause) == f"node 'is_killed': its worker process {says}"


async def test_a_process_that_died_is_replaced(store_url: str, tmp_path: Path) -> None:
    """The next attempt has another process, and so have other nodes."""
    graph = of(isolated.where, isolated.dies_once, retry=Retry(attempts=2, backoff=0))

    async with once(store_url, processes=1) as rt:
        done = await rt.run(graph, Trail(path=str(tmp_path / "touched")))

    assert done.trace == ["worked"]
    assert len(set(done.pids)) == 2


async def test_a_process_that_died_while_it_was_idle_is_replaced(store_url: str) -> None:
    """No node fails for that."""
    async with once(store_url, processes=1) as rt:
        first = await rt.run(of(isolated.where), Trail())
        os.kill(first.pids[0], signal.SIGKILL)
        os.waitid(os.P_PID, first.pids[0], os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - it is dead already
        second = await rt.run(of(isolated.where), Trail())

    assert first.pids != second.pids


async def test_a_death_is_noticed_though_a_fork_holds_the_socket() -> None:
    """The end of the process counts, not that of its files; and what it forked is ended, too."""
    with anyio.fail_after(50):
        cause = await cause_of(of(isolated.forks_and_dies), Trail())

    assert isinstance(cause, WorkerDied)


@pytest.mark.parametrize("node", [isolated.hangs, isolated.spins, isolated.sleeps])
async def test_a_timeout_kills_the_process(tmp_path: Path, node: Any) -> None:
    """A sync node that waits, one that never lets go of the interpreter, an async one; and what they started."""
    pipe = Pipe(tmp_path / "pipe")
    graph = of(node, timeout=0.5)

    async def let_time_pass() -> None:
        await pipe.opened.wait()
        await clock.advance(0.5)

    async with VirtualClock(auto=False) as clock, anyio.create_task_group() as tasks:
        tasks.start_soon(pipe.watch)
        tasks.start_soon(let_time_pass)
        cause = await cause_of(graph, Trail(path=str(pipe.path)))
        await pipe.closed.wait()

    assert isinstance(cause, NodeTimeout)


async def test_cancelling_a_run_kills_the_process(store_url: str, tmp_path: Path) -> None:
    """And the runtime goes on, with another one."""
    pipe = Pipe(tmp_path / "pipe")

    with anyio.fail_after(50):
        async with once(store_url, processes=1) as rt, anyio.create_task_group() as tasks:
            tasks.start_soon(pipe.watch)
            run = await rt.spawn(of(isolated.spins), Trail(path=str(pipe.path)))
            await pipe.opened.wait()
            await run.cancel()
            await pipe.closed.wait()
            with pytest.raises(RunCancelled):
                await run.result()
            done = await rt.run(of(isolated.where), Trail())

    assert done.n == 1


async def test_leaving_by_an_exception_kills_the_process(store_url: str, tmp_path: Path) -> None:
    """The runtime is closed when the node's process and what it started are gone."""
    pipe = Pipe(tmp_path / "pipe")

    with anyio.fail_after(50):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pipe.watch)
            with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving the runtime is the point
                async with once(store_url) as rt:
                    await rt.spawn(of(isolated.hangs), Trail(path=str(pipe.path)))
                    await pipe.opened.wait()
                    raise ZeroDivisionError
            await pipe.closed.wait()


async def test_waiting_for_a_process_is_not_the_node_s_time(store_url: str, tmp_path: Path) -> None:
    """A timeout counts from when the function is called."""
    path = tmp_path / "pipe"
    os.mkfifo(path)

    async with VirtualClock(auto=False) as clock, once(store_url, processes=1) as rt:
        first = await rt.spawn(of(isolated.waits_for_reader), Trail(path=str(path)))
        second = await rt.spawn(of(isolated.waits_for_reader, timeout=0.3), Trail())
        await clock.settle()
        await clock.advance(0.5)  # the time that must not count
        await to_thread.run_sync(path.read_bytes)
        results = [await first.result(), await second.result()]

    assert [done.trace for done in results] == [["done"], ["done"]]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # it takes the whole grace, and the loop has no part in it
async def test_a_process_that_does_not_want_to_end_is_killed() -> None:
    """When the runtime is left, idle processes have a moment to end by themselves, and no more."""
    with anyio.fail_after(50):
        async with once("memory://", processes=1) as rt:
            done = await rt.run(of(isolated.lingers), Trail())

    with pytest.raises(ProcessLookupError):
        os.kill(done.pids[0], 0)


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors and children in /proc")
async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """After use, death and timeout: no descriptor, no child, no zombie."""
    descriptors, children = _descriptors(), _children()

    async with once("memory://", processes=2) as rt:
        await rt.run(of(isolated.where, isolated.where_async), Trail())
        for graph in (of(isolated.is_killed), of(isolated.sleeps, timeout=0.2)):
            path = str(tmp_path / "held")
            with pytest.raises(RunFailed):
                await rt.run(graph, Trail(n=3, path=path))

    assert (
        _descriptors() <= descriptors
    )  # of earlier tests some may go meanwhile: a server's thread closes what it served
    assert _children() == children


def _descriptors() -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            found.add((entry.name, str(entry.readlink())))
    return found


def _children() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii")


# -- the runtime's own death -----------------------------------------------------------

_PARENT = """
import sys
import anyio
from actorflow import Graph, Runtime
from tests.runtime import isolated
from actorflow.runtime.workers import process

process._START = process._START.replace("import serve;", "import serve;" + sys.argv[3])

async def main():
    graph = Graph("g", isolated.Trail)
    graph.node(isolated.where, isolate="process")
    graph.node(getattr(isolated, sys.argv[1]), after="where", isolate="process")
    async with Runtime("memory://", processes=1) as rt:
        await rt.run(graph, isolated.Trail(path=sys.argv[2]))

anyio.run(main)
"""


def _killed_parent(node: str, tmp_path: Path, planted: str = "") -> tuple[subprocess.Popen[str], int]:
    """A process that was killed while a worker of its ran the node; and the worker's id."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, node, str(path), planted], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with path.open() as pipe:
        pid = int(pipe.readline())
    parent.kill()
    return parent, pid


@pytest.mark.parametrize("node", ["hangs", "spins"])
def test_a_killed_runtime_leaves_no_process(tmp_path: Path, node: str) -> None:
    """Workers and what they started hold its output open: the end of that is the end of them all."""
    parent, _ = _killed_parent(node, tmp_path)

    parent.communicate(timeout=20)

    assert parent.returncode == -signal.SIGKILL


@pytest.mark.parametrize("node", ["hangs", "spins"])
def test_a_thread_is_not_enough(tmp_path: Path, node: str) -> None:
    """Planted: what watches the lifeline elsewhere than on Linux ends a worker that waits, not one that computes."""
    planted = (
        "from actorflow.runtime.workers import worker; import threading;"
        "worker.end_with = lambda fd: threading.Thread(target=worker.end_after, args=(fd,), daemon=True).start();"
    )
    parent, pid = _killed_parent(node, tmp_path, planted)

    if node == "hangs":
        parent.communicate(timeout=20)
    else:
        with pytest.raises(subprocess.TimeoutExpired):
            parent.communicate(timeout=1)
        os.killpg(pid, signal.SIGKILL)
        parent.communicate(timeout=20)


def test_without_the_lifeline_a_process_is_left(tmp_path: Path) -> None:
    """Planted: nobody tells the worker that its runtime is gone, and it is still there."""
    planted = "from actorflow.runtime.workers import worker; worker.end_with = lambda fd: None;"
    parent, pid = _killed_parent("hangs", tmp_path, planted)

    with pytest.raises(subprocess.TimeoutExpired):
        parent.communicate(timeout=1)

    os.killpg(pid, signal.SIGKILL)
    parent.communicate(timeout=20)


def test_a_module_that_runs_itself_does_not_start_processes_for_ever(tmp_path: Path) -> None:
    """A worker process imports it, and what it then starts is refused, with the remedy."""
    (tmp_path / "unguarded.py").write_text(
        "import anyio\n"
        "from actorflow import Graph, RestartPolicy, Runtime, State\n"
        "class Empty(State):\n    n: int = 0\n"
        "graph = Graph('g', Empty)\n"
        "@graph.node(isolate='process')\n"
        "def node(state: Empty):\n    return {'n': 1}\n"
        "async def main():\n"
        "    async with Runtime('memory://', restarts=RestartPolicy(max_restarts=0)) as rt:\n"
        "        await rt.run(graph)\n"
        "anyio.run(main)\n",
        "utf-8",
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import unguarded"

    child = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=ROOT, timeout=50
    )

    assert child.returncode == 1
    assert 'put what the module runs under `if __name__ == "__main__":`' in child.stderr


# -- declaration -----------------------------------------------------------------------


def _local_codecs() -> Graph[Any]:
    graph = Graph("goods", Goods, types=[Codec(Money, lambda money: money.cents, Money)])
    graph.node(isolated.look_at, isolate="process")
    return graph


def _local_state() -> Graph[Any]:
    class Local(State):
        n: int = 0

    graph = Graph("local", Local)
    graph.node(_any_state, isolate="process")
    return graph


def _any_state(state: Any) -> Update:
    return {}


def _in_main() -> Graph[Any]:
    def fn(state: Trail) -> Update:
        return {}

    fn.__module__, fn.__qualname__ = "__main__", "fn"
    return of(fn)


def _replaced() -> Graph[Any]:
    def fn(state: Trail) -> Update:
        return {}

    fn.__module__, fn.__qualname__ = isolated.__name__, "where"
    return of(fn)


def _nowhere() -> Graph[Any]:
    def fn(state: Trail) -> Update:
        return {}

    fn.__module__, fn.__qualname__ = "made.up", "fn"
    return of(fn)


def _thread() -> Graph[Any]:
    graph = Graph("thread", Trail)
    graph.node(isolated.where, isolate="thread")  # type: ignore[arg-type]
    return graph


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: of(lambda state: {}, name="x"), "it is a lambda: give a def at the top level of a module"),
        (lambda: of(functools.partial(isolated.where), name="x"), "is no plain function: give a def"),
        (_in_main, r"fn stands in the script that is run \(__main__\): .* top level of a module of its own"),
        (_replaced, "tests.runtime.isolated.where is something else by now"),
        (_nowhere, "fn stands in made.up, which can't be imported"),
        (_local_state, "its state: .*Local is defined inside a function"),
        (_local_codecs, "its graph has types=, .* keep it at the top level of tests.runtime.isolated"),
        (_thread, "isolate='thread': give 'process'"),
    ],
)
def test_what_a_worker_could_not_find_is_no_node(make: Callable[[], Graph[Any]], says: str) -> None:
    """Said with all other problems when the graph is checked, naming the node and the remedy."""
    with pytest.raises(GraphError, match=says):
        _ = make().plan


def test_a_local_function_is_no_node_of_a_worker() -> None:
    """The message names it."""

    def local(state: Trail) -> Update:
        return {}

    with pytest.raises(GraphError, match=r"local is defined inside a function: a worker process imports it"):
        _ = of(local).plan


def test_a_timeout_of_a_sync_node_needs_a_process() -> None:
    """In a thread it can't be kept, and the message says what to do."""
    threaded = Graph("threaded", Trail)
    threaded.node(isolated.where, timeout=1)

    with pytest.raises(GraphError, match='or say isolate="process"'):
        _ = threaded.plan
    assert of(isolated.where, timeout=1).plan.nodes["where"].timeout == Timeout(attempt=1)


@pytest.mark.parametrize("processes", [0, -1, True, 1.5])
def test_a_number_of_processes_is_one(processes: Any) -> None:
    """Anything else is refused where it is given."""
    with pytest.raises(ValueError, match="processes="):
        Runtime("memory://", processes=processes)


def test_a_message_that_claims_to_be_too_long_is_not_waited_for() -> None:
    """No memory is spent on what can only be damage."""
    with pytest.raises(ValueError, match="was announced"):
        length_of((MAX_MESSAGE + 1).to_bytes(4, "little"))
    assert length_of(MAX_MESSAGE.to_bytes(4, "little")) == MAX_MESSAGE
