"""A run that is deleted before it has ended leaves to others what it owes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from actorflow import Context, Down, Graph, Message, RestartPolicy, Runtime, State, Update, extend
from actorflow.engine.decide import decide
from actorflow.engine.events import Answering, Outgoing, Returned
from actorflow.engine.mail import Parcel
from actorflow.engine.records import Body, encode_body
from actorflow.engine.run import Form
from actorflow.errors import AskFailed, ChildFailed, RunDeleted, RunOwned
from actorflow.graph.schema import schema_of
from actorflow.runtime.claiming import Limits, claiming_run
from actorflow.runtime.deletion import delete_run
from actorflow.runtime.parting import take_leave
from actorflow.store.backend import whole
from actorflow.store.frames import Draft
from actorflow.store.keys import INBOX, encode_id
from actorflow.store.memory import MemoryBackend
from actorflow.store.store import open_store
from tests.runtime.correspondents import Work, ended, killed_everywhere, runtime, sleeper, until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.engine.records import Record, Status
    from actorflow.store.frames import Kind
    from actorflow.store.ownership import Ownership


class Log(State, version=1):
    """What was heard."""

    heard: Annotated[list[str], extend] = []


class Note(Message, version=1):
    """Note this."""

    text: str


_NOTE = schema_of(Note)


def watcher(*targets: str) -> Graph[Log]:
    """Monitors these, and notes what it hears; it goes on for ever."""
    graph = Graph("watcher", Log, lifetime="actor")

    @graph.node
    async def begin(state: Log, ctx: Context) -> None:
        for target in targets:
            ctx.monitor(target)

    @graph.on(Down)
    async def down(state: Log, msg: Down) -> Update:
        return {"heard": [f"{msg.run_id} {msg.status}{msg.error}"]}

    @graph.on(Note)
    async def note(state: Log, msg: Note) -> Update:
        return {"heard": [msg.text]}

    return graph


async def heard(rt: Runtime, run_id: str = "watch") -> list[str]:
    """What a run noted."""
    state: list[str] = (await rt.get(run_id).state()).heard
    return state


async def _is_watched(rt: Runtime, run_id: str, by: str = "watch") -> bool:
    _, run = await rt.load(run_id)
    return by in run.mail.watchers


async def _is(rt: Runtime, run_id: str, status: str) -> bool:
    tip = await rt.ask(lambda store: store.log(run_id).tip())
    return tip is not None and tip.header.status == status


async def test_who_monitors_a_run_that_is_deleted_hears_it_once_whoever_is_killed_when() -> None:
    """The deleter is killed at every write, and so is whoever has the watcher; nobody has the run.

    Planted: a deletion that tells nobody, and one that tells after the tombstone: the watcher waits for ever.
    """

    def graphs() -> list[Graph[Any]]:
        return [sleeper(), watcher("kid")]

    async def scene(rt: Runtime, its: Sequence[Graph[Any]]) -> None:
        if not await _is(rt, "kid", "deleted"):
            await rt.spawn(its[0], id="kid", on_conflict="attach")
        watch = await rt.spawn(its[1], id="watch", on_conflict="attach")
        if not await _is(rt, "kid", "deleted"):
            await until(lambda: _is_watched(rt, "kid"))
            await until(lambda: _sleeps(rt, "kid"))
        await until(lambda: _deleted(rt))
        await until(lambda: heard(rt))
        await watch.send(Note(text="last"), id="last")
        await until(lambda: _has_last(rt))
        assert await heard(rt) == ["kid deleted", "last"]

    assert await killed_everywhere(graphs, scene, every=2) > 10


async def _deleted(rt: Runtime) -> bool:
    """Whether the run is deleted now; not while this process lets go of it, or finishes what a dead deleter began."""
    try:
        await rt.delete("kid")
    except RunOwned:
        return False
    except RunDeleted:
        pass
    return True


async def _has_last(rt: Runtime) -> bool:
    return "last" in await heard(rt)


async def _sleeps(rt: Runtime, run_id: str) -> bool:
    tip = await rt.ask(lambda store: store.log(run_id).tip())
    return tip is not None and tip.header.kind == "release" and rt.life_of(run_id) is None


async def test_who_waits_for_its_result_or_its_reply_is_told(store_url: str) -> None:
    """As of a run that was cancelled."""
    target = Graph("target", Log, messages=[Note])

    @target.node
    async def wait(state: Log, ctx: Context) -> None:
        await ctx.interrupt("Which?")
        await ctx.receive(Note)

    waiter = Graph("waiter", Log)

    @waiter.node
    async def result(state: Log, ctx: Context) -> Update:
        try:
            await ctx.result("kid")
        except ChildFailed as error:
            return {"heard": [str(error)]}
        return {}

    asker = Graph("asker", Log)

    @asker.node
    async def ask(state: Log, ctx: Context) -> Update:
        try:
            await ctx.ask("kid", Note(text="?"))
        except AskFailed as error:
            return {"heard": [str(error)]}
        return {}

    async with runtime(store_url, [target, waiter, asker]) as rt:
        await rt.spawn(target, id="kid")
        one, two = await rt.spawn(waiter, id="waiter"), await rt.spawn(asker, id="asker")
        await until(lambda: _is_watched(rt, "kid", "waiter"))
        await until(rt.get("kid").mailbox)
        await until(lambda: _sleeps(rt, "kid"))
        await rt.delete("kid")

        (said,), (replied,) = (await one.result()).heard, (await two.result()).heard
    assert "deleted" in said
    assert "deleted" in replied


def _send_and_die(url: str, graph: Graph[Any]) -> None:
    """A process takes the run up, commits what its node sends to two others, and dies before they have it."""
    store = open_store(url)
    adopted = whole(claiming_run(store, graph, "mum", Limits(migration_timeout=1, max_crashes=9), reopen=None))
    answered = decide(graph.plan, adopted.run, Answering(True))
    node = next(one.id for one in answered.run.open.values() if one.node == "send")
    form = Form(_NOTE.name, _NOTE.version, _NOTE.table)
    sends = tuple(Outgoing("message", to, form, {"text": "sent"}) for to in ("listen", "nobody"))
    records = tuple(answered.records)
    returned = decide(graph.plan, answered.run, Returned(node, None, outgoing=sends))
    _commit(adopted.ownership, "commit", "running", (*records, *returned.records))
    store.close()


async def test_its_children_are_cancelled_and_what_it_sent_arrives(store_url: str) -> None:
    """Its process died after the commit, and before anybody had what it holds."""
    child, listener, parent = sleeper(), watcher(), Graph("parent", Log)

    @parent.node
    async def begin(state: Log, ctx: Context) -> None:
        await ctx.spawn(child, Work(), id="kid")

    @parent.node(after=begin)
    async def send(state: Log, ctx: Context) -> None:
        await ctx.interrupt("Now?")

    @parent.node(after=send)
    async def last(state: Log) -> None:
        pass

    async with runtime(store_url, [child, parent]) as rt:
        await rt.spawn(parent, id="mum")
        await until(lambda: _is(rt, "kid", "waiting"))
        await until(lambda: _sleeps(rt, "mum"))
        await rt.spawn(listener, id="listen")
        await until(lambda: _sleeps(rt, "listen"))
    _send_and_die(store_url, parent)

    async with Runtime(store_url, recover="never") as rt:
        await rt.delete("mum")
    async with runtime(store_url, [child, listener]) as rt:
        assert await ended(rt, "kid") == "cancelled"
        await until(lambda: heard(rt, "listen"))
        assert await heard(rt, "listen") == ["sent"]
        assert not await rt.ask(lambda store: store.inbox.letters("nobody"))


def _commit(ownership: Ownership, kind: Kind, status: Status, records: tuple[Record, ...]) -> None:
    """The last commit of a process that dies then."""
    header = ownership.header
    ownership.commit(
        Draft(
            kind=kind,
            epoch=header.epoch,
            status=status,
            opening=header.opening,
            crashes=header.crashes,
            file=ownership.file,
            body=encode_body(Body(records)),
        )
    )
    ownership.close()


def _end_and_die(url: str, graph: Graph[Any]) -> None:
    """A process takes the run up, commits that it has finished, and dies before anybody was told."""
    store = open_store(url)
    adopted = whole(claiming_run(store, graph, "kid", Limits(migration_timeout=1, max_crashes=9), reopen=None))
    answered = decide(graph.plan, adopted.run, Answering(3))
    (node,) = answered.run.open
    records = tuple(answered.records)
    returned = decide(graph.plan, answered.run, Returned(node, None))
    assert returned.run.status == "finished"
    _commit(adopted.ownership, "release", "finished", (*records, *returned.records))
    store.close()


async def test_what_a_run_had_not_said_when_it_ended_is_said_when_it_is_deleted(store_url: str) -> None:
    """Its process died in between, and nobody took it up again.

    Planted: a deletion that takes whatever has ended for one that has taken its leave: the watcher waits for ever.
    """
    kid, watch = sleeper(), watcher("kid")
    async with runtime(store_url, [kid]) as rt:
        await rt.spawn(kid, id="kid")
        await rt.spawn(watch, id="watch")
        await until(lambda: _is_watched(rt, "kid"))
        await until(lambda: _sleeps(rt, "kid"))
    _end_and_die(store_url, kid)

    async with Runtime(store_url, recover="never") as rt:
        await rt.delete("kid")
    async with runtime(store_url, [watch]) as rt:
        await until(lambda: heard(rt))
        assert await heard(rt) == ["kid finished"]


async def test_who_asked_a_run_that_failed_is_told_when_it_is_deleted(store_url: str) -> None:
    """It kept the question for when it would go on.

    Planted: as above: who asked waits for ever.
    """
    target = Graph("target", Log, messages=[Note])

    @target.node
    async def wait(state: Log, ctx: Context) -> None:
        if await ctx.interrupt("Which?"):
            raise ValueError("no")
        await ctx.receive(Note)

    asker = Graph("asker", Log)

    @asker.node
    async def ask(state: Log, ctx: Context) -> Update:
        try:
            await ctx.ask("kid", Note(text="?"))
        except AskFailed as error:
            return {"heard": [str(error)]}
        return {}

    async with Runtime(store_url, linger=0.0, restarts=RestartPolicy(max_restarts=0)) as rt:
        kid = await rt.spawn(target, id="kid")
        asks = await rt.spawn(asker, id="asker")
        await until(kid.mailbox)
        await kid.answer(True)
        assert await ended(rt, "kid") == "failed"
        await until(lambda: _deleted(rt))
        assert await ended(rt, "asker") == "finished"
        (said,) = (await asks.state()).heard
    assert "deleted" in said


class _Deleting(MemoryBackend):
    """Another process deletes a run as soon as a message for it is there."""

    run_id = ""

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Put, and let the other process do that."""
        done = super().put_new(key, data, durable=durable)
        if self.run_id and key.startswith(INBOX) and encode_id(self.run_id) in key:
            run_id, self.run_id = self.run_id, ""
            other = open_store(self)
            delete_run(other, run_id, by=None)
            other.close()
        return done


async def test_who_asks_a_run_just_when_it_is_deleted_is_told() -> None:
    """Its question was put there between two looks, and the tombstone passes it.

    Planted: taking what a tombstone passes for what the run had taken: who asks waits for ever.
    """
    asker, backend = Graph("asker", Log), _Deleting()

    @asker.node
    async def ask(state: Log, ctx: Context) -> Update:
        try:
            await ctx.ask("kid", Note(text="?"))
        except AskFailed as error:
            return {"heard": [str(error)]}
        return {}

    async with Runtime(backend, linger=0.0) as rt:
        await rt.spawn(sleeper(), id="kid")
    async with Runtime(backend, recover="never") as rt:
        backend.run_id = "kid"
        asks = await rt.spawn(asker, id="asker")
        assert await ended(rt, "asker") == "finished"
        assert len((await asks.state()).heard) == 1


async def test_an_answer_leaves_no_gap_before_it(store_url: str) -> None:
    """Who has ended does not want what was sent to it, but may go on some day, and then waits for the answer.

    Planted: leaving out what is not wanted: the answer is never taken.
    """
    async with runtime(store_url, []) as rt:
        over = await rt.spawn(sleeper(), id="over")
        await rt.spawn(sleeper(), id="kid")
        await over.cancel()
        await ended(rt, "over")
        _, run = await rt.load("kid")
        run.mail.outbox = [Parcel("over", 1, "cancel"), Parcel("over", 2, "reply", values=1, ask="q")]

        await rt.ask(lambda store: take_leave(store, run))

        letters = await rt.ask(lambda store: store.inbox.letters("over"))
        assert sorted(letter.number for letter in letters) == [1, 2]


async def test_a_run_that_had_ended_says_nothing_more(store_url: str) -> None:
    """It was told when it ended."""
    async with runtime(store_url, []) as rt:
        await rt.spawn(sleeper(), id="kid")
        watch = await rt.spawn(watcher("kid"), id="watch")
        await until(lambda: _is_watched(rt, "kid"))
        await rt.get("kid").cancel()
        await until(lambda: heard(rt))
        await rt.delete("kid")
        await watch.send(Note(text="last"))
        await until(lambda: _has_last(rt))
        assert await heard(rt) == ["kid cancelled", "last"]
        await watch.cancel()
