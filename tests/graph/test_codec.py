"""Codecs: own types in a state, stored by the graph's functions and by no name in the file."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest

from actorflow import Codec, Graph, Runtime, State, append, migrate
from actorflow.errors import GraphError, NodeError, RunFailed
from actorflow.graph.schema import schema_of


class Money:
    """Cents, in a class that msgspec knows nothing of."""

    def __init__(self, cents: int) -> None:
        if cents < 0:
            raise ValueError("nobody owes us")
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and self.cents == other.cents

    __hash__ = None  # type: ignore[assignment]


MONEY: Codec[Any] = Codec(Money, lambda money: money.cents, Money)


class Basket(State, version=1):
    """Own types at the top, in a list and behind a reducer."""

    total: Money = Money(0)
    prices: Annotated[list[Money], append] = []
    by_name: dict[str, Money] = {}


def shop(*codecs: Codec[Any], name: str = "shop") -> Graph[Basket]:
    """A graph that adds a price."""
    graph = Graph(name, Basket, types=codecs)

    @graph.node(entry=True)
    async def add(state: Basket) -> dict[str, Any]:
        assert isinstance(state.total, Money)
        price = Money(5)
        return {"prices": price, "total": Money(state.total.cents + 5), "by_name": {**state.by_name, "tea": price}}

    @graph.node(after=add)
    async def whole(state: Basket) -> Basket:
        return Basket(total=Money(state.total.cents * 2), prices=state.prices, by_name=state.by_name)

    return graph


async def test_a_run_keeps_values_of_own_types(store_url: str) -> None:
    """In the result, in what a later process reads, and in the history."""
    async with Runtime(store_url, debug=True) as rt:
        final = await rt.run(shop(MONEY), Basket(total=Money(1)), id="r")
        assert (final.total, final.prices, final.by_name) == (Money(12), [Money(5)], {"tea": Money(5)})
    async with Runtime(store_url) as rt:
        assert await rt.run(shop(MONEY), Basket(total=Money(1)), id="r") == final
        rt.register(shop(MONEY))
        newest = await anext(aiter(rt.get("r").views()))
        assert newest.state.total == Money(12)


async def test_each_graph_has_its_own_codecs(store_url: str) -> None:
    """Another graph may store the same type in another way."""
    text: Codec[Any] = Codec(Money, lambda money: str(money.cents), lambda text: Money(int(text)))
    async with Runtime(store_url) as rt:
        for graph in (shop(MONEY), shop(text, name="texts")):
            assert (await rt.run(graph, Basket(), id=graph.name)).total == Money(10)


@pytest.mark.parametrize(
    ("codecs", "problem"),
    [
        ((), "Money can't be encoded"),
        ((MONEY, MONEY), "two codecs for Money"),
        ((MONEY, Codec(Decimal, str, Decimal)), "msgspec stores Decimal by itself"),
        ((MONEY, "Money"), "give Codec(type, encode, decode)"),
    ],
)
def test_what_is_wrong_with_the_codecs_is_found_before_a_run(codecs: Any, problem: str) -> None:
    """With all other problems of the graph."""
    with pytest.raises(GraphError, match=problem.replace("(", r"\(").replace(")", r"\)")):
        _ = shop(*codecs).plan


@pytest.mark.parametrize(
    ("codec", "reason"),
    [
        (Codec(Money, lambda money: 1 / 0, Money), "could not encode it: ZeroDivisionError"),
        (Codec(Money, lambda money: money, Money), "RecursionError|recursion|could not|can't be encoded"),
        (Codec(Money, lambda money: -money.cents - 1, Money), "could not decode it: ValueError.*nobody owes us"),
    ],
)
async def test_a_codec_that_fails_fails_the_node(store_url: str, codec: Codec[Any], reason: str) -> None:
    """By a typed error that names the codec; nothing of the update is kept."""
    graph = Graph("broken", Basket, types=[codec])

    @graph.node(entry=True)
    async def add(state: Basket) -> dict[str, Any]:
        return {"total": Money(1)}

    async with Runtime(store_url) as rt:
        with pytest.raises((RunFailed, NodeError), match=reason):
            await rt.run(graph, Basket(), id="r")


async def test_a_migration_sees_own_types(store_url: str) -> None:
    """A typed one gets them, an untyped one the plain values."""

    class New(State, version=2, name="Basket"):
        total: Money
        cents: int

    @migrate(from_=1, to=2)
    def split(old: dict[str, Any]) -> dict[str, Any]:
        return {"total": Money(old["total"]), "cents": old["total"]}

    async with Runtime(store_url) as rt:
        await rt.run(shop(MONEY), Basket(), id="r")
        grown = Graph("shop", New, types=[MONEY], migrations=[split])
        for name in ("add", "whole", "more"):
            grown.node(_pass, name=name, after={"add": None, "whole": "add", "more": "whole"}[name])
        final = await (await rt.resume(grown, "r")).result()
        assert (final.total, final.cents) == (Money(10), 10)


async def _pass(state: Any) -> None:
    return None


class Cents(int):
    """A number that msgspec stores as one, and that only a codec makes again."""


class Purse(State, version=1):
    """Own types that are a kind of a builtin one."""

    cents: Cents = Cents(0)


def test_a_value_of_a_subclass_that_its_codec_could_not_read_back_is_refused() -> None:
    """It is no plain number, though it is one.

    Planted: taking what is an instance of a builtin type for plain (`_is_plain`).
    """

    def refuse(plain: int) -> Cents:
        raise ValueError("not that one")

    field = schema_of(Purse, (Codec(Cents, int, refuse),)).fields["cents"]
    with pytest.raises(msgspec.ValidationError, match="not that one"):
        field.check(Cents(3))
