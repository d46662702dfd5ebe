"""A mission is planned under schema v1, then goes on under v2 and v3, which know more. Nothing is planned twice.

python examples/lunar_mission.py
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import anyio
from text import write

from actorflow import Graph, Migration, Retry, Run, Runtime, State, Update, extend, migrate

# -- version 1: what the first release knew --------------------------------------------


class MissionV1(State, name="Mission", version=1):
    """The plan of a mission. In files a schema is known by its name and version, not by its class."""

    destination: str
    objective: str = ""
    crew_size: int = 0
    timeline: str = ""
    trace: Annotated[list[str], extend] = []


def define_objective(state: MissionV1) -> Update:
    """A plain function: it runs in a worker thread, where it may wait for a model."""
    return {"objective": write(f"In one sentence: why fly to {state.destination}?"), "trace": ["define_objective"]}


async def size_crew(state: MissionV1) -> Update:
    """Two to eight people: the longer the objective, the more."""
    return {"crew_size": min(max(len(state.objective) // 12, 2), 8), "trace": ["size_crew"]}


def draft_timeline(state: MissionV1) -> Update:
    """The last node of version 1."""
    prompt = f"In one sentence, a timeline for {state.crew_size} people: {state.objective}"
    return {"timeline": write(prompt), "trace": ["draft_timeline"]}


S = TypeVar("S", bound=MissionV1)


def planning(state_type: type[S], *migrations: Migration) -> Graph[S]:
    """The three nodes that all versions have in common, over this version's state."""
    graph = Graph("lunar-mission", state_type, retry=Retry(attempts=4), migrations=migrations)
    graph.node(define_objective)
    graph.node(size_crew, after=define_objective)
    graph.node(draft_timeline, after=size_crew)
    return graph


v1 = planning(MissionV1)

# -- version 2: a field and a node more ------------------------------------------------


@migrate(from_=1, to=2)
def add_risks(old: dict[str, Any]) -> dict[str, Any]:
    """From plain data to plain data. Files stay as they are; the next commit is in version 2."""
    print("  migrating     1 -> 2")
    return {**old, "risk_assessment": "not assessed"}


class MissionV2(MissionV1, name="Mission", version=2):
    """A mission whose risks are known."""

    risk_assessment: str = ""


def assess_risks(state: MissionV2) -> Update:
    """Comes after draft_timeline, which was the end of version 1."""
    return {"risk_assessment": write(f"In one sentence, the risks of: {state.timeline}"), "trace": ["assess_risks"]}


v2 = planning(MissionV2, add_risks)
v2.node(assess_risks, after=draft_timeline)

# -- version 3: a field that follows from another one ----------------------------------


class MissionV3(MissionV2, name="Mission", version=3):
    """A mission on which everybody has a task."""

    roles: list[str] = []


@migrate
def assign_roles(old: MissionV2) -> MissionV3:
    """Typed from one version to the next: the versions are those of its types."""
    print("  migrating     2 -> 3")
    known = {name: getattr(old, name) for name in old.__struct_fields__}
    return MissionV3(**known, roles=["commander", *["specialist"] * (old.crew_size - 1)])


v3 = planning(MissionV3, add_risks, assign_roles)
v3.node(assess_risks, after=draft_timeline)


# -- what happens ----------------------------------------------------------------------


async def nodes_since_claim(run: Run[Any]) -> list[str]:
    """The nodes that ran since a process last took the run up, oldest first."""
    nodes: list[str] = []
    async for checkpoint in run.views():  # newest first
        if checkpoint.kind == "claimed":
            break
        if checkpoint.node is not None:
            nodes.insert(0, checkpoint.node)
    return nodes


async def main() -> None:
    """Plan two missions under v1; resume one under v2, the other under v3."""
    async with Runtime() as rt:
        artemis = (await rt.spawn(v1, MissionV1(destination="the lunar south pole"))).id
        apollo = (await rt.spawn(v1, MissionV1(destination="the Sea of Tranquility"))).id
        planned = await rt.get(artemis).result()
        print("planned under v1, one commit for each node:")
        async for checkpoint in rt.get(artemis).views():
            print(f"  commit {checkpoint.seq}: {checkpoint.node or checkpoint.kind}")

    print("resumed under v2:")
    async with Runtime() as rt:
        artemis_run = await rt.resume(v2, artemis)
        mission = await artemis_run.result()
        untouched = all(
            getattr(mission, name) == getattr(planned, name) for name in planned.__struct_fields__ if name != "trace"
        )
        print(f"  nodes run     {await nodes_since_claim(artemis_run)}")
        print(f"  trace         {mission.trace}")
        print(f"  crew          {mission.crew_size}")
        print(f"  risks         {mission.risk_assessment}")
        print(f"  other fields  {'untouched' if untouched else 'CHANGED'}")

    print("resumed under v3, straight from v1:")
    async with Runtime() as rt:
        apollo_run = await rt.resume(v3, apollo)  # saved under v1: add_risks, then assign_roles
        mission_v3 = await apollo_run.result()
        print(f"  nodes run     {await nodes_since_claim(apollo_run)}")
        print(f"  roles         {', '.join(mission_v3.roles)}")
        versions = [checkpoint.version async for checkpoint in apollo_run.views()]
        print(f"  versions      {versions[::-1]} in the history")


if __name__ == "__main__":
    anyio.run(main)
