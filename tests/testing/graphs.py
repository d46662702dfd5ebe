"""Graphs to be explored: sound ones, and some that must not be taken for sound."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated

from actorflow import END, Context, Goto, Graph, State, Update, extend
from actorflow.graph.routing import Send

if TYPE_CHECKING:
    from collections import Counter


class Trail(State, version=1):
    """Which nodes ran."""

    trace: Annotated[list[str], extend] = []
    n: int = 0


def survey() -> Graph[Trail]:
    """First, then an async and a sync node side by side, then last."""
    graph = Graph("survey", Trail)

    @graph.node
    async def first(state: Trail) -> Update:
        return {"trace": ["first"]}

    @graph.node(after=first)
    async def left(state: Trail) -> Update:
        return {"trace": ["left"]}

    @graph.node(after=first)
    def right(state: Trail) -> Update:
        return {"trace": ["right"]}

    @graph.node(after=(left, right))
    async def last(state: Trail, ctx: Context) -> Update:
        return {"trace": ["last"], "n": ctx.attempt}

    return graph


def same_nodes(expected: Trail, got: Trail) -> bool:
    """The two in the middle finish in any order."""
    return sorted(expected.trace) == sorted(got.trace)


def loop() -> Graph[Trail]:
    """Three rounds, by a Goto that names its own function."""
    graph = Graph("loop", Trail)

    def again(state: Trail) -> Goto:
        return Goto(again if state.n < 2 else END, update={"n": state.n + 1})

    graph.node(again, goto=(again, END), entry=True)
    return graph


def counting() -> Graph[Trail]:
    """Planted: a node counts its calls in the process, and not in the state."""
    graph, calls = Graph("counting", Trail), itertools.count(1)

    @graph.node
    async def count(state: Trail) -> Update:
        return {"n": next(calls)}

    return graph


def charging(*, once: bool) -> Graph[Trail]:
    """A payment, to a service that is the context: once for a key, or (planted) at each call."""
    graph = Graph("charging", Trail)

    @graph.node
    async def charge(state: Trail, ctx: Context) -> Update:
        charges: Counter[str] = ctx.context
        charges[ctx.idempotency_key] = 1 if once else charges[ctx.idempotency_key] + 1
        return {"trace": ["charged"]}

    @graph.node(after=charge)
    async def ship(state: Trail) -> Update:
        return {"trace": ["shipped"]}

    return graph


def forgetting() -> Graph[Trail]:
    """Planted: what a node returns depends on whether the service knows its key already."""
    graph = Graph("forgetting", Trail)

    @graph.node
    async def ask(state: Trail, ctx: Context) -> Update:
        known: Counter[str] = ctx.context
        known[ctx.idempotency_key] += 1
        return {"n": known[ctx.idempotency_key]}

    return graph


def failing() -> Graph[Trail]:
    """It fails in its second node, for good."""
    graph = Graph("failing", Trail)

    @graph.node
    async def begin(state: Trail) -> Update:
        return {"n": 1}

    @graph.node(after=begin)
    async def fail(state: Trail) -> Update:
        return {"no such field": 1}

    return graph


class Words(State, version=1):
    """Words, and what was found out about them."""

    words: list[str]
    lengths: list[int] = []
    found: Annotated[list[str], extend] = []


def measuring() -> Graph[Words]:
    """A fan-out, a graph inside for each word with a fan-out of its own, and inputs that a node sends."""
    letters = Graph("letters", Words)

    @letters.node
    async def spell(state: Words) -> Update:
        return {"words": [*state.words[0]]}

    async def loud(letter: str) -> str:
        return letter.upper()

    letters.map(loud, after=spell, over="words", into="found", limit=2)

    graph = Graph("measuring", Words)

    async def measure(word: str, ctx: Context) -> int:
        calls: dict[str, str] = ctx.context
        calls[ctx.idempotency_key] = word
        return len(word)

    measured = graph.map(measure, over="words", into="lengths", limit=2)

    def of_word(word: str, state: Words) -> Words:
        return Words(words=[word])

    spelled = graph.map(letters, after=measured, over="words", into="found", enter=of_word, leave=in_one_piece, limit=3)

    @graph.node(after=spelled, send="keep")
    async def sort(state: Words) -> list[Send]:
        return [Send("keep", word) for word in sorted(state.words)]

    @graph.node(takes=str)
    async def keep(word: str) -> Update:
        return {"found": [word]}

    return graph


def approving() -> Graph[Words]:
    """Two questions of one node, and one of each item of a fan-out."""
    graph = Graph("approving", Words)

    @graph.node
    async def plan(state: Words, ctx: Context) -> Update:
        first = await ctx.interrupt("Which word?", type=str)
        second = await ctx.interrupt("Which one after it?", type=str)
        return {"words": [first, second]}

    async def approve(word: str, ctx: Context) -> str:
        return word if await ctx.interrupt(f"Is {word} right?", type=bool) else "-"

    graph.map(approve, after=plan, over="words", into="found")
    return graph


def in_one_piece(state: Words) -> str:
    """The result of a word: its letters."""
    return "".join(state.found)


def rescued() -> Graph[Trail]:
    """A graph inside fails in its second node; a function takes its place, and the run goes on."""
    inner = Graph("inner", Trail)

    @inner.node
    async def begin(state: Trail) -> Update:
        return {"n": 1}

    @inner.node(after=begin)
    def fail(state: Trail) -> Update:
        raise ValueError

    async def rescue(state: Trail, error: Exception) -> Update:
        return {"trace": ["rescued"]}

    graph = Graph("rescued", Trail)
    visited = graph.subgraph(inner, enter={}, leave=["n"], on_error=rescue)

    @graph.node(after=visited)
    async def end(state: Trail) -> Update:
        return {"trace": ["end"]}

    return graph
