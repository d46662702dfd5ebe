"""Steps of a run that is killed at every operation of its store, or by a SIGKILL in the middle of an effect.

What may happen twice, and what may not, is counted outside of the run. Mistakes
that were planted in the runtime are found by the same checks.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Annotated, Any

import anyio
import anyio.lowlevel
import pytest

from actorflow import Context, Done, Graph, Intent, NotDone, Retry, State, Update, extend
from actorflow.engine.decide import decide
from actorflow.engine.events import Intending
from actorflow.engine.memos import step_key
from actorflow.errors import OutcomeUnknown
from actorflow.runtime import steps
from actorflow.runtime.actor import Actor
from actorflow.runtime.book import Book
from actorflow.runtime.means import Means
from actorflow.testing import assert_resumes_equal, explore

WORKER = Path(__file__).with_name("stepping.py")


class Findings(State):
    """What the nodes found out."""

    found: Annotated[dict[str, Any], lambda old, new: old | new] = {}
    notes: Annotated[list[str], extend] = []


class World:
    """What is outside. It outlives every process, and counts what is done to it."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.keys: dict[str, set[str]] = defaultdict(set)
        self.seen: dict[str, set[int]] = defaultdict(set)
        self.receipts: dict[str, str] = {}

    async def do(self, what: str, idempotency_key: str = "") -> int:
        """Another number each time, so that a repetition shows."""
        self.done[what] += 1
        self.keys[what].add(idempotency_key)
        self.receipts[idempotency_key] = what
        await anyio.lowlevel.checkpoint()
        return self.done[what]

    def undo(self, what: str) -> None:
        """Undo it."""
        self.done[f"undo {what}"] += 1

    async def look(self, intent: Intent) -> Done | NotDone:
        """What is known of something that was begun."""
        what = self.receipts.get(intent.idempotency_key)
        return NotDone() if what is None else Done(self.done[what])


book = Graph("book", Findings)


@book.undo
async def take_back(what: str, ctx: Context) -> None:
    """Undo what a step did."""
    ctx.context.undo(what)


async def remember(ctx: Context, name: str, **how: Any) -> int:
    """A step, and what the node saw of it."""
    number: int = await ctx.step(name, ctx.context.do, name, **how)
    ctx.context.seen[name].add(number)
    return number


@book.node
async def do(state: Findings, ctx: Context) -> Update:
    """Steps of each mode."""
    found = {"twice": await remember(ctx, "twice")}
    try:
        found["once"] = await remember(ctx, "once", mode="at_most_once")
    except OutcomeUnknown:
        found["once"] = 0
    found["asked"] = await remember(ctx, "asked", mode="at_most_once", reconcile=ctx.context.look, retry=Retry())
    found["at"] = (await ctx.now()).timestamp()
    ctx.context.seen["at"].add(found["at"])
    return {"found": found}


@book.node(after=do)
async def do_and_undo(state: Findings, ctx: Context) -> Update:
    """What can be undone, and is."""

    async def make(what: str) -> str:
        await ctx.context.do(what)
        return what

    for what in ("first", "second"):
        await ctx.step(what, make, what, undo=take_back)
    await ctx.sleep(0.001)
    return {"notes": await ctx.rollback()}


@book.node(after=do)
async def beside(state: Findings, ctx: Context) -> Update:
    """Steps side by side, which come to their ends in another order each time."""
    found: dict[str, int] = {}

    async def one(name: str, pauses: int) -> None:
        for _ in range(pauses):
            await anyio.lowlevel.checkpoint()
        found[name] = await ctx.step("side", ctx.context.do, name, key=name)
        ctx.context.seen[name].add(found[name])

    ctx.context.done["beside"] += 1
    async with anyio.create_task_group() as tasks:
        for n, name in enumerate(("left", "right")):
            tasks.start_soon(one, name, (n + ctx.context.done["beside"]) % 2 * 3)
    return {"found": found}


def numbers_aside(one: Findings, other: Findings) -> bool:
    """Equal but for how often something had to be done, and when."""
    return (one.found.keys(), one.notes) == (other.found.keys(), other.notes)


def check(state: Findings, world: World) -> None:
    """What the modes promise."""
    for what, seen in world.seen.items():
        assert len(seen) == 1, f"{what} was shown to the node as {seen}"
        assert state.found[what] in (seen | {0}), f"{what} was {seen}, and the state says {state.found[what]}"
    assert world.done["once"] <= 1, "what must not happen twice did"
    assert world.done["asked"] == 1, "what can be asked about happened once"
    assert all(len(keys) == 1 for keys in world.keys.values()), f"keys change: {world.keys}"
    assert state.notes == ["second", "first"]
    assert world.done["undo first"] >= 1
    assert state.found["left"] <= world.done["left"]


async def test_whenever_it_is_killed_each_mode_keeps_its_promise() -> None:
    """At each operation of the store, with each kind of fault, and now and then twice."""
    await assert_resumes_equal(book, context=World, compare=numbers_aside, check=check, operations=20)


@pytest.mark.parametrize("durability", ["async", "exit"])
async def test_modes_do_not_depend_on_the_durability(durability: Any) -> None:
    """What is recorded of a step is durable before anybody goes on, whatever the durability of nodes."""
    how: dict[str, Any] = {"compare": numbers_aside, "check": check, "operations": 6}

    await assert_resumes_equal(book, context=World, durability=durability, **how)


async def show_before_commit(self: Actor, event: Any) -> None:
    """Planted: what was decided is shown at once, and committed sometime."""
    self._take(decide(self._plan, self.run, event))
    await anyio.lowlevel.checkpoint()


async def begin_without_intent(self: Means, event: Any) -> None:
    """Planted: what must not run twice is begun, and the intent is recorded by its result."""
    if not isinstance(event, Intending):
        await self.record(event)


class Counting(bytes):
    """What steps belong to, and how many there were."""

    count = 0


class Positions(Book):
    """Planted: a step is known by its position in its attempt, whatever its name and key."""

    def __init__(self, base: bytes, owner: object) -> None:
        super().__init__(Counting(base), owner)


def by_position(activation: Counting, kind: bytes, name: str, key: str | int) -> bytes:
    """See `Positions`."""
    activation.count += 1
    return step_key(activation, kind, "step", activation.count)


MISTAKES: dict[str, tuple[str, list[tuple[Any, str, Any]]]] = {
    "shown before the commit": ("was shown to the node as", [(Actor, "_record", show_before_commit)]),
    "begun without an intent": ("what must not happen twice did", [(Means, "commit", begin_without_intent)]),
    "positional ids": ("keys change", [(steps, "Book", Positions), (steps, "step_key", by_position)]),
}
"""What somebody else's framework did, and what the checks say to it."""


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_planted_mistake_is_found(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks above can fail."""
    found, planted = MISTAKES[mistake]
    for where, name, value in planted:
        monkeypatch.setattr(where, name, value)

    report = await explore(book, context=World, compare=numbers_aside, check=check, kinds=("before",))

    assert not report
    assert found in str(report)


def start(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A process that goes on with the run in this folder."""
    return subprocess.run(
        [sys.executable, str(WORKER), str(folder), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


@pytest.mark.parametrize(
    ("mode", "where", "effects", "said"),
    [
        ("at_least_once", "before", 1, "done"),
        ("at_least_once", "after", 2, "done"),
        ("at_most_once", "before", 0, "unknown"),
        ("at_most_once", "after", 1, "unknown"),
        ("asked", "before", 1, "done"),
        ("asked", "after", 1, "found"),
    ],
)
def test_a_sigkill_in_the_middle_of_an_effect(mode: str, where: str, effects: int, said: str, tmp_path: Path) -> None:
    """The effect is a line in a file; the process is killed in the step, just before or just after it."""
    killed = start(tmp_path, mode, where)
    again = start(tmp_path, mode, "never")

    assert killed.returncode == -signal.SIGKILL
    assert again.returncode == 0, again.stderr
    lines = (tmp_path / "effects").read_text().splitlines() if (tmp_path / "effects").exists() else []
    assert (len(lines), len(set(lines)), again.stdout.strip()) == (effects, min(effects, 1), said)
