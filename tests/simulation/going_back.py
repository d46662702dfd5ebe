"""Runs that have mail go back, and are copied, while processes die; what is sent must add up over all that ever was."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import trio
from msgspec import Struct, field

from actorflow.engine.mail import Parcel, lane_of
from actorflow.engine.operations import thaw
from actorflow.engine.records import Forked, Received, Rewound
from actorflow.engine.run import RunState
from actorflow.errors import ActorflowError, RunExists, StoreError
from actorflow.runtime.replay import steps
from actorflow.store.keys import encode_id
from tests.simulation.correspondence import PATIENCE, asks_again, sends, sends_the_rest
from tests.simulation.ledger import AGENT, LEDGER, graphs
from tests.simulation.told import history
from tests.simulation.world import LEASE, SCAN, World, here

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorflow import Runtime
    from actorflow.store.frames import Frame
    from tests.simulation.correspondence import Sent

Lane = tuple[str, int, int]
"""The sender as others name it, its generation, and a number."""

COPY = "copy"
"""How the ids of copies begin."""

A_LITTLE = 0.3
"""Virtual seconds in which what was sent begins to be handled; no reply comes from elsewhere in them."""

TRIES = 8
"""How often somebody tries to take a run back, which others may have."""


class Biography(Struct):
    """All that ever happened to a run, also what it went back from."""

    run: RunState
    added: Counter[str] = field(default_factory=Counter[str])  # "list: element", each time that one was put there
    taken: Counter[Lane] = field(default_factory=Counter[Lane])
    sent: dict[tuple[str, int], list[Parcel]] = field(default_factory=dict[tuple[str, int], list[Parcel]])
    went_back: int = 0  # how often it went back


def biography(frames: list[Frame]) -> Biography:
    """Of the run whose history this is, from its first commit on."""
    life: Biography | None = None
    before: dict[str, list[Any]] = {}
    for _, run, step in steps(frames):
        record, lists = step.record, {name: thaw(value) for name, value in run.root.values.items()}
        lists = {name: value for name, value in lists.items() if isinstance(value, list)}
        if life is None:
            life, before = Biography(run), lists
        life.run = run
        if isinstance(record, Rewound | Forked):
            life.went_back += 1
        else:
            life.added.update(f"{name}: {one}" for name, now in lists.items() for one in now[len(before[name]) :])
        if isinstance(record, Received) and record.lane is not None:
            life.taken[record.lane] += 1
        for parcel in run.mail.outbox:
            contents = life.sent.setdefault((parcel.target, parcel.number), [])
            if parcel not in contents and (parcel.kind != "reply" or parcel.ask is not None):  # else it only fills
                contents.append(parcel)
        before = lists
    assert life is not None
    return life


def biographies(world: World) -> dict[str, Biography]:
    """Of all runs of a world."""
    store = world.open()
    names = sorted({one.run_id for one in world.told.acknowledged})
    return {name: biography(history(store, world.bucket, name, store.log(name).read()[-1])) for name in names}


def wrong_lanes(lives: dict[str, Biography]) -> list[str]:
    """What is wrong with what runs sent each other: a number is one thing for ever, and is taken once."""
    found: list[str] = []
    there: dict[str, set[Lane]] = {}
    for name, life in lives.items():
        for (target, number), contents in life.sent.items():
            lane = (encode_id(name), *lane_of(life.run.life, number))
            there.setdefault(target, set()).add(lane)
            found += [f"{name} sent {target} as {number}: {contents}"] if len(contents) > 1 else []
            kept = any(parcel.kind in ("message", "reply") for parcel in contents)
            if kept and target in lives and not lives[target].run.ended and not lives[target].taken[lane]:
                found.append(f"{target} never took {lane}")
        asked = Counter(
            (one.target, one.ask) for parcels in life.sent.values() for one in parcels if one.kind == "reply"
        )
        found += [f"{name} replied {times} times to {one}" for one, times in asked.items() if times > 1]
        if name.startswith(COPY):  # nobody sends it anything; it may end the turn that its original was in
            found += [f"{name} replied to {one}" for one in asked]
            found += [f"{name} handled {life.run.mail.handled} messages"] if life.run.mail.handled > 1 else []
    for name, life in lives.items():
        found += [f"{name} took {lane} {times} times" for lane, times in life.taken.items() if times > 1]
        found += [f"{name} took {lane}, and nobody sent it that" for lane in life.taken.keys() - there.get(name, set())]
        found += [f"{name} has not sent {one}" for one in life.run.mail.outbox if not life.run.ended]
        found += [f"{name} has not handled {one}" for one in life.run.mail.queue.values() if not life.run.ended]
        found += [f"{name} has set aside {dead}" for dead in life.run.mail.dead]
    return found


def wrong_history(world: World) -> list[str]:
    """What is wrong with all that ever was of the runs in the bucket, as they are just now."""
    try:
        lives = biographies(world)
    except (StoreError, IndexError) as error:
        return [f"they can't be read: {error!r}"]
    if not {LEDGER, AGENT} <= lives.keys():
        return ["they are not there"]
    heard, ledger = world.heard, lives[LEDGER].added
    expected = Counter(f"entries: {one}" for one in heard.kept if one.startswith("entry"))
    for life in lives.values():
        letters = [one for parcels in life.sent.values() for one in parcels if one.kind == "message"]
        expected.update(f"entries: {one.values['label']}" for one in letters if one.target == LEDGER)
    for label in heard.kept:
        kind = label.partition("-")[0]
        marks = {"clerk": ("hired: {}", "downs: {} finished"), "alarm": ("set: {}", "rang: {}")}.get(kind, ())
        expected.update(mark.format(label) for mark in marks)
    forwarded = Counter(f"entries: {AGENT}.{one}" for one in heard.kept if one.startswith(AGENT))
    return (
        wrong_lanes(lives)
        + _differ(LEDGER, ledger, expected)
        + _differ(AGENT, lives[AGENT].added, forwarded)
        + [f"{one} was told {said}" for one, said in heard.receipts.items() if any(it != said[0] for it in said)]
    )


def _differ(name: str, found: Counter[str], expected: Counter[str]) -> list[str]:
    differing = sorted(one for one in found | expected if found[one] != expected[one])
    return [f"{name}, {one}: {found[one]} times, and not {expected[one]}" for one in differing]


# -- what happens ---------------------------------------------------------------------


def returns(
    world: World, name: str, *before: Sent, after: Sent, copies: bool = False
) -> Callable[[Runtime], Awaitable[None]]:
    """Begin this actor, send it something, take it back to its beginning while it is busy with that, and go on.

    Args:
        world: in which.
        name: of the actor.
        before: what is sent before; a little later the run goes back.
        after: what is sent then.
        copies: the run is copied, too: as it was just before, and just after.
    """

    async def body(runtime: Runtime) -> None:
        await sends(world, *before, begins=[name])(runtime)
        world.heard.senders.add(here())
        await anyio.sleep(A_LITTLE)
        run = runtime.get(name)
        if copies:
            await _steers(world, lambda: run.fork(id=f"{COPY}-1"))
        await _steers(world, lambda: run.rewind(0))
        if copies:
            await _steers(world, lambda: run.fork(id=f"{COPY}-2"))
        await sends(world, after, begins=(), stays=True)(runtime)

    return body


async def _steers(world: World, step: Callable[[], Awaitable[object]]) -> None:
    """Until it is done, or somebody else seems to have the run for good."""
    for _ in range(TRIES):
        try:
            await step()
        except RunExists:
            return
        except ActorflowError as error:
            world.note(here(), f"does not steer: {type(error).__name__}")
            await anyio.sleep(SCAN / 4)
        else:
            return


async def scene(world: World, bodies: dict[str, Callable[[Runtime], Awaitable[None]]]) -> None:
    """Processes do this, all at once; later Z sends what nobody knows of, waits for what follows, and asks again."""

    async def concludes(runtime: Runtime) -> None:
        await sends_the_rest(world, runtime)
        ends = world.now + PATIENCE
        while (late := wrong_history(world)) and world.now < ends:  # noqa: ASYNC110 - waiting costs no time here
            await trio.sleep(SCAN)
        world.told.wrong += late
        await asks_again(world, runtime)
        await world.awake()
        await world.quiet()

    begun = [world.start(name, body, *graphs(world)) for name, body in bodies.items()]
    world.heard.senders.update(begun)  # also who stands still before it has begun
    with trio.move_on_after(LEASE):
        for process in begun:
            await process.over.wait()
    await world.settled(within=2 * LEASE)
    last = world.start("Z", concludes, *graphs(world))
    await last.over.wait()
    for process in begun:
        process.scope.cancel()
        await process.over.wait()


def wrong_returns(world: World) -> list[str]:
    """Everything that is wrong in such a world when it has come to its end."""
    store = world.open()
    names = sorted({one.run_id for one in world.told.acknowledged})
    return world.told.violations(store, world.bucket, names, ending=lambda run_id, frames: []) + wrong_history(world)
