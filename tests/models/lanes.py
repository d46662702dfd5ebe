"""Lanes, as a model: one sender, one receiver, and the files of the messages between them.

A message is a name, (generation, number), put once and perhaps again. What happens (the receiver may die between
any two steps; the sender forgets nothing but what it has not committed):

- Send: commit the next number together with an outbox entry; put the lowest entry; the entry goes when the
  message is known to be kept. A put may be lost, its reply may be lost, its packet may land later.
- Start over: a sender that lost count begins the next generation with an empty outbox.
- List: name by name, ascending, while others write; once more if the lane goes on in a newer generation.
- Take: decide; keep dead letters; commit what the messages did and the mark; send deletions, which arrive whenever.
- End the life: as taking, but all that would be taken becomes a dead letter. The next life goes on with the marks.
- Damage: a file that lies there is no longer what it was.

What must hold: no message is applied twice, or after a later one; what was known to be kept is applied or a dead
letter or still there, and a dead letter only if it was damaged or its receiver's life ended; and whenever everybody
then does what they should, each number of the sender's generation comes to its end: no lane stands still for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

GENERATIONS = 2

Name = tuple[int, int]  # generation, number


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The protocol's rules. The defaults are the protocol; each other value is a mistake."""

    sender_waits: bool = True  # False: n is put although n - 1 is not known to be kept
    rewind_keeps_outbox: bool = True
    only_next: bool = True  # False: whatever is above the mark is taken
    rest_before_switch: bool = True  # False: a newer generation is taken at once
    lists_again: bool = True  # False: one listing is enough to switch
    mark_names_generation: bool = True  # False: the mark is a number, of whatever generation
    refuses_older: bool = True  # False: a lane goes back to an older generation
    damaged_goes_on: bool = True  # False: the lane waits for a damaged message
    dead_before_delete: bool = True
    dead_before_mark: bool = True  # False: a damaged message is kept after the mark has passed it
    commit_before_delete: bool = True
    mark_with_effect: bool = True  # False: the mark is committed after what the message did
    marks_outlive_life: bool = True  # False: a deleted run forgets its marks
    deletion_passes: bool = True  # False: a deleted run's messages go, and its marks stay where they were
    rewind_keeps_marks: bool = True


class Decision(NamedTuple):
    """What to do about the messages that a listing shows."""

    taken: list[Name]
    mark: Name
    dead: list[Name]
    deletable: list[Name]


def decide(rules: Rules, mark: Name, listing: Iterable[Name]) -> Decision:
    """The receiver's decision, from the committed mark and the names it knows of."""
    taken: list[Name] = []
    dead: list[Name] = []
    deletable: list[Name] = []
    at = mark
    newest_first = not rules.rest_before_switch
    for name in sorted(listing, key=lambda name: (-name[0] if newest_first else name[0], name[1])):
        generation, number = name
        committed = generation, mark[1] if generation == mark[0] or not rules.mark_names_generation else 0
        if generation < mark[0] and rules.refuses_older:
            dead.append(name)
        elif name <= committed:
            deletable.append(name)
        elif generation == at[0] or not rules.mark_names_generation:
            if number == at[1] + 1 or (number > at[1] and not rules.only_next):
                taken.append(name)
                at = name
        elif number == 1 and (generation > at[0] or not rules.refuses_older):
            taken.append(name)
            at = name
    return Decision(taken, at, dead, deletable)


class Sender(NamedTuple):
    """What the sender has committed, and what it knows. Sets of names are bits."""

    generation: int = 1
    counter: int = 0
    outbox: int = 0
    known: int = 0  # known to be kept


class Receiver(NamedTuple):
    """What the receiver is about to do; it forgets this when it dies."""

    phase: str = "idle"  # or listing, relisting, or the write that comes next
    position: int = 0
    seen: int = 0
    firsts: int = 0  # of newer generations, in the first listing
    ending: bool = False  # the run is being deleted
    taken: int = 0
    damaged: int = 0  # of those: dead letters
    mark: Name = (1, 0)
    dead: int = 0
    deletable: int = 0


class State(NamedTuple):
    """Both sides, the files and packets between them, and how much may still go wrong."""

    sender: Sender
    receiver: Receiver
    mark: Name
    applied: int
    dead: int
    files: int
    damaged: int
    sent: int  # puts ever sent
    deletes: int  # deletions ever sent
    late: int
    damages: int
    rewinds: int
    lives: int
    wrong: str = ""


class Lanes:
    """The model, bounded by the numbers of a generation and by what may go wrong how often."""

    def __init__(
        self, rules: Rules, *, numbers: int, late: int = 0, damages: int = 0, lives: int = 0, rewinds: int = 0
    ) -> None:
        self.rules = rules
        self.numbers = numbers
        self.names = list(product(range(1, GENERATIONS + 1), range(1, numbers + 1)))
        self.bits = {name: 1 << index for index, name in enumerate(self.names)}
        self.budget = {"late": late, "damages": damages, "lives": lives, "rewinds": rewinds}

    def initial(self) -> State:
        return State(Sender(), Receiver(), (1, 0), 0, 0, 0, 0, 0, 0, **self.budget)

    def violation(self, state: State) -> str | None:
        if state.wrong:
            return state.wrong
        for name in self._of(state.sender.known & ~(state.files | state.applied | state.dead)):
            return f"message {_say(name)} was kept, and is gone"
        if state.receiver.phase == "idle" and (name := self._stuck(state)) is not None:
            return f"message {_say(name)} never comes to its end"
        return None

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        yield from self._sender(state)
        yield from self._network(state)
        yield from self._receiver(state)

    def _of(self, bits: int) -> list[Name]:
        return [name for name in self.names if bits & self.bits[name]]

    def _set(self, names: Iterable[Name]) -> int:
        return sum(self.bits[name] for name in names)

    # -- the sender ---------------------------------------------------------------

    def _sender(self, state: State) -> Iterator[tuple[str, State]]:
        sender = state.sender
        if sender.counter < self.numbers:
            name = sender.generation, sender.counter + 1
            following = sender._replace(counter=name[1], outbox=sender.outbox | self.bits[name])
            yield f"the sender commits message {_say(name)}", state._replace(sender=following)
        waiting = self._of(sender.outbox)
        for name in waiting[:1] if self.rules.sender_waits else waiting:
            bit = self.bits[name]
            sent = state._replace(sent=state.sent | bit)
            landed = sent._replace(files=state.files | bit)
            heard = sender._replace(outbox=sender.outbox & ~bit, known=sender.known | bit)
            yield f"the sender puts message {_say(name)}", landed._replace(sender=heard)
            yield f"the sender puts message {_say(name)}, the reply is lost", landed
            yield f"the sender puts message {_say(name)}, nothing arrives yet", sent
        if sender.generation < GENERATIONS:
            following = Sender(sender.generation + 1, known=sender.known)
            yield "the sender starts over", state._replace(sender=following)
        if state.rewinds and sender.outbox and not self.rules.rewind_keeps_outbox:
            following = sender._replace(outbox=0)
            yield "the sender is rewound", state._replace(sender=following, rewinds=state.rewinds - 1)

    # -- in between ---------------------------------------------------------------

    def _network(self, state: State) -> Iterator[tuple[str, State]]:
        for name in self._of(state.sent & ~state.files):
            if state.late:
                reached = state._replace(files=state.files | self.bits[name], late=state.late - 1)
                yield f"a late PUT of message {_say(name)} lands", reached
        for name in self._of(state.files & state.deletes):
            gone = ~self.bits[name]
            reached = state._replace(files=state.files & gone, damaged=state.damaged & gone)
            yield f"a DELETE of message {_say(name)} arrives", reached
        for name in self._of(state.files & ~state.damaged):
            if state.damages:
                reached = state._replace(damaged=state.damaged | self.bits[name], damages=state.damages - 1)
                yield f"message {_say(name)} is damaged", reached

    # -- the receiver -------------------------------------------------------------

    def _receiver(self, state: State) -> Iterator[tuple[str, State]]:
        receiver = state.receiver
        if receiver.phase == "idle":
            yield "the receiver begins to list", state._replace(receiver=Receiver("listing"))
            if state.lives:
                listing = state._replace(receiver=Receiver("listing", ending=True), lives=state.lives - 1)
                yield "somebody deletes the run and begins to list", listing
            if state.rewinds and not self.rules.rewind_keeps_marks:
                yield "the receiver is rewound", state._replace(mark=(1, 0), rewinds=state.rewinds - 1)
            return
        if not receiver.ending:
            yield "the receiver dies", state._replace(receiver=Receiver())
        if receiver.phase in {"listing", "relisting"}:
            yield self._list(state, receiver)
        else:
            yield self._write(state, receiver)

    def _list(self, state: State, receiver: Receiver) -> tuple[str, State]:
        """Look at the next name; at the end, decide or list again."""
        if receiver.position < len(self.names):
            name = self.names[receiver.position]
            seen = receiver.seen | (state.files & self.bits[name])
            looked = receiver._replace(position=receiver.position + 1, seen=seen)
            return f"the receiver looks for message {_say(name)}", state._replace(receiver=looked)
        firsts = self._set(name for name in self._of(receiver.seen) if name[0] > state.mark[0] and name[1] == 1)
        if firsts and receiver.phase == "listing" and self.rules.lists_again:
            again = Receiver("relisting", firsts=firsts, ending=receiver.ending)
            return "the receiver lists again", state._replace(receiver=again)
        seen = receiver.seen & ~(firsts & ~receiver.firsts) if receiver.phase == "relisting" else receiver.seen
        decided = self._decided(state, self._of(seen & state.files), receiver)
        return f"the receiver decides on {[_say(name) for name in self._of(seen)]}", state._replace(receiver=decided)

    def _decided(self, state: State, listing: list[Name], receiver: Receiver) -> Receiver:
        if not self.rules.damaged_goes_on:
            stop = next((name for name in self._of(state.damaged & self._set(listing)) if name > state.mark), None)
            listing = [name for name in listing if stop is None or name < stop]
        decision = decide(self.rules, state.mark, listing)
        taken = self._set(decision.taken)
        decided = Receiver(
            ending=receiver.ending,
            taken=taken,
            damaged=taken & state.damaged,
            mark=decision.mark,
            dead=self._set(decision.dead),
            deletable=self._set(decision.deletable),
        )
        if receiver.ending and not self.rules.deletion_passes:
            decided = decided._replace(mark=state.mark)
        return decided._replace(phase=self._order(decided)[0])

    def _order(self, receiver: Receiver) -> list[str]:
        """The writes, in order."""
        rules = self.rules
        dead = ["bury"] if receiver.dead or receiver.damaged or receiver.ending else []
        commit = ["commit"] if rules.mark_with_effect else ["commit effect", "commit mark"]
        if not rules.commit_before_delete:
            return [*dead, "delete", *commit]
        if not rules.dead_before_delete:
            return [*commit, "delete", *dead]
        return [*dead, *commit, "delete"] if rules.dead_before_mark else [*commit, *dead, "delete"]

    def _write(self, state: State, receiver: Receiver) -> tuple[str, State]:
        order = self._order(receiver)
        place = order.index(receiver.phase)
        following = receiver._replace(phase=order[place + 1]) if place + 1 < len(order) else Receiver()
        written = getattr(self, "_" + receiver.phase.replace(" ", "_"))(state, receiver)
        return f"the receiver will {receiver.phase}", written._replace(receiver=following)

    def _bury(self, state: State, receiver: Receiver) -> State:
        """Only what is still there can be kept."""
        for name in self._of(receiver.dead & state.files & state.sender.known & ~(state.applied | state.dead)):
            if not state.damaged & self.bits[name]:
                state = state._replace(wrong=f"message {_say(name)} was kept, and ends as a dead letter")
        unwanted = receiver.dead | (receiver.taken if receiver.ending else receiver.damaged)
        return state._replace(dead=state.dead | (unwanted & state.files))

    def _commit(self, state: State, receiver: Receiver) -> State:
        return self._commit_mark(self._commit_effect(state, receiver), receiver)

    def _commit_effect(self, state: State, receiver: Receiver) -> State:
        if receiver.ending:
            return state
        applied, wrong = state.applied, state.wrong
        for name in self._of(receiver.taken & ~receiver.damaged):
            if applied & self.bits[name]:
                wrong = wrong or f"message {_say(name)} is applied twice"
            elif any(later > name for later in self._of(applied)):
                wrong = wrong or f"message {_say(name)} is applied after a later one"
            applied |= self.bits[name]
        return state._replace(applied=applied, wrong=wrong)

    def _commit_mark(self, state: State, receiver: Receiver) -> State:
        cleared = receiver.ending and not self.rules.marks_outlive_life
        return state._replace(mark=(1, 0) if cleared else receiver.mark)

    def _delete(self, state: State, receiver: Receiver) -> State:
        """Only what an earlier commit, or a dead letter, has set free; of a run that ends, all that is settled."""
        free = receiver.deletable | receiver.dead
        if receiver.ending or not self.rules.commit_before_delete:
            free |= receiver.taken
        return state._replace(deletes=state.deletes | free)

    # -- the end ------------------------------------------------------------------

    def _stuck(self, state: State) -> Name | None:
        """The first number that does not come to its end, if from now on nothing fails and nobody dies."""
        outbox, files, damaged, mark = state.sender.outbox, state.files, state.damaged, state.mark
        settled = state.applied | state.dead
        while True:
            files |= outbox
            decided = self._decided(
                state._replace(files=files, mark=mark, damaged=damaged), self._of(files), Receiver()
            )
            settled |= decided.taken | decided.dead
            left = files & ~(decided.taken | decided.dead | decided.deletable)
            if (0, left, decided.mark) == (outbox, files, mark):
                break
            outbox, files, damaged, mark = 0, left, damaged & left, decided.mark
        expected = [(state.sender.generation, number) for number in range(1, state.sender.counter + 1)]
        return next((name for name in expected if not settled & self.bits[name]), None)


def _say(name: Name) -> str:
    return f"{name[0]}.{name[1]}"
