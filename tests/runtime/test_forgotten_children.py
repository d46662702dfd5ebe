"""Children that ended are forgotten by their parents, and yet nothing of them counts twice, or is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from actorflow import Context, Down, Graph, Message, RestartPolicy, Runtime, State, Update, extend
from actorflow.store.memory import MemoryBackend
from tests.runtime.correspondents import Work, ended, killed_everywhere, runtime, until, worker

if TYPE_CHECKING:
    from collections.abc import Sequence


class Log(State, version=1):
    """What a parent has heard."""

    heard: Annotated[list[str], extend] = []


class Begin(Message, version=1):
    """Begin a child of this id."""

    child: str
    n: int = 1


class Note(Message, version=1):
    """Note this."""

    text: str


class Watch(Message, version=1):
    """Monitor this run."""

    run: str


def boss(child: Graph[Work]) -> Graph[Log]:
    """An actor that begins children, and hears of their ends."""
    graph = Graph("boss", Log, lifetime="actor")

    @graph.on(Begin)
    async def begin(state: Log, msg: Begin, ctx: Context) -> None:
        await ctx.spawn(child, Work(n=msg.n), id=msg.child, monitor=True)

    @graph.on(Down)
    async def down(state: Log, msg: Down) -> Update:
        return {"heard": [f"{msg.run_id} {msg.status}"]}

    @graph.on(Note)
    async def note(state: Log, msg: Note) -> Update:
        return {"heard": [msg.text]}

    @graph.on(Watch)
    async def watch(state: Log, msg: Watch, ctx: Context) -> None:
        ctx.monitor(msg.run)

    return graph


def awaiting(child: Graph[Work]) -> Graph[Log]:
    """A run that waits in one node for a child that another began, and for one of its own."""
    graph = Graph("awaiting", Log)

    @graph.node
    async def begin(state: Log, ctx: Context) -> None:
        await ctx.spawn(child, Work(n=1), id="early")

    @graph.node(after=begin)
    async def wait(state: Log, ctx: Context) -> Update:
        own = await ctx.spawn(child, Work(n=2))
        return {"heard": [f"{(await ctx.result(one, Work)).n}" for one in (own, "early")]}

    @graph.node(after=wait)
    async def ask_again(state: Log, ctx: Context) -> Update:
        return {"heard": [f"{(await ctx.result('early', Work)).n}"]}

    return graph


async def test_children_are_forgotten_whoever_is_killed_when() -> None:
    """Each was begun once, and its end was told once; nothing is kept of any."""
    calls: list[int] = []

    def graphs() -> list[Graph[Any]]:
        calls.clear()
        child = worker(calls)
        return [boss(child), child]

    async def scene(rt: Runtime, its: Sequence[Graph[Any]]) -> None:
        run = await rt.spawn(its[0], id="boss", on_conflict="attach")
        for child in ("one", "two"):
            await run.send(Begin(child=child), id=child)
            await until(lambda child=child: _heard(rt, f"{child} finished"))
        await until(lambda: _nothing_kept(rt))
        assert (await run.state()).heard == ["one finished", "two finished"]

    assert await killed_everywhere(graphs, scene, every=2) > 10


async def _heard(rt: Runtime, text: str) -> bool:
    return text in (await rt.get("boss").state()).heard


async def _nothing_kept(rt: Runtime) -> bool:
    _, run = await rt.load("boss")
    mail = run.mail
    return not (mail.children or mail.lanes or mail.marks or mail.over or mail.outbox)


async def test_results_are_had_of_children_that_are_forgotten_whoever_is_killed_when() -> None:
    """By the node that began it, by another one, and by one that asks when nothing is kept of it any more.

    Planted: lanes that begin with 1 again (`next_number`): the last one waits for ever.
    """

    def graphs() -> list[Graph[Any]]:
        child = worker()
        return [awaiting(child), child]

    async def scene(rt: Runtime, its: Sequence[Graph[Any]]) -> None:
        await rt.spawn(its[0], id="mum", on_conflict="attach")
        assert await ended(rt, "mum") == "finished"
        assert (await rt.get("mum").state()).heard == ["4", "2", "2"]
        _, run = await rt.load("mum")
        assert run.mail.children == {}
        assert len(await rt.runs(graph="worker")) == 2

    assert await killed_everywhere(graphs, scene, every=2) > 10


async def test_a_forgotten_child_that_goes_on_is_heard_again(store_url: str) -> None:
    """It failed, its parent heard that and forgot it. What it sends when it is resumed comes; word of its end is over.

    Planted: a sender whose lane goes on behind word of its end: its number 2 waits for a number 1 for ever.
    """
    child, fails = Graph("worker", Work), [True]

    @child.node
    async def work(state: Work, ctx: Context) -> Update:
        if fails:
            raise ValueError("not yet")
        await ctx.send("boss", Note(text="it works"))
        return {"n": 1}

    async with Runtime(store_url, graphs=[child], restarts=RestartPolicy(max_restarts=0)) as rt:
        run = await rt.spawn(boss(child), id="boss")
        await run.send(Begin(child="kid"))
        await until(lambda: _heard(rt, "kid failed"))
        await until(lambda: _nothing_kept(rt))

        fails.clear()
        await (await rt.resume(child, "kid")).result()
        await until(lambda: _heard(rt, "it works"))
        await run.send(Note(text="last"))
        await until(lambda: _heard(rt, "last"))

        assert (await run.state()).heard == ["kid failed", "it works", "last"]
        await run.cancel()


async def test_what_is_sent_to_a_forgotten_child_arrives(store_url: str) -> None:
    """It has taken lower numbers of its parent before, which are not those of what is sent now."""
    child: Graph[Log] = Graph("listener", Log, lifetime="actor")

    @child.on(Note)
    async def note(state: Log, msg: Note) -> Update:
        return {"heard": [msg.text]}

    parent = Graph("parent", Log, messages=[Down, Note])

    @parent.node
    async def begin(state: Log, ctx: Context) -> None:
        await ctx.spawn(child, Log(), id="kid", monitor=True)

    @parent.node(after=begin)
    async def hear(state: Log, ctx: Context) -> Update:
        return {"heard": [(await ctx.receive(Down)).status]}

    @parent.node(after=hear)
    async def send(state: Log, ctx: Context) -> None:
        await ctx.receive(Note)
        await ctx.send("kid", Note(text="again"))

    async with runtime(store_url, [child]) as rt:
        run = await rt.spawn(parent, id="mum")
        await until(lambda: _exists(rt))
        await rt.get("kid").cancel()
        await until(lambda: _forgot(rt))
        await rt.get("kid").input({})  # it lives again
        await run.send(Note(text="now"))
        await run.result()
        await until(lambda: _got(rt))
        await rt.get("kid").cancel()


async def _exists(rt: Runtime) -> bool:
    return await rt.ask(lambda store: store.log("kid").tip()) is not None


async def _forgot(rt: Runtime) -> bool:
    _, run = await rt.load("mum")
    return not run.mail.children and run.mail.forgotten > 0


async def _got(rt: Runtime) -> bool:
    return (await rt.get("kid").state()).heard == ["again"]


async def test_a_later_generation_does_not_overtake_word_of_an_end_that_waits_in_the_inbox() -> None:
    """The run failed elsewhere and went on; here it sends again, before its watcher has looked into its inbox.

    Planted: handing it to the actor at once: the older word would be a dead letter.
    """
    other, fails, backend = Graph("other", Work), [True], MemoryBackend()

    @other.node
    async def work(state: Work, ctx: Context) -> None:
        await ctx.interrupt("Begin?")
        if fails:
            raise ValueError("not yet")

    @other.node(after=work)
    async def send(state: Work, ctx: Context) -> None:
        await ctx.interrupt("Now?")
        await ctx.send("boss", Note(text="it works"))

    async with Runtime(backend, recover="never", linger=60.0, poll=(3.0, 3.0)) as here:
        elsewhere = Runtime(backend, recover="never", linger=0.0, restarts=RestartPolicy(max_restarts=0))
        async with elsewhere:
            kid = await elsewhere.spawn(other, Work(), id="kid")
            await kid.wait()
            run = await here.spawn(boss(other), id="boss")
            await run.send(Watch(run="kid"))
            await until(lambda: elsewhere.ask(lambda store: store.inbox.letters("kid")))
            await kid.update({})
            await until(lambda: _is_watched(elsewhere))
            await kid.answer(True)
            assert await ended(elsewhere, "kid") == "failed"
            fails.clear()
            await (await elsewhere.resume(other, "kid")).wait()
            await until(lambda: _is_carried(elsewhere))

        here.register(other)
        await here.get("kid").answer(True)
        await until(lambda: _heard(here, "it works"))

        assert (await run.state()).heard == ["kid failed", "it works"]
        await run.cancel()


async def _is_watched(rt: Runtime) -> bool:
    _, kid = await rt.load("kid")
    return "boss" in kid.mail.watchers


async def _is_carried(rt: Runtime) -> bool:
    _, kid = await rt.load("kid")
    return not kid.mail.outbox
