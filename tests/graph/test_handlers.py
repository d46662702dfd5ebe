"""Handlers: what a graph does with the messages that its runs are sent, checked before any comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from msgspec import structs

from actorflow.errors import DuplicateMigration, GraphError, SchemaDrift
from actorflow.graph.graph import Graph
from actorflow.graph.lock import SchemaLock
from actorflow.graph.message import Down, Mailbox, Message
from actorflow.graph.migrate import chain, migrate, migrations_of, upgrade
from actorflow.graph.routing import END, End, Goto, Reply, Send
from actorflow.graph.state import State, Update

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from actorflow.graph.context import Context


class Account(State, version=1):
    """What is on it."""

    balance: int = 0


class Other(State):
    """The state of other graphs."""


class Deposit(Message, version=1):
    """So much comes in."""

    amount: int


class Close(Message, version=1):
    """It is over."""


class Strange(Message):
    """Nothing can write it into a file."""

    thing: type[int]


async def deposit(state: Account, msg: Deposit) -> Update:
    """The handler of most tests."""
    return {"balance": state.balance + msg.amount}


def account(**options: Any) -> Graph[Account]:
    """An actor without anything yet."""
    return Graph("account", Account, **{"lifetime": "actor", **options})


def errors(graph: Graph[Any]) -> list[str]:
    """The problems that keep a graph from running, without where they are."""
    findings = graph.check()
    assert all(finding.level == "error" for finding in findings)
    return [finding.problem for finding in findings]


def only_error(graph: Graph[Any]) -> str:
    """The one problem of a graph."""
    found = errors(graph)
    assert len(found) == 1, found
    return found[0]


# -- what is sound ----------------------------------------------------------------


def test_an_actor_of_handlers_alone_is_sound() -> None:
    """It has no entry: it begins by waiting."""
    graph = account()

    @graph.on(Deposit, name="in", retry=None, timeout=3)
    async def deposit(state: Account, msg: Deposit, ctx: Context) -> Reply:
        return Reply(state.balance)

    @graph.on(Close)
    def close(state: Account, msg: Close) -> End:
        return END

    plan = graph.plan
    assert graph.check() == []
    assert (plan.lifetime, plan.entries) == ("actor", ())
    assert plan.handlers == {"Deposit": "in", "Close": "close"}
    assert [schema.state_type for schema in plan.messages.values()] == [Deposit, Close]
    assert plan.mailbox == Mailbox(messages=1_000, bytes=16 * 2**20, ids=10_000, hours=24)
    handler = plan.nodes["in"]
    assert (handler.message, handler.takes, handler.takes_context, handler.is_async) == ("Deposit", None, True, True)
    assert not plan.nodes["close"].takes_context
    assert [plan.is_handler(name) for name in plan.nodes] == [True, True]


def test_on_is_a_call_as_well() -> None:
    """One function may serve several graphs, and several types."""
    first, second = account(), account()

    assert first.on(Deposit, deposit) is deposit
    second.on(Deposit, deposit)
    second.on(Close, lambda state, msg: END, name="close")

    assert first.check() == second.check() == []
    assert second.plan.handlers == {"Deposit": "deposit", "Close": "close"}


def test_what_a_handler_goes_to_is_reached_and_is_no_entry() -> None:
    """The nodes of an actor may all be there for its messages."""
    graph = account()
    graph.on(Deposit, deposit, goto=("audit", END))
    graph.node(lambda state: None, name="audit")
    graph.node(lambda state: None, name="report", after="audit")

    assert graph.check() == []
    assert graph.plan.entries == ()


def test_a_handler_beside_nodes_takes_nothing_from_them() -> None:
    """A run that ends handles messages meanwhile; its entry is found as ever."""
    graph = account(lifetime="run")
    graph.node(lambda state: None, name="work")
    graph.on(Deposit, deposit)

    assert graph.check() == []
    assert graph.plan.entries == ("work",)


def test_types_that_nodes_receive_need_no_handler() -> None:
    """They are accepted; nothing handles them."""
    graph = account(messages=[Close])
    graph.on(Deposit, deposit)

    assert graph.check() == []
    assert set(graph.plan.messages) == {"Deposit", "Close"}
    assert graph.plan.handlers == {"Deposit": "deposit"}


def test_everybody_may_handle_the_end_of_another_run() -> None:
    """Its name in files is none that a user's class would have."""

    class Own(Message, version=1, name="Down"):
        pass

    graph = account()
    graph.on(Down, lambda state, msg: {"balance": len(msg.error)}, name="ended")
    graph.on(Own, lambda state, msg: None, name="own")

    assert graph.check() == []
    assert graph.plan.handlers == {"actorflow.Down": "ended", "Down": "own"}
    assert structs.asdict(Down(run_id="a", status="finished")) == {"run_id": "a", "status": "finished", "error": ""}


def test_interrupts_before_everything_leave_handlers_out() -> None:
    """``"*"`` is each node; a message is no question."""
    graph = account(lifetime="run", interrupt_before="*")
    graph.node(lambda state: None, name="work")
    graph.on(Deposit, deposit)

    assert graph.plan.interrupt_before == {"work"}


def test_what_takes_over_for_nodes_does_not_for_handlers() -> None:
    """Who sent a message is told that it failed; a handler says for itself if something else is wanted."""
    graph = account(on_error=lambda state, error: {}, retry=None)
    graph.on(Deposit, deposit)
    graph.on(Close, lambda state, msg: None, name="close", on_error="mend")
    graph.node(lambda state: None, name="mend")

    plan = graph.plan

    assert plan.nodes["deposit"].on_error is None
    assert plan.nodes["close"].on_error is not None
    assert plan.nodes["mend"].on_error is not None


def test_renamed_handlers_are_moved() -> None:
    """A turn that was open under the old name goes on under the new one."""
    graph = account(moves={"pay_in": "deposit"})
    graph.on(Deposit, deposit)

    assert graph.check() == []


# -- what is refused --------------------------------------------------------------


def test_handlers_alone_need_an_actor() -> None:
    """A run without a node that goes on is over before anybody could send anything."""
    graph = account(lifetime="run")
    graph.on(Deposit, deposit)

    assert 'say Graph(..., lifetime="actor")' in only_error(graph)


def test_an_unknown_lifetime_is_refused() -> None:
    """There are two."""
    graph = account(lifetime="forever")
    graph.on(Deposit, deposit)

    assert "give 'run'" in errors(graph)[0]


def test_an_actor_without_a_handler_is_doubtful() -> None:
    """Nothing but a cancellation would end it."""
    graph = account()
    graph.node(lambda state: None, name="work")

    (finding,) = graph.check()

    assert finding.level == "warning"
    assert "nothing handles messages" in finding.problem


def test_a_type_has_one_handler() -> None:
    """Which of two should have it, nothing would say."""
    graph = account()
    graph.on(Deposit, deposit)
    graph.on(Deposit, deposit, name="again")

    problem = only_error(graph)

    assert problem.startswith("node 'again' (test_handlers.py:")
    assert "Deposit is handled already, by 'deposit'" in problem


def test_a_type_is_handled_or_received() -> None:
    """A node that waits for what a handler takes would wait for ever."""
    graph = account(messages=[Deposit])
    graph.on(Deposit, deposit)

    assert "Deposit is handled by 'deposit', so no node would ever receive one" in only_error(graph)


@pytest.mark.parametrize(("type_", "said"), [(Other, "Other is no type of messages"), (Message, "has no fields")])
def test_what_is_no_type_of_messages_is_refused(type_: Any, said: str) -> None:
    """Messages are versioned and have a name in files; any class has not."""
    handled, received = account(), account(messages=[type_])
    handled.on(type_, lambda state, msg: None, name="it")
    received.on(Deposit, deposit)

    assert said in only_error(handled)
    assert said in only_error(received)


def test_a_list_is_wanted_for_what_is_received() -> None:
    """One type alone is a slip that is told."""
    graph = account(messages=Close)
    graph.on(Deposit, deposit)

    assert "give a list of types" in only_error(graph)


def test_without_the_type_the_decorator_complains_at_once() -> None:
    """The function would be taken for the type, and the handler would never be declared."""
    with pytest.raises(TypeError, match=r"@graph\.on\(Deposit\), not deposit"):
        account().on(cast("Any", deposit))


def test_two_types_of_one_name_are_refused() -> None:
    """Files tell them apart by it."""

    class Again(Message, name="Deposit"):
        pass

    class Same(Message, name="Account"):
        pass

    graph = account(messages=[Again])
    graph.on(Deposit, deposit)
    graph.on(Same, lambda state, msg: None, name="same")

    found = errors(graph)

    assert len(found) == 2
    assert "the state is a 'Account', too" in found[0]
    assert "there are two types 'Deposit'" in found[1]


def test_messages_that_no_file_can_hold_are_refused() -> None:
    """Before one is sent."""
    graph = account()
    graph.on(Strange, lambda state, msg: None, name="it")

    assert "Strange.thing" in only_error(graph)


@pytest.mark.parametrize(
    ("mailbox", "said"),
    [
        (Mailbox(messages=0), "messages=0: give a number of at least 1"),
        (Mailbox(bytes=0), "bytes=0"),
        (Mailbox(ids=-1), "ids=-1"),
        (Mailbox(hours=float("nan")), "hours=nan: give hours"),
        ({"messages": 3}, "give a Mailbox"),
    ],
)
def test_a_mailbox_without_sense_is_refused(mailbox: Any, said: str) -> None:
    """Nothing could ever be sent."""
    graph = account(mailbox=mailbox)
    graph.on(Deposit, deposit)

    assert said in only_error(graph)


def test_nothing_but_messages_leads_to_a_handler() -> None:
    """No edge, branch, Goto, error or wait: it could be given no message."""
    graph = account(interrupt_before="deposit")
    graph.on(Deposit, deposit)
    graph.on(Close, lambda state, msg: None, name="close", goto="deposit")
    graph.node(lambda state: None, name="work", goto="deposit", on_error="deposit", entry=True)
    graph.node(lambda state: None, name="late", after=deposit)
    graph.edge("work", "deposit")
    graph.branch(lambda state: "work", after="deposit", to="work")
    graph.branch(lambda state: "deposit", after="work", to=deposit)

    found = [
        problem for problem in errors(graph) if "'deposit' handles Deposit, so nothing else leads there" in problem
    ]

    assert len(found) == 8
    assert found == [*dict.fromkeys(found)]


def test_a_node_that_nothing_leads_to_is_told_in_an_actor_too() -> None:
    """Two that only lead to each other are in no handler's reach."""
    graph = account()
    graph.on(Deposit, deposit)
    graph.node(lambda state: None, name="one", after="two")
    graph.node(lambda state: None, name="two", after="one")

    found = errors(graph)

    assert len(found) == 2
    assert all("can't be reached from any handler" in problem for problem in found)


@pytest.mark.parametrize(
    ("fn", "said"),
    [
        (lambda state: None, "it takes only 'state'; it is called as (state, msg, ctx)"),
        (lambda: None, "it takes no positional parameter; it is called as (state, msg, ctx)"),
        (lambda state, msg, ctx, more: None, "it also asks for 'more'"),
    ],
)
def test_a_handler_is_called_with_state_message_and_context(fn: Any, said: str) -> None:
    """What asks for more, or takes nothing, is told."""
    graph = account()
    graph.on(Deposit, fn, name="it")

    assert said in only_error(graph)


def test_annotations_of_a_handler_are_compared() -> None:
    """With the state, the message and what may be returned."""

    def other_state(state: Other, msg: Deposit) -> None: ...
    def other_message(state: Account, msg: Close) -> None: ...
    def other_context(state: Account, msg: Deposit, ctx: int) -> None: ...
    def number(state: Account, msg: Deposit) -> int: ...  # type: ignore[empty-body]
    def sends(state: Account, msg: Deposit) -> Send: ...  # type: ignore[empty-body]
    async def many(state: Account, msg: Deposit) -> AsyncIterator[Update]:
        yield {}

    said = {
        other_state: "it takes a Other, but the graph's state is Account",
        other_message: "it takes a Close, but handles Deposit",
        other_context: "its parameter 'ctx' is the Context, not a int",
        number: "it returns int; a handler returns None, an update (a dict), its State, Goto, Reply or END",
        sends: "it returns Send; a handler returns",
        many: "it is a generator",
    }
    for fn, problem in said.items():
        graph = account()
        graph.on(Deposit, cast("Any", fn))
        assert problem in only_error(graph), fn


def test_a_handler_may_be_wider_than_its_type() -> None:
    """One for any message, over any state."""

    def log(state: State, msg: Message) -> None: ...
    def every(state: Account, msg: Deposit) -> Update | Account | Goto | Reply | End | None: ...

    graph = account()
    graph.on(Close, log)
    graph.on(Deposit, every)

    assert graph.check() == []


def test_a_reply_is_for_handlers() -> None:
    """Nobody asked a node."""
    graph = account(lifetime="run")

    def answer(state: Account) -> Reply: ...  # type: ignore[empty-body]

    graph.node(cast("Any", answer))

    assert "it returns Reply; a node returns" in only_error(graph)


@pytest.mark.parametrize(
    ("validate", "said"),
    [
        (deposit, "validate: deposit must be a plain sync function"),
        (lambda state: None, "validate: it takes only 'state'; it is called as (state, msg)"),
        (lambda state, msg, more: None, "validate: it also asks for 'more'; it is called as (state, msg)"),
        (3, "validate=3: give a function"),
    ],
)
def test_what_validates_is_checked(validate: Any, said: str) -> None:
    """It is called where a message is accepted, which can't wait."""
    graph = account()
    graph.on(Deposit, deposit, validate=validate)

    assert said in only_error(graph)


def test_what_validates_is_kept() -> None:
    """For whoever accepts messages."""

    def positive(state: Account, msg: Deposit) -> None:
        if msg.amount <= 0:
            raise ValueError("nothing comes in")

    graph = account()
    graph.on(Deposit, deposit, validate=positive)

    assert graph.plan.nodes["deposit"].validate is positive


# -- graphs inside ----------------------------------------------------------------


@pytest.mark.parametrize("mapped", [False, True])
def test_a_graph_with_handlers_can_not_be_inside(mapped: bool) -> None:
    """Messages are sent to runs, and a graph inside is none."""
    inner, outer = account(lifetime="run"), Graph("outer", Account)
    inner.node(lambda state: None, name="work")
    inner.on(Deposit, deposit)
    if mapped:
        outer.map(inner, over=3)
    else:
        outer.subgraph(inner)

    with pytest.raises(GraphError, match="graph 'account' handles messages, and so can't be inside"):
        _ = outer.plan


def test_an_actor_can_not_be_inside() -> None:
    """It would never be done."""
    inner, outer = account(), Graph("outer", Account)
    inner.node(lambda state: None, name="work")
    outer.subgraph(inner)

    with pytest.raises(GraphError, match="has lifetime='actor'"):
        _ = outer.plan


def test_a_graph_with_handlers_can_not_contain_itself() -> None:
    """It would be inside of itself."""
    graph = account(lifetime="run")
    graph.on(Deposit, deposit)
    graph.node(lambda state: END, name="work", goto=(END, "account"))
    graph.subgraph(graph)

    assert "'account' handles messages" in only_error(graph)


def test_what_is_received_inside_is_said_outside() -> None:
    """The run accepts what the outermost graph says."""
    inner = account(lifetime="run", messages=[Close])
    inner.node(lambda state: None, name="work")
    silent, handling, sound = Graph("outer", Account), account(), account(messages=[Close])
    handling.on(Close, lambda state, msg: None, name="close")
    sound.on(Deposit, deposit)
    for outer in (silent, handling, sound):
        outer.subgraph(inner, name="inner")

    assert "graph 'account' inside receives Close" in only_error(silent)
    assert "graph 'account' inside receives Close" in only_error(handling)
    assert sound.check() == []


# -- digests, migrations, locks, pictures -----------------------------------------


def test_the_digest_tells_handlers_and_lifetimes_apart() -> None:
    """What a run was claimed under is known by it; it does not depend on the order of declaration."""

    def digest(*types: type[Message], **options: Any) -> bytes:
        graph = account(**options)
        graph.node(lambda state: None, name="work", entry=True)
        for name, type_ in zip("ab", types, strict=False):
            graph.on(type_, lambda state, msg: None, name=name)
        return graph.plan.digest

    digests = [
        digest(),
        digest(lifetime="run"),
        digest(Deposit),
        digest(Deposit, lifetime="run"),
        digest(Close, lifetime="run"),
        digest(Deposit, Close),
        digest(Close, Deposit),
    ]

    assert len(set(digests)) == len(digests)
    assert digest(lifetime="run", messages=[Close]) == digest(lifetime="run")


def test_the_digest_of_a_graph_without_messages_is_what_it_was() -> None:
    """Runs saved before there were messages go on as under the same graph."""
    graph = account(lifetime="run")
    graph.node(lambda state: None, name="work")

    assert graph.plan.digest.hex() == "9b713b0b0eb364d0fc0965f877ec629c"


class Old(Message, version=1, name="Pay"):
    """As it was."""

    euros: int


class Pay(Message, version=2):
    """As it is."""

    cents: int


def test_messages_migrate_as_states_do() -> None:
    """By what their class says, or what a graph does; neither mixes with what the state has."""
    graph = account()
    graph.on(Pay, lambda state, msg: None, name="pay")

    @graph.migrate
    def in_cents(old: Old) -> Pay:
        return Pay(cents=old.euros * 100)

    @graph.migrate(from_=1, to=2)
    def of_the_state(old: dict[str, Any]) -> dict[str, Any]:
        return old

    pay = graph.plan.messages["Pay"]
    its = migrations_of(pay, graph.migrations)
    assert its == (in_cents,)
    assert migrations_of(graph.schema, graph.migrations) == (of_the_state,)
    assert upgrade(pay, chain(pay, 1, its), {"euros": 3}) == {"cents": 300}


def test_two_migrations_of_a_message_between_the_same_versions_are_refused() -> None:
    """At once, and in a class when the graph is checked."""
    graph = account()
    graph.migrate(lambda_of("first"))

    with pytest.raises(DuplicateMigration, match="two migrations of 'Pay'"):
        graph.migrate(lambda_of("second"))

    class Twice(Message, version=2, migrations=[migrate(lambda_of("first")), migrate(lambda_of("second"))]):
        pass

    graph.on(Twice, lambda state, msg: None, name="twice")
    assert "two migrations of 'Twice'" in only_error(graph)


def lambda_of(name: str) -> Any:
    """A migration that is another one each time."""

    def convert(old: Old) -> Pay:
        return Pay(cents=old.euros * 100)

    convert.__name__ = name
    return convert


def test_a_lock_holds_the_messages_that_may_wait() -> None:
    """A type whose fields changed without a new version is told before a deploy."""

    class Changed(Message, version=1, name="Deposit"):
        amount: str

    before, after = account(messages=[Close]), account()
    before.on(Deposit, deposit)
    before.on(Down, lambda state, msg: None, name="down")
    after.on(Changed, lambda state, msg: None, name="deposit")

    lock = SchemaLock().add(before)

    assert set(lock.schemas) == {"Account", "Deposit", "Close"}
    assert lock.problems(before) == ()
    assert "'amount' was int, is str" in lock.problems(after)[0]
    with pytest.raises(SchemaDrift, match="'amount' was int"):
        lock.add(after)


def test_pictures_show_what_a_handler_handles() -> None:
    """Nothing leads to it, so there is no start if all are handlers; it has a shape of its own."""
    graph = account()
    graph.on(Deposit, deposit, goto="audit")
    graph.node(lambda state: None, name="audit")

    assert graph.draw("text") == ("account: 2 nodes\n  deposit  [on Deposit]\n    ⇢ audit  (goto)\n  audit\n")
    assert graph.draw("mermaid") == (
        'flowchart TD\n    n0>"deposit<br/>on Deposit"]\n    n1["audit"]\n    n0 -. "goto" .-> n1\n'
    )
    dot, svg = graph.draw("dot"), graph.draw("svg")
    assert '"node deposit" [label="deposit\\non Deposit", shape=cds];' in dot
    assert "point start" not in dot
    assert "on Deposit" in svg
    assert "<title>start</title>" not in svg


def test_handlers_are_listed_above_what_they_lead_to_in_their_order() -> None:
    """What they go to is no way back, wherever it was declared."""
    graph = account(lifetime="run")
    graph.node(lambda state: None, name="work")
    graph.node(lambda state: None, name="rest", after="work")
    graph.on(Close, lambda state, msg: None, name="close")
    graph.on(Deposit, deposit, goto="rest")

    lines = graph.draw("text").splitlines()[1:]

    assert lines == [
        "  close  [on Close]",
        "  deposit  [on Deposit]",
        "    ⇢ rest  (goto)",
        "* work",
        "    → rest",
        "  rest",
    ]


def test_ways_that_messages_open_can_meet_in_a_join() -> None:
    """The next message may come while the last one is on its way: what pairs with what, nothing fixes."""
    graph = account()
    graph.on(Deposit, deposit, goto=("left", "right"))
    graph.node(lambda state: None, name="left")
    graph.node(lambda state: None, name="right")
    graph.node(lambda state: None, name="both", after=("left", "right"))

    found = [finding.problem for finding in graph.check() if "side by side" in finding.problem]

    assert len(found) == 2
