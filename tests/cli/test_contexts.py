"""``--context``: what nodes read as ``ctx.context``, for every command that runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli.test_dev import Session

if TYPE_CHECKING:
    from tests.cli.conftest import Project

SHOP = """
from typing import NamedTuple

from actorflow import Context, Graph, Message, Reply, State, Update


class Clients(NamedTuple):
    name: str = "made by its class"


class Order(State):
    by: str = ""


class Who(Message, version=1):
    pass


async def connect():
    return Clients("made in a loop")


def broken():
    raise ConnectionError("no route\\x1b[31m")


value = Clients("a value")
other = 7
order = Graph("order", Order, context=Clients)


@order.node
async def ask(state: Order, ctx: Context) -> Update:
    await ctx.interrupt("Go on?")
    return {"by": ctx.context.name}


shop = Graph("shop", Order, context=Clients, lifetime="actor")


@shop.node
async def begin(state: Order, ctx: Context) -> Update:
    return {"by": ctx.context.name}


@shop.on(Who)
async def who(state: Order, msg: Who, ctx: Context) -> Reply:
    return Reply(ctx.context.name)
"""


@pytest.fixture
def shop(project: Project) -> Project:
    """A graph that asks, and an actor, both of which need clients."""
    (project.folder / "shop.py").write_text(SHOP)
    return project


@pytest.mark.parametrize(
    ("named", "seen"),
    [("connect", "made in a loop"), ("value", "a value"), ("Clients", "made by its class")],
)
def test_nodes_get_what_is_named(shop: Project, named: str, seen: str) -> None:
    """A value as it is, and of a function or a class what it makes; in run, answer and resume."""
    context = ("--context", f"shop.py:{named}")
    began = shop.call("run", "shop.py:order", "--id", "a", *context)
    assert began.exit_code == 8, began.stderr

    answered = shop.call("answer", "a", "shop.py:order", "--value", "true", *context)

    assert answered.exit_code == 0, answered.stderr
    assert json.loads(answered.stdout) == {"by": seen}


def test_the_environment_can_name_it(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it can name the graph."""
    monkeypatch.setenv("ACTORFLOW_CONTEXT", "shop.py:value")

    assert shop.call("run", "shop.py:shop", "--id", "a").exit_code == 8

    assert shop.call("show", "a", "--json").stdout.count("a value") == 1


@pytest.mark.parametrize(
    "command",
    [
        ("run", "shop.py:order", "--id", "b"),
        ("resume", "a", "shop.py:order"),
        ("answer", "a", "shop.py:order", "--value", "true"),
        ("update", "a", "shop.py:order", "--values", "{}"),
        ("fork", "a", "shop.py:order", "--id", "c"),
    ],
)
def test_without_one_nothing_is_done_and_the_remedy_is_named(shop: Project, command: tuple[str, ...]) -> None:
    """Before, its nodes ran with None, and failed over that."""
    shop.call("run", "shop.py:order", "--id", "a", "--context", "shop.py:value")
    before = shop.rows("history", "a")

    result = shop.call(*command)

    assert result.exit_code == 2
    assert "graph 'order' declares Graph(context=Clients), and this process has none for its runs\n" in result.stderr
    assert "try: the same with --context module:name" in result.stderr
    assert shop.rows("history", "a") == before
    assert {row["id"] for row in shop.rows("ls")} == {"a"}


def test_a_run_is_paused_without_one(shop: Project) -> None:
    """Nothing of it begins by that."""
    shop.call("run", "shop.py:order", "--id", "a", "--context", "shop.py:value")

    result = shop.call("pause", "a", "shop.py:order")

    assert result.exit_code == 0, result.stderr
    assert shop.rows("ls")[0]["status"] == "paused"


def test_a_message_is_left_for_whoever_has_one_or_handled_with_what_is_named(shop: Project) -> None:
    """A handler that called its client would find None, and its message be a dead letter.

    Planted: `send` that registers the graph, and a runtime that takes up runs without a context.
    """
    shop.call("run", "shop.py:shop", "--id", "a", "--context", "shop.py:value")
    before = shop.rows("history", "a")

    left = shop.call("send", "a", "Who", "shop.py:shop")
    assert (left.exit_code, shop.rows("history", "a")) == (0, before)

    asked = shop.call("send", "a", "Who", "shop.py:shop", "--ask", "--context", "shop.py:connect")
    assert asked.exit_code == 0, asked.stderr
    assert json.loads(asked.stdout) == "made in a loop"


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("shop.py:broken", "'shop.py:broken' raised ConnectionError: no route"),
        ("shop.py:nobody", "'nobody' is not there"),
        ("shop.py", "say what in 'shop.py'"),
        ("nowhere:it", "no module 'nowhere'"),
        ("shop.py:other", "was given a context of type int"),
    ],
)
def test_what_gives_no_context_is_wrong_usage(shop: Project, named: str, says: str) -> None:
    """Said before a store is made."""
    result = shop.call("run", "shop.py:order", "--context", named)

    assert result.exit_code == 2
    assert says in result.stderr
    assert "\x1b" not in result.stderr
    assert shop.call("ls", "--json").stdout == ""


def test_what_goes_on_after_an_interruption_names_it_too(shop: Project) -> None:
    """The command that is suggested works as it is."""
    source = (shop.folder / "shop.py").read_text()
    (shop.folder / "shop.py").write_text(
        source.replace('    await ctx.interrupt("Go on?")', "    raise KeyboardInterrupt")
    )

    result = shop.call("run", "shop.py:order", "--id", "a", "--context", "shop.py:value")

    assert result.exit_code == 130
    assert "try: actorflow resume --context shop.py:value a shop.py:order" in result.stderr


LOOP = """
from typing import NamedTuple

import anyio

from actorflow import Context, Graph, State, Update


class Words(NamedTuple):
    said: str = "one"


class Count(State):
    n: int = 0


count = Graph("count", Count, context=Words)


@count.node(entry=True)
async def step(state: Count, ctx: Context) -> Update:
    await anyio.sleep(0.01)
    print(f"- {ctx.context.said}", flush=True)
    return {"n": state.n + 1}


count.edge(step, step)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_dev_makes_it_anew_at_each_save_for_the_runs_that_go_on(project: Project) -> None:
    """Its class is another one then, too; what can't be made leaves all as it was."""
    (project.folder / "loop.py").write_text(LOOP)
    command = ("dev", "loop.py:count", "--id", "x", "--context", "loop.py:Words")
    process = project.start(*command, stderr=subprocess.STDOUT)
    session = Session(process, project.folder)
    try:
        session.until("watching")
        session.until("- one")
        session.edit("loop.py", LOOP.replace('"one"', '"two"'))
        assert session.until("changed").startswith("loop.py changed: 1 run went on")
        session.until("- two")
        session.edit("loop.py", LOOP.replace(' = "one"', ""))
        assert "the code before: TypeError" in session.until("changed")
        session.until("- two")
        assert session.end() == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
