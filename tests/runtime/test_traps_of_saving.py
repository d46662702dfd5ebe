"""Traps of saving: where others that save graphs go wrong in what they keep. Each was planted, and found."""

from __future__ import annotations

import enum
import math
import operator
import threading
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import pytest
from anyio import to_thread
from msgspec import field

from actorflow import END, Context, Graph, Overwrite, Runtime, State, Update, extend, migrate
from actorflow.engine.policy import RestartPolicy
from actorflow.errors import BadRunId, BadUpdate, MigrationError, NoSuchRun, RemoteError, RunDeleted, RunFailed
from actorflow.store.keys import HOSTS
from actorflow.store.memory import MemoryBackend
from actorflow.store.wrappers import WrappedBackend
from tests.runtime.asking import asker
from tests.runtime.graphs import Trail, chain

if TYPE_CHECKING:
    from pathlib import Path

NEVER = RestartPolicy(max_restarts=0)
KIB = 1024


class Moments(WrappedBackend):
    """Keeps what was in the store after each write: what a crash right there leaves."""

    def __init__(self) -> None:
        super().__init__(MemoryBackend())
        self.kept: list[MemoryBackend] = []

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Put, and keep the moment; but heartbeats, which come and go beside it, are of no run."""
        put = super().put_new(key, data, durable=durable)
        if key.startswith(HOSTS):
            return put
        moment = MemoryBackend()
        for name in self.inner.list(""):
            if not name.startswith(HOSTS):
                moment.put_new(name, self.inner.get(name))
        self.kept.append(moment)
        return put


class Page(State):
    """A number, and a text that is too large for a commit."""

    n: int = 0
    text: str = ""


async def test_no_commit_is_there_before_what_it_refers_to() -> None:
    """Trap: the newest checkpoint names what is not written yet, and a crash right then makes it unreadable.

    Planted: a commit goes before its blobs.
    """
    graph = Graph("pages", Page)

    @graph.node(entry=True)
    async def write(state: Page) -> Update:
        return {"n": state.n + 1, "text": str(state.n) * 400 * KIB}

    @graph.node(after=write)
    async def again(state: Page) -> Update:
        return {"n": state.n + 1, "text": "x" * 300 * KIB}

    moments = Moments()
    async with Runtime(moments) as rt:
        await rt.run(graph, id="x")

    reached: list[tuple[int, int]] = []
    for moment in moments.kept:
        if moment.list("runs/"):
            async with Runtime(moment, readonly=True) as rt:
                rt.register(graph)
                state = await rt.get("x").state() if [one async for one in rt.get("x").history(limit=1)] else Page()
                reached.append((state.n, len(state.text)))
    assert reached == sorted(reached, key=operator.itemgetter(0))
    assert {(0, 0), (1, 400 * KIB), (2, 300 * KIB)} == set(reached)


class Note(State, version=1):
    """Fields whose defaults are something."""

    text: str | None = "default"
    lines: Annotated[list[str], extend] = field(default_factory=lambda: ["default"])
    count: int | None = None


class Shorter(State, version=2, name="Note"):
    """The same without the text."""

    lines: Annotated[list[str], extend] = field(default_factory=lambda: ["default"])
    count: int | None = None


@migrate(from_=1, to=2)
def without_text(old: dict[str, Any]) -> dict[str, Any]:
    """Take the text away."""
    return {name: value for name, value in old.items() if name != "text"}


async def test_empty_is_a_value_and_what_was_removed_is_gone(store_url: str) -> None:
    """Trap: a field that was emptied comes back as its default, and one that was removed comes back at all.

    Planted: None is taken for nothing written.
    """

    def note(state: Any, **options: Any) -> Graph[Any]:
        graph = Graph("note", state, **options)

        @graph.node
        async def empty(state: Any) -> Update:
            return {"text": None, "lines": Overwrite([]), "count": 0}

        return graph

    async with Runtime(store_url) as rt:
        await rt.run(note(Note), id="x")
    async with Runtime(store_url) as rt:
        assert await rt.run(note(Note), id="x") == Note(text=None, lines=[], count=0)
        newer = note(Shorter, migrations=[without_text])
        newer.node(lambda state: {"lines": ["one"]}, name="more", after="empty")
        assert await (await rt.resume(newer, "x")).result() == Shorter(lines=["one"], count=0)
        assert (await rt.get("x").at()).values == {"lines": ["one"], "count": 0}


class Colour(enum.StrEnum):
    """An enum of text."""

    RED = "red"


class Level(enum.IntEnum):
    """An enum of numbers."""

    HIGH = 3


class Everything(State):
    """A value of each kind that is easily lost."""

    none: int | None = 1
    data: bytes = b""
    nan: float = 0.0
    infinite: float = 0.0
    large: int = 0
    small: int = 0
    colour: Colour | None = None
    levels: dict[Level, list[Colour]] = {}
    names: set[str] = set()
    fixed: frozenset[int] = frozenset()
    pair: tuple[int, str] | None = None


class Text(State, name="Everything"):
    """The same name, and a field of another type."""

    data: list[int] = []


async def test_values_come_back_as_what_they_were_or_not_at_all(store_url: str) -> None:
    """Trap: an enum comes back as text, a tuple as a list, and what can't be read comes back as None.

    Planted: values are decoded without their types.
    """
    values: dict[str, Any] = {
        "none": None,
        "data": b"\x00\xff",
        "nan": math.nan,
        "infinite": -math.inf,
        "large": 2**64 - 1,
        "small": -(2**63),
        "colour": Colour.RED,
        "levels": {Level.HIGH: [Colour.RED]},
        "names": {"a", "b"},
        "fixed": frozenset({1}),
        "pair": (1, "one"),
    }

    def everything(update: Update, state: Any = Everything) -> Graph[Any]:
        graph = Graph("everything", state)

        @graph.node
        async def fill(state: Any) -> Update:
            return update

        return graph

    async with Runtime(store_url, restarts=NEVER) as rt:
        await rt.run(everything(values), id="x")
        with pytest.raises(RunFailed) as caught:
            await rt.run(everything({"large": 2**64}), id="too large")
        assert isinstance(caught.value.__cause__, BadUpdate)
    async with Runtime(store_url) as rt:
        found = await rt.run(everything({}), id="x")
        with pytest.raises(MigrationError):
            await rt.run(everything({}, Text), id="x")

    for name, value in values.items():
        got = getattr(found, name)
        assert type(got) is type(value), name
        assert repr(got) == repr(value) or got == value, name
    assert type(found.levels[Level.HIGH][0]) is Colour
    assert type(next(iter(found.levels))) is Level


class Counted(WrappedBackend):
    """Notes what is read."""

    def __init__(self) -> None:
        super().__init__(MemoryBackend())
        self.read: list[str] = []

    def get(self, key: str) -> bytes:
        """Note, and read."""
        self.read.append(key)
        return super().get(key)


async def test_filters_hold_all_at_once_pages_join_and_no_run_is_read_for_a_listing() -> None:
    """Trap: a listing obeys the first filter only, skips or repeats at the end of a page, or reads every state.

    Planted: the filters are joined by or, also the tags; a page begins with the last one of the page before; a listing
    that looks at each run.
    """
    backend, graph = Counted(), chain("a", "b", "c")
    async with Runtime(backend) as rt:
        for run_id, team, stage in [("1", "red", "test"), ("2", "red", "live"), ("3", "blue", "live")]:
            await (await rt.spawn(graph, id=run_id, tags={"team": team, "stage": stage})).result()
        other = await rt.spawn(asker(), id="4", tags={"team": "red", "stage": "live"})
        assert await other.wait() == "waiting"

    async with Runtime(backend, readonly=True) as rt:
        backend.read.clear()
        wanted = {"team": "red", "stage": "live"}
        listed = [one.id for one in await rt.runs(graph="chain", status="finished", tags=wanted)]
        everyone = {one.id for one in await rt.runs()}
        read = {key.split("/")[1] for key in backend.read if key.startswith("runs/")}
        run, pages, before = rt.get("1"), list[int](), None
        for _ in range(10):
            page = [one.seq async for one in run.history(before=before, limit=2)]
            pages += page
            before = min(pages)
        whole = [one.seq async for one in run.history()]
        kinds = {(one.kind, one.node) async for one in run.history(kind="commit", node="a")}

    assert (listed, everyone) == (["2"], {"1", "2", "3", "4"})
    assert read <= {"4"}  # whose newest header alone says how it stands
    assert pages == whole == sorted(whole, reverse=True)
    assert kinds == {("commit", "a")}


class Unpicklable(Exception):
    """An error that no process can unpickle, and that only exists where it was raised."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()

    def __reduce__(self) -> str:
        raise AssertionError("somebody pickled an error")


async def test_an_error_comes_back_as_text(store_url: str) -> None:
    """Trap: an error is stored as an object, and reading it needs its class, or runs code.

    Planted: an error is pickled into its record; its traceback is left out.
    """
    graph = Graph("failing", Trail)

    @graph.node
    async def fails(state: Trail) -> None:
        raise Unpicklable("no such city")

    async with Runtime(store_url, restarts=NEVER) as rt:
        with pytest.raises(RunFailed):
            await rt.run(graph, id="x")
    async with Runtime(store_url, readonly=True) as rt:
        with pytest.raises(RunFailed) as caught:
            await rt.get("x").result()

    cause = caught.value.__cause__
    assert isinstance(cause, RemoteError)
    assert (cause.type_name.rpartition(".")[2], cause.message) == ("Unpicklable", "no such city")
    assert "in fails" in cause.traceback


IDS = ["a", "A", "a/b", "a/b/c", "../a", "..", "/a", "a[1]", "a*", "ä", "con", "a~b", "a b", "a.", "run:1", "%2e%2e"]


async def test_ids_never_meet_and_a_deleted_run_leaves_nothing_it_said(store_url: str) -> None:
    """Trap: an id is taken for a path or a pattern, so that one run is two, or deleting one deletes others.

    Planted: an id stands in keys as it is; a deletion that leaves the blobs.
    """
    backend = MemoryBackend()
    graph = Graph("pages", Page)

    @graph.node
    async def write(state: Page) -> Update:
        return {"text": state.text * 2}

    async with Runtime(backend) as rt:
        for number, run_id in enumerate(IDS):
            await rt.run(graph, Page(n=number, text=f"secret of {number:02}." * 20 * KIB), id=run_id)
        for run_id in IDS[::2]:
            await rt.delete(run_id)

        for number, run_id in enumerate(IDS):
            if number % 2:
                assert (await rt.get(run_id).result()).n == number
            else:
                with pytest.raises(RunDeleted):
                    await rt.get(run_id).result()
        with pytest.raises(BadRunId):
            await rt.run(graph, Page(), id="")
        with pytest.raises(NoSuchRun):
            await rt.get("a?").result()

    left = b"".join(backend.get(key) for key in backend.list(""))
    assert [b"secret of %02d." % number in left for number in range(len(IDS))] == [False, True] * (len(IDS) // 2)


class Held(WrappedBackend):
    """A store in which the commits of a run wait until they may go on."""

    def __init__(self) -> None:
        super().__init__(MemoryBackend())
        self.holding = False
        self.inside = threading.Event()
        self.open = threading.Event()

    async def reached(self) -> None:
        """Wait until one does."""
        assert await to_thread.run_sync(self.inside.wait, 20)

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Wait, and put."""
        if self.holding and "/log/" in key:
            self.inside.set()
            self.open.wait(20)
        return super().put_new(key, data, durable=durable)


class Lists(State):
    """Two lists: one that nobody writes, and one that a node writes."""

    given: list[str] = []
    written: list[str] = []


async def test_what_a_node_changes_behind_our_back_is_in_no_checkpoint() -> None:
    """Trap: a list is changed while it is written, and the checkpoint is a mixture.

    Planted: a node is given the lists of the state themselves; an update is merged as it is, and encoded later.
    """
    store, graph = Held(), Graph("behind", Lists)
    held: list[list[str]] = []

    @graph.node
    async def write(state: Lists) -> Update:
        store.holding = True
        held.extend([state.given, ["one"]])
        return {"written": held[1]}

    @graph.node(after=write)
    async def change(state: Lists) -> None:
        await store.reached()
        for one in held:
            one.append("behind our back")
        store.open.set()

    async with Runtime(store) as rt:
        live = await (await rt.spawn(graph, Lists(given=["given"]), id="x", durability="async")).result()
    async with Runtime(store.inner) as rt:
        recovered = await rt.run(graph, id="x")

    assert live == recovered == Lists(given=["given"], written=["one"])


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_run_is_not_finished_before_its_end_is_kept(durability: Any) -> None:
    """Trap: who asks while the last write is under way is told the end of a run that may never have ended.

    Planted: a status that does not wait for the commit.
    """
    store, graph, told = Held(), Graph("held", Trail), list[str]()

    @graph.node
    async def last(state: Trail) -> Update:
        store.holding = True
        return {"trace": ["last"]}

    async def tell(rt: Runtime) -> None:
        told.append((await rt.get("x").result()).trace[-1])

    seen: tuple[str, list[str], list[str]] | None = None
    async with Runtime(store) as rt, anyio.create_task_group() as tasks:
        run = await rt.spawn(graph, id="x", durability=durability)
        tasks.start_soon(tell, rt)
        await store.reached()

        seen = (await run.status(), (await run.state()).trace, [*told])
        store.open.set()

    assert seen == ("running", [], [])

    assert told == ["last"]


def bytes_below(folder: Path) -> int:
    """What all files there take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def talk(steps: int, store: Any) -> None:
    """A list that grows by a KiB with each step."""
    graph = Graph("talk", Trail)

    @graph.node(entry=True)
    async def say(state: Trail) -> Update:
        return {"n": state.n + 1, "trace": [f"{state.n:04}" * 256]}

    graph.branch(lambda state: "say" if state.n < steps else END, after=say, to=("say", END))
    async with Runtime(store) as rt:
        await rt.run(graph, id="x")


async def test_twice_as_many_steps_are_twice_as_many_bytes(tmp_path: Path) -> None:
    """Trap: each checkpoint holds all messages so far, and the files grow with the square of their number.

    Planted: a snapshot as soon as it is as large as what came since the last one, and one with each commit.
    """
    sizes: list[int] = []
    for steps in (50, 100, 200):
        await talk(steps, tmp_path / str(steps))
        sizes.append(bytes_below(tmp_path / str(steps) / "runs"))

    few, more, many = sizes
    assert 1.7 < more / few < 2.3
    assert 1.7 < many / more < 2.3
    assert many < 2 * 200 * KIB


async def test_on_a_bucket_one_commit_of_64_holds_the_state_and_no_more() -> None:
    """Trap, as before. A bucket has a snapshot every 64 commits, so that a reader has few objects to get.

    Planted: a snapshot with each commit.
    """
    backend = MemoryBackend()

    await talk(200, backend)

    size = sum(len(backend.get(key)) for key in backend.list("runs/"))
    assert size < (64 + 128 + 192 + 2 * 200) * KIB


CALLS: list[str] = []


def latest_wins(old: list[str], update: list[str]) -> list[str]:
    """A reducer for which it matters how often and with how much it is called."""
    CALLS.append("called")
    return [*old[-2:], f"{len(old)}:{len(update)}", *update]


class Odd(State):
    """A field with that reducer."""

    lines: Annotated[list[str], latest_wins] = []
    n: int = 0


async def test_a_reducer_is_not_asked_again_by_whoever_reads_the_run() -> None:
    """Trap: a state is rebuilt by calling reducers on the updates, and one that is not associative gives another state.

    Planted: a fold that calls the reducer.
    """
    backend, graph, before = MemoryBackend(), Graph("odd", Odd), None
    for name in ("a", "b", "c", "d", "e"):

        async def add(state: Odd, ctx: Context) -> Update:
            return {"lines": [ctx.node] * (state.n + 1), "n": state.n + 1}

        graph.node(add, name=name, after=before)
        before = name
    CALLS.clear()
    async with Runtime(backend) as rt:
        run = await rt.spawn(graph, id="x", durability="exit")
        live = await run.result()
    called = len(CALLS)

    async with Runtime(backend) as rt:
        rt.register(graph)
        recovered, forked = await rt.get("x").result(), await (await rt.get("x").fork(id="y")).state()
        seen = [one.state async for one in rt.get("x").views()]

    assert (live, live, live) == (recovered, forked, seen[0])
    assert (called, len(CALLS)) == (5, 5)
