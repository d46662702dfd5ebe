"""Going on: after a release, under a newer schema, under a graph that grew, and what is refused."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from actorflow import END, Graph, Runtime, State, Update, migrate
from actorflow.engine.spawn import spawn
from actorflow.errors import (
    Blocked,
    MigrationFailed,
    MigrationTimeout,
    NoMigration,
    SchemaDrift,
    SchemaTooNew,
    UnknownNode,
)
from actorflow.runtime.claiming import Limits, claiming_run, creating_run, end_unowned
from actorflow.store.backend import whole
from tests.runtime.graphs import Trail, add, chain
from tests.store.object_runs import Died, Watched, WatchedStore

if TYPE_CHECKING:
    from actorflow.engine.decision import Decision
    from actorflow.runtime.options import Durability


class V1(State, version=1, name="Doc"):
    """The first version."""

    title: str
    pages: int = 0


class V2(State, version=2, name="Doc"):
    """A field more."""

    title: str
    pages: int = 0
    risk: str = "?"


class V3(State, version=3, name="Doc"):
    """A field of another type."""

    title: str
    pages: list[int]
    risk: str = "?"


@migrate(from_=1, to=2)
def to_v2(old: dict[str, object]) -> dict[str, object]:
    """Adds the field."""
    return {**old, "risk": "unknown"}


@migrate
def to_v3(old: V2) -> V3:
    """Typed: from one State to another."""
    return V3(title=old.title, pages=[old.pages], risk=old.risk)


def doc(state_type: type[State], *nodes: str, **options: object) -> Graph[State]:
    """Nodes in a row over one of the versions; the first sets the pages."""
    graph: Graph[State] = Graph("doc", state_type, **options)  # type: ignore[arg-type]
    before = None
    for name in nodes:

        async def step(state: State) -> Update:
            return {}

        async def first(state: State) -> Update:
            return {"pages": 3}

        graph.node(first if before is None else step, name=name, after=before)
        before = name
    return graph


async def test_a_finished_v1_run_goes_on_under_a_v2_graph_that_grew(store_url: str) -> None:
    """Only the new node runs; the migrated state and the untouched fields are there; then v3, chained."""
    async with Runtime(store_url) as rt:
        await rt.run(doc(V1, "write"), V1(title="T"), id="x")
    async with Runtime(store_url) as rt:
        handle = await rt.resume(doc(V2, "write", "assess", migrations=[to_v2]), "x")
        assert await handle.result() == V2(title="T", pages=3, risk="unknown")
        since_claim = []
        async for one in handle.views():
            if one.kind == "claimed":
                break
            since_claim += [one.node] if one.node else []
        assert since_claim == ["assess"]
    async with Runtime(store_url) as rt:
        handle = await rt.resume(doc(V3, "write", "assess", "print", migrations=[to_v2, to_v3]), "x")
        assert await handle.result() == V3(title="T", pages=[3], risk="unknown")


@pytest.mark.parametrize("ends", ["leaf", "END"])
async def test_a_finished_run_with_a_loop_goes_on_at_its_new_node_alone(store_url: str, ends: str) -> None:
    """Once, though its leaf ran in each round, and no round again; what has gone on to END stays there.

    Planted: a node whose branch ended the loop is offered that branch again, as if it were a leaf.
    """
    ran: list[str] = []

    def rounds(*, grown: bool) -> Graph[Trail]:
        graph = Graph("rounds", Trail)

        @graph.node(entry=True)
        async def again(state: Trail) -> Update:
            ran.append("again")
            return {"n": state.n + 1}

        add(graph, "last", after=None, ran=ran)
        graph.branch(
            lambda state: "again" if state.n % 3 else "last" if grown or ends == "leaf" else END,
            after=again,
            to=("again", "last", END),
        )
        if ends == "leaf":
            add(graph, "aside", after="again", ran=ran)
        if grown:
            add(graph, "new", after="last", ran=ran)
            if ends == "leaf":
                add(graph, "beside", after="aside", ran=ran)
                graph.branch(lambda state: "again" if state.n < 6 else END, after="new", to=("again", END))
        return graph

    async with Runtime(store_url) as rt:
        await rt.run(rounds(grown=False), id="x")
    before = [*ran]
    ran.clear()
    async with Runtime(store_url) as rt:
        with anyio.fail_after(20):
            await (await rt.resume(rounds(grown=True), "x")).result()

    assert before.count("again") == 3
    if ends == "END":
        assert ran == []
    else:  # the grown graph has a round of its own: three more of the loop, and each thing after it
        assert (ran.count("new"), ran.count("beside"), ran.count("again")) == (2, 4, 3)
        assert sorted(ran[:2]) == ["beside", "new"]


async def test_v1_to_v3_is_chained_in_one_go(store_url: str) -> None:
    """The shortest chain is found; history stays readable in each schema."""
    async with Runtime(store_url) as rt:
        await rt.run(doc(V1, "write"), V1(title="T"), id="x")
    async with Runtime(store_url) as rt:
        handle = await rt.resume(doc(V3, "write", "print", migrations=[to_v2, to_v3]), "x")
        assert await handle.result() == V3(title="T", pages=[3], risk="unknown")

        assert [(one.version, one.values["pages"]) async for one in handle.views()] == [
            (3, [3]),  # print finished
            (3, [3]),  # the tokens parked at the end of v1 went on: the migrated state is durable
            (1, 3),  # the claim is still in the schema it found
            (1, 3),
            (1, 0),
        ]
        assert [one.state.pages async for one in handle.views()] == [[3], [3], [3], [3], [0]]


async def test_a_migration_runs_once_for_a_resume(store_url: str) -> None:
    """What was adopted to see whether this code can run it is what runs."""
    calls: list[int] = []

    @migrate(from_=1, to=2)
    def counted(old: dict[str, object]) -> dict[str, object]:
        calls.append(1)
        return {**old, "risk": "r"}

    async with Runtime(store_url) as rt:
        await rt.run(doc(V1, "write"), V1(title="T"), id="x")
    async with Runtime(store_url) as rt:
        handle = await rt.resume(doc(V2, "write", "assess", migrations=[counted]), "x")
        await handle.result()

    assert calls == [1]


async def test_resuming_a_finished_run_under_the_same_graph_touches_nothing(store_url: str) -> None:
    """The handle gives the result; no file is added."""
    graph = doc(V1, "write")
    async with Runtime(store_url) as rt:
        await rt.run(graph, V1(title="T"), id="x")
        before = [one.seq async for one in rt.get("x").views()]
        assert (await (await rt.resume(graph, "x")).result()).title == "T"

        assert [one.seq async for one in rt.get("x").views()] == before


async def test_a_grown_join_opens_when_all_its_legs_are_parked(store_url: str) -> None:
    """Two former leaves become the legs of a join."""

    def graph(*, grown: bool) -> Graph[Trail]:
        made = chain("start", name="fork")
        add(made, "left", after="start")
        add(made, "right", after="start")
        if grown:

            @made.node(after=("left", "right"))
            async def join(state: Trail) -> Update:
                return {"n": len(state.trace)}

        return made

    async with Runtime(store_url) as rt:
        await rt.run(graph(grown=False), Trail(), id="x")
    async with Runtime(store_url) as rt:
        assert (await (await rt.resume(graph(grown=True), "x")).result()).n == 3


async def test_an_unfinished_run_goes_on_in_the_middle_under_a_new_schema(store_url: str) -> None:
    """The open activation's base migrates with the state."""
    entered = anyio.Event()
    v1: Graph[V1] = Graph("doc", V1)

    @v1.node
    async def write(state: V1) -> Update:
        return {"pages": 3}

    @v1.node(after=write)
    async def wait(state: V1) -> Update:
        entered.set()
        await anyio.sleep_forever()
        return {}

    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving by an exception is what is tested
        async with Runtime(store_url) as rt:
            await rt.spawn(v1, V1(title="T"), id="x")
            await entered.wait()
            raise ZeroDivisionError
    v2: Graph[V2] = Graph("doc", V2, migrations=[to_v2])
    seen: list[V2] = []

    @v2.node(name="write")
    async def write2(state: V2) -> Update:
        raise AssertionError("must not run again")

    @v2.node(name="wait", after="write")
    async def wait2(state: V2) -> Update:
        seen.append(state)
        return {"risk": "low"}

    async with Runtime(store_url) as rt:
        assert (await (await rt.resume(v2, "x")).result()) == V2(title="T", pages=3, risk="low")
    assert seen == [V2(title="T", pages=3, risk="unknown")]


async def test_the_same_call_goes_on_again_and_again_after_a_migration(store_url: str) -> None:
    """The run began with an input of version 1; that of version 2 is not another one, however often it is given."""
    old, new = doc(V1, "write"), doc(V2, "write", "count", migrations=[to_v2])
    async with Runtime(store_url) as rt:
        await rt.run(old, V1(title="T"), id="x")
        await (await rt.resume(new, "x")).result()

    async with Runtime(store_url) as rt:
        assert await rt.run(new, V2(title="T"), id="x") == V2(title="T", pages=3, risk="unknown")


async def test_a_field_added_with_a_default_makes_no_other_input(store_url: str) -> None:
    """The same call goes on: the digest of the input is of other fields, so it says nothing."""

    class Added(State, version=1, name="Doc"):
        title: str
        pages: int = 0
        language: str = "en"

    async with Runtime(store_url) as rt:
        await rt.run(doc(V1, "write"), V1(title="T"), id="x")

        assert (await rt.run(doc(Added, "write"), Added(title="T"), id="x")).language == "en"


async def _seed(store_url: str, *, durability: Durability = "sync") -> None:
    """A v1 run that is failed at its second node, so that it can be resumed."""
    v1: Graph[V1] = Graph("doc", V1)

    @v1.node
    async def write(state: V1) -> Update:
        return {"pages": 3}

    @v1.node(after=write)
    async def fail(state: V1) -> Update:
        return {"pages": "not a number"}

    async with Runtime(store_url) as rt:
        handle = await rt.spawn(v1, V1(title="T"), id="x", durability=durability)
        await handle._life.done.wait()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("state_type", "migrations", "cause"),
    [
        (V2, [], NoMigration),
        (V3, [to_v2], NoMigration),
        (V2, [migrate(from_=1, to=2)(lambda old: 1 / 0)], MigrationFailed),
        (V2, [migrate(from_=1, to=2)(lambda old: {"title": 5})], Exception),
        (V2, [migrate(from_=1, to=2)(lambda old: "nonsense")], Exception),
    ],
)
async def test_what_can_not_be_migrated_is_blocked_and_nothing_is_written(
    store_url: str, state_type: type[State], migrations: list[object], cause: type[Exception]
) -> None:
    """Not even a claim: the process that has the older code can still go on."""
    await _seed(store_url)
    async with Runtime(store_url) as rt:
        before = [one.seq async for one in rt.get("x").views()]
        with pytest.raises(Blocked) as caught:
            await rt.resume(doc(state_type, "write", "fail", migrations=migrations), "x")

        assert isinstance(caught.value.__cause__, cause)
        assert [one.seq async for one in rt.get("x").views()] == before
        assert await rt.get("x").status() == "failed"


async def test_a_checkpoint_newer_than_the_code_is_left_alone(store_url: str) -> None:
    """SchemaTooNew says to deploy the newer code."""
    async with Runtime(store_url) as rt:
        await rt.run(doc(V2, "write"), V2(title="T"), id="x")
    async with Runtime(store_url) as rt:
        rt.register(doc(V1, "write"))
        with pytest.raises(SchemaTooNew, match="version 2"):
            await rt.get("x").result()
        with pytest.raises(Blocked) as caught:
            await rt.resume(doc(V1, "write", "more"), "x")

    assert isinstance(caught.value.__cause__, SchemaTooNew)


async def test_a_migration_that_hangs_is_left_behind(store_url: str) -> None:
    """Its time limit is the runtime's; the run is blocked here, not broken."""
    release = threading.Event()

    @migrate(from_=1, to=2)
    def hang(old: dict[str, object]) -> dict[str, object]:
        release.wait(30)
        return old

    await _seed(store_url)
    async with Runtime(store_url, migration_timeout=0.1) as rt:
        with pytest.raises(Blocked) as caught:
            await rt.resume(doc(V2, "write", "fail", migrations=[hang]), "x")
    release.set()

    assert isinstance(caught.value.__cause__, MigrationTimeout)


async def test_same_version_with_other_fields_is_drift(store_url: str) -> None:
    """Only an added field with a default just loads."""

    class Changed(State, version=1, name="Doc"):
        title: str
        pages: float = 0.0

    class Added(State, version=1, name="Doc"):
        title: str
        pages: int = 0
        note: str = "new"

    await _seed(store_url)
    async with Runtime(store_url) as rt:
        with pytest.raises(Blocked, match="'pages' was int, is float") as caught:
            await rt.resume(doc(Changed, "write", "fail"), "x")
        assert isinstance(caught.value.__cause__, SchemaDrift)

        resumed = await rt.resume(doc(Added, "write", "fail"), "x")
        assert await resumed.result() == Added(title="T", pages=3, note="new")


async def test_an_open_node_that_is_gone_blocks_unless_it_moved(store_url: str) -> None:
    """`moves` renames it, or ends its token."""
    await _seed(store_url)
    async with Runtime(store_url) as rt:
        with pytest.raises(Blocked, match="moves=") as caught:
            await rt.resume(doc(V1, "write", "renamed"), "x")
        assert isinstance(caught.value.__cause__, UnknownNode)

        resumed = await rt.resume(doc(V1, "write", "renamed", moves={"fail": "renamed"}), "x")
        assert await resumed.result() == V1(title="T", pages=3)


async def test_a_moved_away_node_ends_the_run(store_url: str) -> None:
    """`moves={"old": END}` drops the activation; nothing else was open."""
    await _seed(store_url)
    async with Runtime(store_url) as rt:
        resumed = await rt.resume(doc(V1, "write", moves={"fail": END}), "x")
        assert await resumed.result() == V1(title="T", pages=3)
        assert await resumed.status() == "finished"


async def test_orphans_of_registered_graphs_are_recovered(store_url: str) -> None:
    """`recover` takes up what a closed runtime released; one that is blocked does not stop the others."""
    hold = anyio.Event()

    def graph(name: str) -> Graph[Trail]:
        made = chain("a", name=name)

        @made.node(after="a")
        async def wait(state: Trail) -> Update:
            await hold.wait()
            return {"trace": ["waited"]}

        return made

    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving by an exception is what is tested
        async with Runtime(store_url) as rt:
            for run_id in ("one", "two"):
                await rt.spawn(graph("known"), Trail(), id=run_id)
            await rt.spawn(graph("unknown"), Trail(), id="other")
            while await rt.get("two").status() != "running" or (await rt.get("two").at()).seq < 1:
                await anyio.lowlevel.checkpoint()
            raise ZeroDivisionError
    hold.set()
    async with Runtime(store_url, graphs=[graph("known")], recover="never") as rt:  # no scan is quicker
        recovered = await rt.recover()
        assert sorted(run.id for run in recovered) == ["one", "two"]
        for run in recovered:
            assert (await run.result()).trace == ["a", "waited"]
        assert await rt.get("other").status() == "running"
        assert await rt.recover() == []


@pytest.mark.parametrize("reopened", [False, True])
def test_an_open_run_has_its_marker_wherever_its_opener_died(*, reopened: bool) -> None:
    """Before each call in turn: a commit that opens a run without a marker would never be recovered."""
    graph, seen = chain("a"), 0
    for nth in range(1, 100):
        bucket = Watched()
        store = WatchedStore(bucket)
        if reopened:
            whole(creating_run(store, graph, "x", _spawn(graph), {})).ownership.close()
            end_unowned(store, "x", "cancelled", None)
        bucket.die_at(nth)
        died = False
        try:
            if reopened:
                whole(claiming_run(store, graph, "x", Limits(migration_timeout=10, max_crashes=3), reopen=1))
            else:
                whole(creating_run(store, graph, "x", _spawn(graph), {}))
        except Died:
            died = True
        bucket.revive()
        tip = store.log("x").tip()
        if tip is not None and tip.header.status == "running":
            seen += 1
            assert ("x", tip.header.opening) in store.markers.active()
        store.close()
        if not died:  # it has come to its end: what opens a run may be the last call of all
            break
    assert seen > 0


def _spawn(graph: Graph[Trail]) -> Decision:
    return spawn(graph.plan, Trail(), run_id="x", life=1)


async def test_the_scan_takes_up_an_orphan_by_itself(store_url: str) -> None:
    """Nobody asks: the level-triggered scan finds the run and finishes it."""
    graph = chain("a", "b")
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving by an exception is what is tested
        async with Runtime(store_url) as rt:
            await rt.spawn(graph, Trail(), id="x")
            raise ZeroDivisionError
    async with Runtime(store_url, graphs=[graph], scan_every=0.01) as rt:
        with anyio.fail_after(20):
            assert (await rt.get("x").result()).trace == ["a", "b"]


async def test_what_waits_under_a_new_schema_is_released_in_that_schema(store_url: str) -> None:
    """Under `exit`, a release holds the records that were waiting: they are not mixed into the old schema."""
    await _seed(store_url, durability="exit")
    entered = anyio.Event()
    v2: Graph[V2] = Graph("doc", V2, migrations=[to_v2])

    @v2.node(name="write")
    async def write(state: V2) -> Update:
        raise AssertionError("must not run again")

    @v2.node(name="fail", after="write")
    async def mended(state: V2) -> Update:
        return {"risk": "low"}

    @v2.node(after="fail")
    async def wait(state: V2) -> Update:
        entered.set()
        await anyio.sleep_forever()
        return {}

    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving by an exception is what is tested
        async with Runtime(store_url) as rt:
            await rt.resume(v2, "x")
            await entered.wait()
            raise ZeroDivisionError
    async with Runtime(store_url, graphs=[v2]) as rt:
        assert await rt.get("x").state() == V2(title="T", pages=3, risk="low")
        assert (await rt.get("x").at()).version == 2
