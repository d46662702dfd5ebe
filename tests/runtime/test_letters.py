"""Letters: a message is the same message, whichever way it comes and whichever process wrote it."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from actorflow import Codec, Graph, Message, State
from actorflow.errors import BadMessage, MigrationError
from actorflow.runtime.letters import carried, received, told, write
from tests.runtime.mailing import Account, Deposit, banking

NOW = 1.8e9


class Basket(Message, version=1):
    """With what has no order of its own."""

    names: set[str]
    prices: dict[str, Decimal]


def test_a_message_is_known_again_whichever_way_it_comes() -> None:
    """Sent in the process of its run, or as a file: the run finds the same id and the same content."""
    graph = banking()
    written = write("ada", Deposit(amount=5))

    here = told("ada", written, graph, id="payday", by="Bob", now=NOW, limit=1)
    kept = carried("ada", written, id="payday", by="Bob", now=NOW + 60)
    there = received(kept, graph, now=NOW + 61, limit=1)

    assert (here.id, here.caller, here.content) == (there.id, there.caller, there.content)
    assert (here.form, here.values, here.by) == (there.form, there.values, there.by)
    assert (here.kept, there.kept, kept.letter.from_caller, kept.generation) == (False, True, True, 0)


def test_messages_without_an_id_are_different_messages() -> None:
    """Even if they say the same."""
    events = [told("a", write("a", Deposit(amount=5)), banking(), id=None, by=None, now=NOW, limit=1) for _ in "ab"]

    assert events[0].id != events[1].id


def test_the_content_does_not_depend_on_the_order_of_a_dict() -> None:
    """Nor does who sends again know how it was built."""
    prices = {"pear": Decimal("1.5"), "apple": Decimal(2)}
    one = Basket(names={"a"}, prices=prices)
    other = Basket(names={"a"}, prices=dict(reversed(prices.items())))

    contents = {carried("r", write("r", basket), id="x", by=None, now=NOW).content for basket in (one, other)}

    assert len(contents) == 1


def test_the_content_does_not_depend_on_the_process() -> None:
    """The order of a set is another one in each; planted: encoded as it comes, these differ."""
    script = (
        "from tests.runtime.test_letters import Basket, NOW; from actorflow.runtime.letters import carried, write;"
        "basket = Basket(names=set('abcdefgh'), prices={}); written = write('r', basket);"
        "print(carried('r', written, id='x', by=None, now=NOW).content.hex(),"
        "written.schema.codecs.encode(basket.names).hex())"
    )
    told_by = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed in ("1", "2")
    ]

    assert told_by[0][0] == told_by[1][0]
    assert told_by[0][1] != told_by[1][1]


def test_types_of_ones_own_travel_by_the_codecs_of_the_graph() -> None:
    """Who does not know the graph can't write them, and is told so."""

    class Share(Message, version=1):
        part: Fraction

    graph = Graph("shares", Account, types=[Codec(Fraction, str, Fraction)], lifetime="actor")

    @graph.on(Share)
    async def share(state: Account, msg: Share) -> None: ...

    written = write("r", Share(part=Fraction(1, 3)), codecs=graph.plan.schema.codecs)
    event = received(carried("r", written, id="x", by=None, now=NOW), graph, now=NOW, limit=1)

    assert event.values == {"part": "1/3"}
    with pytest.raises(BadMessage, match="Codec"):
        write("r", Share(part=Fraction(1, 3)))


def test_an_older_message_that_does_not_migrate_is_refused_in_its_own_process() -> None:
    """Before its run is told anything."""

    class Euros(Message, version=1, name="Pay"):
        euros: int

    class Pay(Message, version=2):
        cents: int

    graph = Graph("bank", State, lifetime="actor")

    @graph.on(Pay)
    async def pay(state: State, msg: Pay) -> None: ...

    with pytest.raises(MigrationError):
        told("r", write("r", Euros(euros=1)), graph, id=None, by=None, now=NOW, limit=1)
