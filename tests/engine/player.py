"""The player: a seeded scheduler that runs a sketch to its end, through crashes, failures and reopenings."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from actorflow.engine.decision import place_of
from actorflow.engine.events import Answering, Due, Pausing, Raised, Returned, Suspended
from actorflow.engine.merge import typed
from actorflow.engine.records import Ask
from actorflow.engine.scopes import item_of
from actorflow.engine.snapshot import dump, load
from actorflow.engine.waits import name_of, questions
from actorflow.errors import ConcurrentWrite
from tests.engine.driver import Driver, picture, replayed
from tests.engine.generator import Boom, Sketch, World
from tests.engine.nested import NestedSketch, Spoilt
from tests.engine.witness import Ledger, Violation, demand

if TYPE_CHECKING:
    from actorflow.engine.decision import Decision
    from actorflow.engine.run import Activation, RunState
    from actorflow.graph.plan import Plan
    from tests.engine.driver import Durability

COMMITS = {"sync": 1.0, "async": 0.5, "exit": 0.1}
"""How likely a commit is made after a batch."""

TROUBLES = 8
"""How much may go wrong in one execution; then it is left in peace, so that it comes to an end."""

ENDLESS = 10_000
"""No execution of these graphs takes so many batches."""


@dataclass(frozen=True)
class Played:
    """How one execution ended."""

    verdict: str  # "finished", or the name of the error that ended it
    state: World
    keys: frozenset[bytes]  # of all that finished
    witness: Any
    run: Driver


def play(
    sketch: Sketch,
    seed: int,
    *,
    durability: Durability = "sync",
    troubled: bool = False,
    watched: bool = True,
    driver: type[Driver] = Driver,
) -> Played:
    """Run a sketch in an order of the seed's choosing.

    Args:
        sketch: the graph.
        seed: decides what returns next, what is committed together and what goes wrong.
        durability: under ``async`` and ``exit`` a crash loses what was not committed.
        troubled: let nodes and branches fail, and processes die.
        watched: let the witness object to every step.
        driver: a test plants its mistakes in a subclass.
    """
    player = _Player(sketch, seed, durability, troubles=TROUBLES if troubled else 0, watched=watched, driver=driver)
    return player.run_to_end()


class _Player:
    def __init__(
        self, sketch: Sketch, seed: int, durability: Durability, *, troubles: int, watched: bool, driver: type[Driver]
    ) -> None:
        self.rng = Random(seed)
        self.sketch = sketch
        self.troubles = troubles
        self.watched = watched
        self.run = driver(sketch.graph, World(), durability=durability)
        self.ledger = Ledger()
        self.witness = sketch.witness(self.ledger, self.run.history)
        sketch.strike = lambda: self._strike(0.2)

    def run_to_end(self) -> Played:
        run = self.run
        for _ in range(ENDLESS):
            if run.run.ended:
                if self._trouble(0.3):  # the process dies before it has told anybody
                    self._recover(reopen=False)
                    continue
                run.commit()
                if run.run.error is None or run.run.error.type != Boom.__name__:
                    break
                self._recover(reopen=True)
            elif self._trouble(0.1):
                self._recover(reopen=False)
            else:
                if self.rng.random() < 0.2:
                    self._pass_through_snapshot()
                self._batch()
        else:
            raise Violation("a run does not come to its end")
        self._demand_history()
        verdict = "finished" if run.run.error is None else run.run.error.type
        keys = frozenset(self.witness.keys[id_] for id_ in self.witness.finished)
        return Played(verdict, run.state, keys, self.witness, run)

    # -- trouble --------------------------------------------------------------------------

    def _trouble(self, chance: float) -> bool:
        if self.troubles and self.rng.random() < chance:
            self.troubles -= 1
            return True
        return False

    def _strike(self, chance: float) -> None:
        if self._trouble(chance):
            raise Boom

    def _recover(self, *, reopen: bool) -> None:
        """Die, and come back from what was committed."""
        committed = self.run.finishes
        self.run.recover(reopen=reopen)
        self.witness = self.sketch.witness(self.ledger, self.run.history)
        if self.watched:
            self.witness.compare(self.run.run)
            demand(self.run.finishes >= committed, "a committed finish was lost")

    def _pass_through_snapshot(self) -> None:
        """A run that was dumped and loaded is the same run, and the play goes on with it."""
        again = load(dump(self.run.run))
        demand(picture(again) == picture(self.run.run), "a snapshot differs from its run")
        self.run.run = again

    # -- one batch -------------------------------------------------------------------------

    def _batch(self) -> None:
        """Some of what is ready returns or raises; records are in the order in which activations were opened."""
        run, rng = self.run, self.rng
        self._steer()
        if run.run.ended:
            return
        demand(bool(run.ready), "nothing is ready in a run that goes on", run.frontier)
        many = min(len(run.ready), rng.choice([1, 1, 2, 3]))
        for id_ in sorted(rng.sample(list(run.ready), many)):
            if run.run.ended or run.crashed is not None:
                break
            if id_ not in run.ready:  # another one's failure restarted the item that it was in
                continue
            self._watch(id_, run.decide(self._outcome(id_)))
        if run.crashed is not None:
            self._crash()
        elif not run.run.ended and rng.random() < COMMITS[run.run.durability]:
            run.commit()

    def _outcome(self, id_: int) -> Returned | Raised:
        run = self.run
        activation, attempt = run.run.open[id_], run.ready[id_]
        demand(not activation.merged, "a node runs again although its update is in", activation.node)
        try:
            if not _is_collected(run.graph.plan, run.run, activation):  # there a failure is a result
                self._strike(0.1)
            place = place_of(run.graph.plan, run.run, activation)
            given = typed(place.schema, activation.base) if activation.fan is None else item_of(place)
            value = place.node.fn(given)
        except (Boom, Spoilt) as error:
            return Raised(id_, error, attempt, now=0.0)
        return Returned(id_, value, attempt=attempt)

    def _steer(self) -> None:
        """Let what only waits go on: times come, questions are answered, a pause ends. And begin some of that."""
        run, rng = self.run, self.rng
        if isinstance(self.sketch, NestedSketch) and run.ready and self.troubles and rng.random() < 0.1:
            if rng.random() < 0.3:
                self._watch(0, run.decide(Pausing(on=not run.run.paused)))
            else:
                id_ = rng.choice(sorted(run.ready))
                self._watch(id_, run.decide(Suspended(id_, (Ask(f"q{len(run.run.open[id_].answers)}", "ask"),))))
        if not run.ready:
            run.commit()
        for _ in range(1000):
            if run.run.ended or run.ready:
                return
            if run.expiring:
                id_ = min(run.expiring)
                self._watch(id_, run.decide(Due(id_, run.expiring.pop(id_))))
            elif run.run.paused:
                self._watch(0, run.decide(Pausing(on=False)))
            elif asks := list(questions(run.run)):
                activation, ask = rng.choice(asks)
                self._watch(activation.id, run.decide(Answering(True, name_of(activation, ask))))
            else:
                return
            run.commit()

    def _watch(self, id_: int, decision: Decision) -> None:
        if not self.watched:
            return
        if isinstance(decision.cause, ConcurrentWrite) and not isinstance(self.sketch, NestedSketch):
            node = self.witness.nodes[id_]
            expected = self.sketch.plain_writes(node) & self.witness.unseen(id_)
            demand(frozenset(decision.cause.fields) == expected, "a conflict is not one", node, expected)
        for record in decision.records:
            self.witness.see(record)
        self.witness.compare(self.run.run)

    def _crash(self) -> None:
        """What an actor does about an exception: commit what it has; then the supervisor restarts it, or gives up."""
        if self.rng.random() < 0.5:
            self.run.commit()
        if self.rng.random() < 0.5:
            self._recover(reopen=False)
            return
        self.run.gives_up()
        self._recover(reopen=True)

    # -- the end -----------------------------------------------------------------------------

    def _demand_history(self) -> None:
        if not self.watched:
            return
        history = self.run.history
        demand(picture(replayed(history)) == picture(self.run.run), "the history is not the run")
        witness = self.sketch.witness(self.ledger, history)
        demand(witness.finished == self.witness.finished, "finishes differ from the history")
        if not isinstance(self.sketch, NestedSketch):  # there a scope may be entered again, under the keys it had
            demand(len(set(witness.keys.values())) == len(witness.keys), "two activations share a key")


def _is_collected(plan: Plan, run: RunState, activation: Activation) -> bool:
    """Whether an activation is, or is inside, an item whose failure is collected."""
    around: Activation | None = activation
    while around is not None:
        fan = place_of(plan, run, around).node.fan
        if fan is not None and fan.on_error == "collect":
            return True
        around = run.owner_of(around)
    return False
