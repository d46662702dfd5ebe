"""What happens in a world with messages: processes send them, to actors that anybody may come to have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import trio
from msgspec import Struct

from actorflow.engine.operations import thaw
from actorflow.errors import ActorflowError, AskFailed, MessageRejected, RunEnded, StoreError
from actorflow.runtime.large import Joiner
from actorflow.runtime.replay import replay
from tests.simulation.ledger import AGENT, LEDGER, REFUSED, Alarm, Close, Entry, Forward, Hire, graphs
from tests.simulation.scenes import looks_after, sweeps
from tests.simulation.world import LEASE, SCAN, World, here

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from actorflow import Runtime

BALLAST = 600
"""Characters that make a value large."""

PATIENCE = 12 * LEASE
"""Virtual seconds until everything that was sent must have had all its consequences."""


class Sent(Struct, frozen=True):
    """A message, to whom, and whether a reply is wanted. It has its label for an id."""

    label: str
    target: str
    message: Any
    asks: bool = False


def entry(label: str, *, asks: bool = False, large: bool = False) -> Sent:
    """To be written down. Its label begins with ``entry``, or it is refused."""
    return Sent(label, LEDGER, Entry(label=label, ballast=label * (BALLAST // len(label)) if large else ""), asks)


def forward(label: str, *, asks: bool = False) -> Sent:
    """To be passed on by the agent."""
    return Sent(label, AGENT, Forward(label=label, ask=asks), asks)


def hire(label: str) -> Sent:
    """A clerk, who writes three entries."""
    return Sent(label, LEDGER, Hire(label=label))


def alarm(label: str, after: float) -> Sent:
    """Goes off once."""
    return Sent(label, LEDGER, Alarm(label=label, after=after))


def sends(
    world: World,
    *letters: Sent,
    begins: Sequence[str] = (LEDGER, AGENT),
    stays: bool = False,
    twice: float = 0.0,
    at_once: bool = False,
) -> Callable[[Runtime], Awaitable[None]]:
    """Send these, each until it is known to be kept.

    Args:
        world: in which.
        letters: which.
        begins: these actors first, if nobody has. Who begins none knows no graph, and leaves them to others.
        stays: and go on with what the actors do then.
        twice: the chance with which each is sent once more.
        at_once: and not one after the other.
    """

    async def send(runtime: Runtime, letter: Sent) -> None:
        await _deliver(world, runtime, letter)
        if world.chance.random() < twice:
            await _deliver(world, runtime, letter)

    async def body(runtime: Runtime) -> None:
        world.heard.senders.add(here())
        await _begin(world, runtime, begins)
        async with anyio.create_task_group() as tasks:
            for letter in letters:
                if at_once:
                    tasks.start_soon(send, runtime, letter)
                else:
                    await send(runtime, letter)
        world.heard.senders.discard(here())
        if stays:
            await trio.sleep_forever()

    return body


def concludes(world: World) -> Callable[[Runtime], Awaitable[None]]:
    """When the others have, send what nobody knows of, wait for all consequences, ask once more, and close."""

    async def body(runtime: Runtime) -> None:
        await sends_the_rest(world, runtime)
        ends = world.now + PATIENCE
        while (late := judged(world)) and world.now < ends:  # noqa: ASYNC110 - as above
            await trio.sleep(SCAN)
        world.told.wrong += late  # nobody is to be woken for it by what follows
        await asks_again(world, runtime)
        for target in (AGENT, LEDGER):
            await insist(world, lambda target=target: runtime.get(target).send(Close(), id="close"))
        await world.awake()  # who stood still all the while goes on as if nothing had been
        await world.quiet()

    return body


async def sends_the_rest(world: World, runtime: Runtime) -> None:
    """When the others have, send what nobody knows of."""
    heard = world.heard
    await _begin(world, runtime, (LEDGER, AGENT))
    while any(not process.over.is_set() for process in heard.senders):  # noqa: ASYNC110 - waiting costs no time here
        await trio.sleep(SCAN / 4)
    for label in sorted(heard.tried.keys() - heard.kept - heard.refused):
        await _deliver(world, runtime, heard.tried[label])


async def asks_again(world: World, runtime: Runtime) -> None:
    """Ask for each receipt once more."""
    for label in sorted(world.heard.receipts):
        await _deliver(world, runtime, world.heard.tried[label])


def judged(world: World) -> list[str]:
    """What is wrong with the actors as they are in the bucket just now."""
    store = world.open()
    values: dict[str, dict[str, Any]] = {}
    dead: list[str] = []
    names = [LEDGER, AGENT]
    for name in names:
        try:
            frames = store.log(name).read()
            run = replay(frames, Joiner(store.blobs(name)))
        except (StoreError, IndexError) as error:
            return [f"{name} can't be read: {error!r}"]
        values[name] = {field: thaw(value) for field, value in run.root.values.items()}
        dead += [str(one.letter.values.get("label")) for one in run.mail.dead]
        dead += [str(letter) for letter in store.inbox.dead_letters.list(name)]
        if name == LEDGER:
            names += values[name]["hired"]
        elif name != AGENT and not run.ended:
            return [f"{name} is {run.status}"]
    clerks = {name: values[name]["receipt"] for name in names[2:]}
    return world.heard.violations(values[LEDGER], values[AGENT], clerks, dead)


def wrong_mail(world: World) -> list[str]:
    """Everything that is wrong in a world with messages that has come to its end."""
    store = world.open()
    names = sorted({one.run_id for one in world.told.acknowledged})
    left = [f"the marker of {name}, opening {opening}, is left" for name, opening in store.markers.active()]
    found = world.told.violations(store, world.bucket, names, ending=lambda run_id, frames: [])
    return found + judged(world) + left


def scene(
    bodies: dict[str, Callable[[World], Callable[[Runtime], Awaitable[None]]]],
    *,
    knowing: Sequence[str] = ("A",),
    heir: bool = False,
    sweeping: bool = False,
) -> Callable[[World], Awaitable[None]]:
    """Processes send, all at once; later Z concludes.

    Args:
        bodies: by the name of the process.
        knowing: which of them know the graphs from the start.
        heir: B looks after orphans meanwhile; else only Z comes after the dead.
        sweeping: C does retention all the time.
    """

    async def play(world: World) -> None:
        known = graphs(world)
        begun = {
            name: world.start(name, body(world), *(known if name in knowing else ())) for name, body in bodies.items()
        }
        if heir:
            begun["B"] = world.start("B", looks_after, *known)
        if sweeping:
            begun["C"] = world.start("C", sweeps(world, LEDGER, AGENT))
        with trio.move_on_after(LEASE):
            for process in begun.values():
                await process.over.wait()
        await world.settled(within=2 * LEASE)
        last = world.start("Z", concludes(world), *known)
        await last.over.wait()
        for process in begun.values():
            process.scope.cancel()
            await process.over.wait()

    return play


async def _begin(world: World, runtime: Runtime, names: Sequence[str]) -> None:
    """Actors, if nobody has begun them: one that is there is not touched, and sleeps on."""
    for graph in graphs(world):
        if graph.name in names and world.newest(graph.name) < 0:
            await insist(world, lambda graph=graph: runtime.spawn(graph, id=graph.name, on_conflict="attach"))


async def insist(
    world: World, step: Callable[[], Awaitable[object]], *, over: tuple[type[ActorflowError], ...] = (RunEnded,)
) -> None:
    """Until it is done, or one of these says that it is no more to be done."""
    while True:
        try:
            await step()
        except over:
            return
        except ActorflowError as error:
            world.note(here(), f"tries again: {type(error).__name__}")
            await anyio.sleep(SCAN / 4)
        else:
            return


async def _deliver(world: World, runtime: Runtime, letter: Sent) -> None:
    """Until it is known to be kept, or refused."""
    heard, process, label = world.heard, here(), letter.label
    await process.running()
    if process.dead:
        return
    heard.tried[label] = letter
    if label.startswith(REFUSED):
        heard.refused.add(label)  # whatever is said of it
    while True:
        receipt: list[int] | None = None
        try:
            run, message = runtime.get(letter.target), letter.message
            if letter.asks:
                receipt = await run.ask(message, id=label, type=list[int])
            else:
                await run.send(message, id=label)
        except (MessageRejected, AskFailed) as error:
            if not label.startswith(REFUSED):
                world.told.wrong.append(f"{label} was refused: {error!r}")
                heard.refused.add(label)
            return
        except RunEnded:
            return  # it came too late, and nobody was told that it is kept
        except ActorflowError as error:
            world.note(process, f"{label}: {type(error).__name__}")
            await anyio.sleep(SCAN / 4)
            continue
        await process.running()
        if not process.dead:
            world.note(process, f"{label} is kept")
            heard.kept.add(label)
            if receipt is not None:
                heard.receipts.setdefault(label, []).append(receipt)
        return
