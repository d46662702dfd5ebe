"""What type checkers say about graphs. A line marked E is wrong on purpose, and both mypy and pyright must say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, assert_type

from actorflow import END, Context, End, Goto, Graph, Retry, State, Update, extend


class Mission(State, version=1):
    destination: str
    crew_size: int = 0
    trace: Annotated[list[str], extend] = []


class Other(State):
    n: int = 0


graph = Graph("mission", Mission)
assert_type(graph, Graph[Mission])

# -- State --------------------------------------------------------------------

mission = Mission(destination="Moon")
assert_type(mission.trace, list[str])
Mission()  # E: destination is missing
Mission("Moon")  # E: positional
mission.crew_size = 3  # E: frozen
Mission(destination=1)  # E: wrong type


# -- nodes: what is accepted, and that nothing is lost of its type ------------


@graph.node
async def define(state: Mission) -> Update:
    return {"trace": [state.destination]}


@graph.node(after=define, retry=Retry(attempts=4), timeout=30)
async def size_crew(state: Mission, ctx: Context) -> dict[str, int]:
    assert_type(ctx.attempt, int)
    assert_type(ctx.idempotency_key, str)
    ctx.log.info("sizing")
    return {"crew_size": 4}


@graph.node(after=(define, "size_crew"), goto=("define", define, END))
def route(state: Mission) -> Goto | End | None:
    return Goto(define, "size_crew", update={"crew_size": 5}) if state.crew_size else END


@graph.node(after=[define])
def whole(state: Mission) -> Mission:
    return Mission(destination=state.destination)


@graph.node
def base(state: State) -> None: ...


def serves_many(state: State) -> Update:
    return {}


def serves_others(state: Other) -> Update:
    return {}


async def called_as_it_is(ctx: Context) -> None:
    assert_type(await define(mission), Update)
    assert_type(await size_crew(mission, ctx), dict[str, int])
    await size_crew(mission)  # E: it takes the context as well


assert_type(route, Callable[[Mission], Goto | End | None])
assert_type(graph.node(whole, name="again"), Callable[[Mission], Mission])
graph.node(serves_many, after=define)
Graph("other", Other).node(serves_many)
graph.node(lambda state: {"crew_size": state.crew_size + 1}, name="more")


# -- nodes: what is refused ---------------------------------------------------


@graph.node  # E: another State
async def wrong_state(state: Other) -> Update:
    return {}


@graph.node(after=define)  # E: another State
def wrong_state_with_options(state: Other) -> Update:
    return {}


@graph.node  # E: no outcome
async def wrong_return(state: Mission) -> int:
    return 1


@graph.node(after=define)  # E: no outcome
def wrong_return_with_options(state: Mission) -> list[str]:
    return []


@graph.node  # E: no context
def wrong_context(state: Mission, ctx: int) -> Update:
    return {}


@graph.node  # E: too many parameters
def too_many(state: Mission, ctx: Context, more: int) -> Update:
    return {}


@graph.node  # E: no parameter
def too_few() -> Update:
    return {}


graph.node(serves_others, name="as_call")  # E: another State
graph.node(define, after=3)  # E: no reference
graph.node(define, retry=3)  # E: no policy
graph.node(define, "name")  # E: positional
Graph("wrong", dict)  # E: no State


# -- edges and branches -------------------------------------------------------

graph.edge(define, "size_crew")
graph.edge((define, "size_crew"), whole)
graph.edge(whole, END)
graph.edge(END, whole)  # E: nothing comes after END
graph.edge(define, 3)  # E: no target


@graph.branch(after=whole)
def verdict(state: Mission) -> Literal["define", "size_crew"] | End:
    return "define" if state.crew_size else END


@graph.branch(after="whole", to=(define, END))
def several(state: Mission) -> list[str]:
    return ["define"]


assert_type(verdict, Callable[[Mission], Literal["define", "size_crew"] | End])


@graph.branch(after=whole)  # E: another State
def wrong_branch(state: Other) -> Literal["define"]:
    return "define"


@graph.branch(after=whole)  # E: no target
def wrong_target(state: Mission) -> Literal["define"] | None:
    return None


@graph.branch(after=whole)  # E: async
async def wrong_colour(state: Mission) -> Literal["define"]:
    return "define"


@graph.branch  # E: after is missing
def nowhere(state: Mission) -> Literal["define"]:
    return "define"


# -- migrations ---------------------------------------------------------------


@graph.migrate(from_=1, to=2)
def add_risk(old: dict[str, Any]) -> dict[str, Any]:
    return {**old, "risk": "unknown"}


@graph.migrate(from_=1)  # E: to is missing
def half(old: dict[str, Any]) -> dict[str, Any]:
    return old
