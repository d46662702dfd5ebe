"""spawn: an input makes the decision that begins a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from actorflow.engine.decide import settle
from actorflow.engine.decision import Decision
from actorflow.engine.fold import begin
from actorflow.engine.inputs import checked_input, input_digest
from actorflow.engine.keys import key_of, run_key
from actorflow.engine.records import Open, Spawned

if TYPE_CHECKING:
    from actorflow.graph.plan import Plan
    from actorflow.graph.state import State


def spawn(
    plan: Plan,
    state: State,
    *,
    run_id: str,
    life: int = 1,
    durability: Literal["sync", "async", "exit"] = "sync",
    now: float = 0.0,
) -> Decision:
    """The decision that begins a run.

    Raises:
        BadUpdate: the state can't be encoded, or has a value of the wrong type.
    """
    values = checked_input(plan.schema, state)
    seed = run_key(run_id, life)
    record = Spawned(
        run_id=run_id,
        life=life,
        graph=plan.graph,
        topology=plan.digest,
        durability=durability,
        digest=input_digest(plan.schema, values),
        values=values,
        opens=tuple(Open(node, key_of(seed, b"entry", node.encode())) for node in plan.entries),
        lifetime=plan.lifetime,
    )
    decision = Decision(plan, begin(record), [record], now=now)
    decision.begin.extend(decision.run.open)
    settle(decision)
    if decision.run.ended:  # nothing to do at all: that it is over is for its actor to commit
        return Decision(plan, begin(record), [record])
    return decision
