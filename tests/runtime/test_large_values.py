"""Large values: kept beside the log, whatever the state does with them, and never a wrong state instead."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import msgpack

from actorflow import END, Context, Graph, Runtime, Send, State, Update, append, extend, merge
from actorflow.engine.fold import begin
from actorflow.engine.operations import Dropped, Extended, Put, Reduced, Spliced
from actorflow.engine.operations import Merged as KeysPut
from actorflow.engine.records import Body, Finished, Open, Spawned, decode_body, encode_body
from actorflow.engine.snapshot import load
from actorflow.errors import BadUpdate, CorruptCheckpoint, RunFailed
from actorflow.runtime.large import BLOB_MIN, PIECE_MAX, Joiner, Splitter, referenced, references
from actorflow.runtime.replay import reading, replay
from actorflow.store.blobs import Blobs
from actorflow.store.keys import blob_epoch
from actorflow.store.memory import MemoryBackend
from actorflow.store.sealing import PLAIN
from actorflow.store.store import open_store
from tests.store.children import run as child

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.engine.records import Record
    from actorflow.engine.run import RunState
    from actorflow.store.store import Store

KIB = 1024
MIB = 1024 * KIB


class Book(State):
    """A state of every shape that may grow large."""

    n: int = 0
    cover: bytes = b""
    text: str = ""
    other: Any = None
    pages: Annotated[list[bytes], extend] = []
    notes: Annotated[list[str], append] = []
    index: Annotated[dict[str, bytes], merge] = {}


def random_text(size: int) -> str:
    """Text like no other."""
    return os.urandom(size // 2).hex()


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, store_url: str) -> str:
    """A store with the append log, and one with the object log."""
    return store_url if request.param == "local" else f"memory://{request.node.name}"


@pytest.fixture
def looked(url: str) -> Iterator[Store]:
    """The same store, opened once more, to look."""
    store = open_store(url)
    yield store
    store.close()


def book(*updates: dict[str, Any]) -> Graph[Book]:
    """A chain of nodes that make these updates."""
    graph = Graph("book", Book)
    before: str | None = None
    for number, update in enumerate(updates):

        async def write(state: Book, update: dict[str, Any] = update) -> Update:
            return {"n": state.n + 1, **update}

        before = f"w{number}"
        graph.node(_taking_state(write), name=before, after=None if number == 0 else f"w{number - 1}")
    return graph


def _taking_state(write: Any) -> Any:
    async def node(state: Book) -> Update:
        return await write(state)

    return node


# -- runs ---------------------------------------------------------------------------------


async def test_several_large_fields_go_into_one_commit(url: str, looked: Store) -> None:
    """Together more than a commit holds, in one update; whoever opens the store later reads them."""
    large = {name: os.urandom(24 * MIB) for name in ("cover", "other")} | {"pages": [os.urandom(24 * MIB)]}
    graph = book(large)

    async with Runtime(url) as rt:
        done = await rt.run(graph, Book(), id="x")
    async with Runtime(url) as rt:
        again = await rt.run(graph, Book(), id="x")

    assert done == again == Book(n=1, **large)
    assert [frame.header.seq for frame in looked.log("x").read()] == [0, 1]
    assert len(looked.blobs("x").names()) == 3


async def test_every_shape_comes_back(url: str, looked: Store) -> None:
    """As a whole, by elements, by pieces of many small ones; in the state as in history."""
    updates: list[dict[str, Any]] = [
        {"cover": os.urandom(MIB), "text": random_text(MIB)},
        {"pages": [b"small", os.urandom(300 * KIB), b"", os.urandom(300 * KIB)], "notes": random_text(MIB)},
        {"pages": [os.urandom(KIB) for _ in range(600)], "index": {str(n): os.urandom(KIB) for n in range(600)}},
        {"index": {"7": os.urandom(MIB), "x": b"small"}, "notes": "small"},
        {"other": {"deep": [[random_text(MIB)], {"er": 1}]}, "cover": b""},
        {"other": [random_text(10), {"a": random_text(MIB)}], "text": random_text(MIB)},
    ]
    graph = book(*updates)

    async with Runtime(url) as rt:
        done = await rt.run(graph, Book(), id="x")
        assert await rt.verify() == []
    async with Runtime(url) as rt:
        rt.register(graph)
        run = rt.get("x")
        states = {one.node: one.state async for one in run.views() if one.kind == "finished"}
        assert await run.state() == done

    so_far = Book()
    for number, update in enumerate(updates):
        so_far = Book(
            n=number + 1,
            cover=update.get("cover", so_far.cover),
            text=update.get("text", so_far.text),
            other=update.get("other", so_far.other),
            pages=so_far.pages + update.get("pages", []),
            notes=so_far.notes + [update[key] for key in ("notes",) if key in update],
            index=so_far.index | update.get("index", {}),
        )
        assert states[f"w{number}"] == so_far
    assert done == so_far
    assert all(frame.size < BLOB_MIN for frame in looked.log("x").read(first=0))


async def test_a_large_input_is_kept_like_any_value(url: str, looked: Store) -> None:
    """Before the claim that begins the run, and compared when it is asked for again."""
    given = Book(cover=os.urandom(MIB), pages=[os.urandom(MIB)])

    async with Runtime(url) as rt:
        await rt.run(book({"text": "short"}), given, id="x")
    async with Runtime(url) as rt:
        again = await rt.run(book({"text": "short"}), given, id="x")

    assert again.pages == given.pages
    assert len(looked.blobs("x").names()) == 2
    assert looked.log("x").read(first=0)[0].size < KIB * 8


async def test_a_snapshot_writes_no_value_again_that_did_not_change(url: str, looked: Store) -> None:
    """It refers to the blob that is there, of this epoch or an earlier one."""
    graph = Graph("grow", Book)

    @graph.node(entry=True)
    async def grow(state: Book) -> Update:
        return {"n": state.n + 1, "text": random_text(200 * KIB)}

    graph.branch(lambda state: "grow" if state.n < 40 else END, after=grow, to=("grow", END))
    async with Runtime(url) as rt:
        await rt.run(graph, Book(cover=os.urandom(MIB)), id="x")

    newest = looked.log("x").read()[0]
    assert newest.header.seq == newest.header.snapshot > 0
    assert len(looked.blobs("x").names()) == 1
    assert set(references(newest.body)) == set(looked.blobs("x").names())


async def test_what_a_restart_loaded_is_referred_to(url: str, looked: Store) -> None:
    """A later owner, whose commits are of another epoch, puts only what is new."""
    calls: list[int] = []
    graph = Graph("twice", Book)

    @graph.node
    async def first(state: Book) -> Update:
        return {"cover": os.urandom(MIB)}

    @graph.node(after=first)
    async def second(state: Book) -> Update:
        calls.append(1)
        if len(calls) == 1:
            return {"nothing": "of the kind"}
        return {"other": state.cover, "text": random_text(MIB)}

    async with Runtime(url) as rt:
        with pytest.raises(RunFailed):
            await rt.run(graph, Book(), id="x")
        done = await (await rt.resume(graph, "x")).result()

    assert done.other == done.cover
    assert sorted(blob_epoch(name) for name in looked.blobs("x").names()) == [1, 2]  # type: ignore[type-var]


async def test_reading_back_takes_a_few_times_the_state(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that is overwritten again and again is not read again and again: snapshots count what they refer to."""
    graph = Graph("over", Book)

    @graph.node(entry=True)
    async def over(state: Book) -> Update:
        return {"n": state.n + 1, "cover": os.urandom(MIB)}

    graph.branch(lambda state: "over" if state.n < 30 else END, after=over, to=("over", END))
    async with Runtime(store_url) as rt:
        await rt.run(graph, Book(), id="x")
    read: list[str] = []
    original = Blobs._get
    monkeypatch.setattr(Blobs, "_get", lambda self, ref: read.append(ref.name) or original(self, ref))

    async with Runtime(store_url) as rt:
        rt.register(graph)
        await rt.get("x").state()

    assert 1 <= len(read) <= 6


@pytest.mark.parametrize("how", ["missing", "damaged"])
async def test_a_lost_blob_is_damage_to_the_run(url: str, looked: Store, how: str) -> None:
    """Named, by whoever reads, and nothing is written after it (guarantee 7)."""
    graph, grown = book({"cover": os.urandom(MIB)}), book({}, {"text": "short"})
    async with Runtime(url) as rt:
        await rt.run(graph, Book(), id="x")
    (name,) = looked.blobs("x").names()
    key = looked.blobs("x").path(name)
    data = looked.backend.get(key)
    looked.backend.delete([key])
    if how == "damaged":
        looked.backend.put_new(key, data[:-1] + bytes([data[-1] ^ 1]))
    before = looked.backend.list("runs/")

    async with Runtime(url) as rt:
        rt.register(grown)
        for attempt in (rt.get("x").state, rt.get("x").at, lambda: rt.resume(grown, "x")):
            with pytest.raises(CorruptCheckpoint, match=f"{name}.*{how}"):
                await attempt()

    assert looked.backend.list("runs/") == before


async def test_an_extension_that_is_ours_is_refused(store_url: str) -> None:
    """It would be taken for a reference when it is read back; every other one is the user's."""
    async with Runtime(store_url) as rt:
        with pytest.raises(BadUpdate, match="extensions 1 and 2 are actorflow's own"):
            await rt.spawn(book({}), Book(other=[{"deep": msgpack.Ext(2, bytes(56))}]), id="x")
        done = await rt.run(book({}), Book(other=[msgpack.Ext(3, bytes(56))]), id="y")

    assert (done.other[0].code, done.other[0].data) == (3, bytes(56))


async def test_a_run_read_while_its_owner_sweeps_is_read_again(url: str, looked: Store) -> None:
    """A blob that is gone since the frames were listed is no damage, if the frames are gone, too."""
    async with Runtime(url) as rt:
        await rt.run(book({"cover": os.urandom(MIB)}), Book(), id="x")
    log = looked.log("x")
    stale = log.read()[:-1]
    reads = [stale]

    class Overtaken:
        """The log as a reader saw it that was then overtaken."""

        def read(self, *, first: int | None = None, tip: Any = None) -> Any:
            return reads.pop() if reads else log.read(first=first)

    def make(frames: Any) -> int:
        if len(frames) == len(stale):
            raise CorruptCheckpoint("blob", "missing")
        return len(frames)

    frames, made = reading(Overtaken(), make)  # type: ignore[arg-type]

    assert made == len(frames) == len(stale) + 1


# -- parting and joining ------------------------------------------------------------------


def splitter(backend: MemoryBackend, *, epoch: int = 1, known: Any = None) -> Splitter:
    """A splitter of run r over that backend."""
    return Splitter(blobs_of(backend), epoch=epoch, known=known or {})


def blobs_of(backend: MemoryBackend) -> Blobs:
    """The blobs of run r."""
    return Blobs(backend, "r", run_id="r", store=bytes(16), sealing=PLAIN)


def there_and_back(records: list[Record], split: Splitter, backend: MemoryBackend) -> tuple[Record, ...]:
    """The records as they are read that were committed."""
    short, blobs = split.records(records)
    split.blobs.put(blobs)
    body = encode_body(Body(tuple(short)))
    joiner = Joiner(blobs_of(backend))
    joiner.fetch(references(body).values())
    return joiner.records(decode_body(body).records)


SIZES = st.sampled_from([0, 10, 100 * KIB, BLOB_MIN - 6, BLOB_MIN - 5, BLOB_MIN, PIECE_MAX])
VALUES = SIZES.map(bytes)
LISTS = st.lists(VALUES, max_size=6)
DICTS = st.dictionaries(st.integers(0, 9), VALUES, max_size=6)
OPERATIONS = st.one_of(
    st.builds(Put, st.just("f"), VALUES | LISTS | DICTS),
    st.builds(Reduced, st.just("f"), VALUES | LISTS | DICTS),
    st.builds(Extended, st.just("f"), LISTS),
    st.builds(Spliced, st.just("f"), st.just(0), st.just(1), LISTS),
    st.builds(KeysPut, st.just("f"), DICTS),
    st.builds(Dropped, st.just("f"), st.dictionaries(st.integers(0, 9), st.none())),
)


@settings(max_examples=60)
@given(st.lists(OPERATIONS, max_size=3))
def test_records_come_back_as_they_were(operations: list[Any]) -> None:
    """Whatever is parted from them."""
    backend = MemoryBackend()
    records: list[Record] = [Finished(1, tuple(operations))]

    assert there_and_back(records, splitter(backend), backend) == tuple(records)


def test_what_was_parted_may_be_parted_again() -> None:
    """Records that did not fit into a commit wait for the next: what they refer to stays, and is put once."""
    backend = MemoryBackend()
    split = splitter(backend)
    pages = [bytes([n]) * (200 * KIB) for n in range(100)]
    records: list[Record] = [Finished(1, (Extended("f", [*pages, bytes(MIB)]), Put("g", bytes(MIB))))]
    short, blobs = split.records(records)
    split.blobs.put(blobs)

    assert there_and_back(short, split, backend) == tuple(records)
    assert len(backend.list("")) == len(blobs) == 4  # three pieces of small pages, and what is there twice


def test_a_list_that_grows_leaves_full_pieces_as_they_are() -> None:
    """Snapshot after snapshot writes only the last piece anew."""
    backend = MemoryBackend()
    split = splitter(backend)
    run = a_run({"pages": []})
    put: list[int] = []
    for _ in range(10):
        values = run.root.values
        run.root.values = {"pages": [*values["pages"], *(os.urandom(64 * KIB) for _ in range(64))]}
        snapshot = split.dump(run)
        split.sealed(snapshot)
        split.blobs.put(snapshot.blobs)
        put.append(sum(blob.ref.size for blob in snapshot.blobs))

    assert max(put) < 2 * PIECE_MAX
    assert snapshot.weight > 39 * MIB
    assert loaded(snapshot.data, backend).root.values == run.root.values


def test_a_snapshot_that_is_not_committed_puts_nothing() -> None:
    """Nor does anything refer later to what it would have put."""
    split = splitter(MemoryBackend())
    run = a_run({"cover": bytes(MIB)})

    first, second = split.dump(run), split.dump(run)
    split.sealed(second)
    third = split.dump(run)

    assert set(references(body_of(first.data))) != set(references(body_of(second.data)))
    assert third.data == second.data
    assert third.blobs == ()


def test_what_a_snapshot_left_behind_is_not_referred_to_again() -> None:
    """It may have been swept by then. Planted: with all that it ever put still known, the swept one is referred to."""
    for planted in (False, True):
        backend = MemoryBackend()
        split = splitter(backend)
        backend_blobs = blobs_of(backend)
        old, new = bytes(MIB), bytes(MIB + 1)
        there_and_back([Finished(1, (Put("cover", old),))], split, backend)
        there_and_back([Finished(2, (Put("cover", new),))], split, backend)
        before = dict(split._known)
        snapshot = split.dump(a_run({"cover": new}))
        split.sealed(snapshot)
        if planted:
            split._known |= before
        body = body_of(snapshot.data)
        backend_blobs.sweep(set(references(body)), epoch=1)
        records: list[Record] = [Finished(3, (Put("cover", old),))]
        if planted:
            with pytest.raises(CorruptCheckpoint, match="missing"):
                there_and_back(records, split, backend)
        else:
            assert there_and_back(records, split, backend) == tuple(records)


def test_equal_lists_do_not_grow_into_each_other() -> None:
    """Two fields with the same large value are two values once they are read back."""
    backend = MemoryBackend()
    split = splitter(backend)
    pages = [os.urandom(KIB) for _ in range(600)]
    run = a_run({"a": pages, "b": list(pages)})
    snapshot = split.dump(run)
    split.blobs.put(snapshot.blobs)

    values = loaded(snapshot.data, backend).root.values
    values["a"].append(b"more")

    assert values["b"] == pages
    assert len(snapshot.blobs) == 1


def a_run(values: dict[str, Any]) -> RunState:
    """A run with these values."""
    return begin(Spawned("r", 1, "g", b"", "sync", b"", values, (Open("first", b"key"),)))


def body_of(snapshot: bytes) -> bytes:
    """A frame's body that begins with the snapshot."""
    return encode_body(Body((), snapshot))


def loaded(snapshot: bytes, backend: MemoryBackend) -> RunState:
    """The run of a snapshot."""
    joiner = Joiner(blobs_of(backend))
    joiner.fetch(references(body_of(snapshot)).values())
    return load(snapshot, restore=joiner.value)


def test_two_who_hope_for_the_same_epoch_share_no_name() -> None:
    """What the one who lost has put is swept by the other, which may then put the same value itself."""
    backend = MemoryBackend()
    one, other = splitter(backend), splitter(backend)
    records: list[Record] = [Finished(1, (Put("cover", bytes(MIB)),))]

    there_and_back(records, one, backend)
    there_and_back(records, other, backend)

    assert len(backend.list("")) == 2


def test_a_fork_refers_to_its_copies() -> None:
    """Its first commit writes no value again, and sweeping the original does it no harm.

    Planted: with the references of the original the fork can't be read.
    """
    backend = MemoryBackend()
    split = splitter(backend)
    snapshot = split.dump(a_run({"cover": bytes(MIB), "pages": [os.urandom(MIB)]}))
    split.blobs.put(snapshot.blobs)
    joiner = Joiner(split.blobs)
    joiner.fetch(references(body_of(snapshot.data)).values())
    run = load(snapshot.data, restore=joiner.value)
    fork = Blobs(backend, "fork", run_id="fork", store=bytes(16), sealing=PLAIN)

    copied = fork.copy(joiner.known.values(), split.blobs, epoch=1)
    known = {digest: copied[ref.name] for digest, ref in joiner.known.items()}
    first = Splitter(fork, epoch=1, known=known).dump(run)
    split.blobs.sweep((), epoch=1)

    assert first.blobs == ()
    theirs = Joiner(fork)
    theirs.fetch(references(body_of(first.data)).values())
    assert load(first.data, restore=theirs.value).root.values == run.root.values
    with pytest.raises(CorruptCheckpoint, match="missing"):
        Joiner(fork).fetch(references(body_of(snapshot.data)).values())


# -- kills --------------------------------------------------------------------------------

CHILD = """
import actorflow
import anyio
from actorflow import Graph, Runtime, State

class Book(State):
    n: int = 0
    cover: bytes = b""

graph = Graph("covers", Book)

@graph.node(entry=True)
async def draw(state: Book):
    return {"n": state.n + 1, "cover": bytes([state.n]) * (1 << 20)}

graph.branch(lambda state: "draw" if state.n < 5 else actorflow.END, after=draw, to=("draw", actorflow.END))

async def main():
    async with Runtime(url) as rt:
        state = await rt.run(graph, Book(), id="x")
        say(state.n, state.cover[0], len(state.cover))

anyio.run(main)
"""


# -- fan-outs, graphs inside, questions -----------------------------------------------------


class Chapter(State):
    """The state of a graph inside, whose pages are handed up."""

    name: str = ""
    pages: Annotated[list[bytes], extend] = []


def shelf(sizes: list[int]) -> Graph[Book]:
    """Large results of items, large inputs that are sent, large values inside, and a large answer."""
    chapter = Graph("chapter", Chapter)

    @chapter.node
    async def write(state: Chapter) -> Update:
        return {"pages": [bytes([len(state.name) % 256]) * (600 * KIB), b"small"]}

    graph = Graph("shelf", Book)

    async def page(size: int) -> bytes:
        return bytes([size % 256]) * size

    pages = graph.map(page, over=lambda state: sizes, into="pages", limit=2)
    inside = graph.subgraph(chapter, after=pages, enter={"name": "text"}, leave=["pages"])

    @graph.node(after=inside, send="note")
    async def hand_out(state: Book) -> list[Send]:
        return [Send("note", "a" * (400 * KIB)), Send("note", "b")]

    @graph.node(takes=str)
    async def note(text: str) -> Update:
        return {"notes": text}

    @graph.node(after="note")
    async def ask(state: Book, ctx: Context) -> Update:
        return {"other": await ctx.interrupt("what else?")}

    return graph


async def test_large_values_of_items_of_graphs_inside_and_of_answers_are_kept_beside(url: str, looked: Store) -> None:
    """Results, what was sent, what was handed up and what somebody answered: none of it makes a commit large."""
    sizes = [300 * KIB, 10, 500 * KIB, 700 * KIB]
    graph = shelf(sizes)
    answer = random_text(MIB)

    async with Runtime(url) as rt:
        run = await rt.spawn(graph, Book(), id="x")
        assert await run.wait() == "waiting"
    async with Runtime(url, graphs=[graph]) as rt:
        run = rt.get("x")
        await run.answer(answer)
        done = await run.result()
        assert await rt.verify() == []
    async with Runtime(url, graphs=[graph]) as rt:
        assert await rt.get("x").state() == done

    assert [len(page) for page in done.pages] == [*sizes, 600 * KIB, 5]
    assert [len(text) for text in done.notes] == [400 * KIB, 1]
    assert done.other == answer
    assert max(len(frame.body) for frame in looked.log("x").read(first=0)) < BLOB_MIN


@pytest.mark.parametrize(
    "point", ["blobs.before_put:3", "put.before_link:4", "blobs.after_put:3", "append.after_write:5"]
)
def test_a_kill_between_blob_and_commit_leaves_only_what_a_sweep_takes(store_url: str, point: str) -> None:
    """The run goes on from its last commit; what the dead one put beside it is a stray, and nobody misses it."""
    status, lines = child(CHILD, store_url, ACTORFLOW_CRASH=point)
    assert (status, lines) == (-signal.SIGKILL, [])

    store = open_store(store_url)
    log, blobs = store.log("x"), store.blobs("x")
    frames = log.read(first=0)
    replay(frames, Joiner(blobs))  # whatever is committed is whole
    strays = set(blobs.names()) - referenced(frames)
    assert len(strays) <= 1
    store.close()
    assert child(CHILD, store_url) == (0, [f"5 4 {MIB}"])

    store = open_store(store_url)
    keep = referenced(store.log("x").read(first=0))
    gone = store.blobs("x").sweep(keep, epoch=2)
    assert strays <= set(gone)
    assert set(store.blobs("x").names()) == keep
    assert replay(store.log("x").read(first=0), Joiner(store.blobs("x"))).root.values["n"] == 5
    store.close()


def test_a_commit_before_its_blob_is_what_the_kill_finds(store_url: str) -> None:
    """Planted: with the order turned round, the same kill leaves a commit that nobody can read."""
    planted = """
from actorflow.runtime.writer import Writer
carry = Writer._carry
async def turned(self, run, sealed):
    await carry(self, run, sealed._replace(blobs=()))
    self.large.blobs.put(sealed.blobs)
Writer._carry = turned
"""
    status, _ = child(planted + CHILD, store_url, ACTORFLOW_CRASH="blobs.before_put:3")
    assert status == -signal.SIGKILL

    store = open_store(store_url)
    with pytest.raises(CorruptCheckpoint, match="missing"):
        replay(store.log("x").read(first=0), Joiner(store.blobs("x")))
    store.close()
