"""Deletion and the id's next life, as a model: what a deleter that stalls may still delete, and what must survive.

The log is reduced to its newest commit: its number, what it says, its opening,
and the life it belongs to; a commit is the put-if-absent of the next number.
Beside it lie a message of each life, a large value of each epoch, the numbers,
and the active marker of each opening. Lanes are reduced to one mark: how many
messages of the one sender were taken, each once.

What happens (everybody may stop for ever between any two steps):

- Spawn: on nothing, or on a tombstone, whose opening, epoch and mark it
  continues: first the next opening's marker, then the commit.
- Send, and take: a message is put under its number if that is the next one, and
  taken by the run that lives if it is the mark's next. A message that was sent
  once may arrive again.
- Delete: the next opening's marker; the claim, which says deleted; the
  tombstone. Then clear away: list messages and look at the newest commit; if it
  is the tombstone, delete what was listed, the large values of older epochs and
  the lower numbers but the claims', and last the markers up to its opening.
- Scan: a marker of a run that is deleted, but for a tombstone or for clearing,
  makes somebody finish it.

What must hold: what a run that lives has put is there until it is deleted
itself; a run that is open, or whose deletion is not finished, has the marker of
its opening; a message changes the state once; openings never go back; what
fenced a stalled owner still has its number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The protocol's rules. The defaults are the protocol; each other value is a mistake."""

    lists_before_looking: bool = True  # False: by prefix, whatever is there when the deletion is sent
    values_by_epoch: bool = True  # False: every large value that is there
    numbers_below_tombstone: bool = True  # False: every number but the newest
    keeps_claims: bool = True
    marker_before_claim: bool = True
    marker_last: bool = True  # False: the marker goes before the rest is cleared away
    keeps_marks: bool = True  # False: the next life begins with no mark
    openings_go_on: bool = True  # False: the next life begins with opening 1


class Commit(NamedTuple):
    """The newest commit."""

    number: int = -1
    says: str = "nothing"  # open, deleting (the claim of a deleter), deleted (its tombstone)
    opening: int = 0
    life: int = 0
    mark: int = 0


class Deleter(NamedTuple):
    """A process that deletes: the next step, what it read, and what it listed."""

    phase: str
    commit: Commit = Commit()
    letters: int = 0
    attempts: int = 0


class State(NamedTuple):
    """The newest commit; what lies beside it, as bits; everybody's next step."""

    newest: Commit
    numbers: int  # that are there
    claims: int  # those of them that fenced somebody
    letters: int  # messages, by their numbers
    values: int  # by the life that put them
    active: int  # markers, by their openings
    taken: int  # how often any message was applied, in all lives
    sent: int  # messages that were ever put
    highest: int  # opening that there ever was
    spawner: Commit | None  # that has put its marker on top of this commit
    deleters: tuple[Deleter, ...]
    wrong: str


class Lives:
    """The model: ``lives`` of one id, ``messages`` of one sender, and deleters that stall."""

    def __init__(self, rules: Rules, *, lives: int = 2, messages: int = 2, deleters: int = 2) -> None:
        self.rules = rules
        self.bounds = (lives, messages, deleters)

    def initial(self) -> State:
        deleters = (Deleter("idle", attempts=1),) * self.bounds[2]
        return State(Commit(), 0, 0, 0, 0, 0, 0, 0, 0, None, deleters, "")

    def violation(self, state: State) -> str | None:
        newest = state.newest
        if state.wrong:
            return state.wrong
        if newest.says == "open" and not state.values >> newest.life & 1:
            return f"life {newest.life} lives, and its large value is gone"
        if newest.says == "open" and not state.active >> newest.opening & 1:
            return f"life {newest.life} lives, and no marker leads to it"
        if newest.says == "deleting" and not state.active >> newest.opening & 1:
            return "a deletion was begun, and no marker leads to it: nobody finishes it"
        if newest.number >= 0 and not state.numbers >> newest.number & 1:
            return "the newest commit is gone"
        if state.claims & ~state.numbers:
            return "a claim's number is free: who it fenced may get back in"
        if newest.says == "deleted" and not state.active >> newest.opening & 1 and self._rest(state):
            return "deleted, and something is left that no marker leads to"
        return None

    def _rest(self, state: State) -> bool:
        """Whether the deleted life left something that can still be read. A message may arrive late."""
        return bool(state.values & (2 << state.newest.life) - 1)

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        yield from self._spawn(state)
        yield from self._mail(state)
        for index, deleter in enumerate(state.deleters):
            for action, reached in self._delete(state, index, deleter):
                yield f"deleter {index} {action}", reached

    # -- lives --------------------------------------------------------------------

    def _spawn(self, state: State) -> Iterator[tuple[str, State]]:
        newest = state.newest
        if newest.says in ("nothing", "deleted") and newest.life < self.bounds[0] and state.spawner is None:
            opening = self._next_opening(newest)
            yield (
                f"a spawner puts marker {opening}",
                state._replace(active=state.active | 1 << opening, spawner=newest),
            )
        if state.spawner is None:
            return
        if newest != state.spawner:
            yield "the spawner finds its number taken", state._replace(spawner=None)
            return
        opening = self._next_opening(newest)
        mark = newest.mark if self.rules.keeps_marks else 0
        born = Commit(newest.number + 1, "open", opening, newest.life + 1, mark)
        wrong = f"opening {opening} follows opening {state.highest}" if opening <= state.highest else ""
        yield (
            f"life {born.life} is spawned, with opening {opening}",
            self._commit(state, born)._replace(
                values=state.values | 1 << born.life, spawner=None, highest=max(opening, state.highest), wrong=wrong
            ),
        )

    def _next_opening(self, newest: Commit) -> int:
        return newest.opening + 1 if self.rules.openings_go_on else 1

    def _commit(self, state: State, commit: Commit, *, fences: bool = False) -> State:
        numbers = state.numbers | 1 << commit.number
        claims = state.claims | (1 << commit.number if fences else 0)
        return state._replace(newest=commit, numbers=numbers, claims=claims)

    def _mail(self, state: State) -> Iterator[tuple[str, State]]:
        newest, messages = state.newest, self.bounds[1]
        sent = state.sent.bit_length()
        for number in range(1, messages + 1):
            if number <= sent + 1 and not state.letters >> number & 1 and newest.says == "open":
                put = state._replace(letters=state.letters | 1 << number, sent=state.sent | 1 << number - 1)
                yield f"message {number} arrives", put
        number = newest.mark + 1
        if newest.says == "open" and state.letters >> number & 1:
            again = state.taken >> number & 1
            took = newest._replace(mark=number)
            wrong = f"message {number} was applied twice" if again else ""
            yield (
                f"life {newest.life} takes message {number}",
                state._replace(newest=took, taken=state.taken | 1 << number, wrong=wrong),
            )

    # -- a deleter ------------------------------------------------------------------

    def _delete(self, state: State, index: int, deleter: Deleter) -> Iterator[tuple[str, State]]:
        newest = state.newest
        match deleter.phase:
            case "idle":
                yield from self._begin(state, index, deleter)
            case "claiming":
                yield from self._claim(state, index, deleter)
            case "burying":
                yield from self._bury(state, index, deleter)
            case "listing":
                heard = deleter._replace(phase="looking", letters=state.letters)
                yield "lists the messages", _with(state, index, heard)
            case "looking":
                if newest.says == "deleted":
                    seen = deleter._replace(phase="letters", commit=newest)
                    yield "sees the tombstone", _with(state, index, seen)
                else:
                    yield "sees that life goes on", _with(state, index, Deleter("done"))
            case _:
                yield from self._clear(state, index, deleter)

    def _begin(self, state: State, index: int, deleter: Deleter) -> Iterator[tuple[str, State]]:
        newest = state.newest
        scanned = state.active >> newest.opening & 1 and newest.says in ("deleting", "deleted")
        if newest.says == "open" and deleter.attempts:
            opening = newest.opening + 1
            active = state.active | (1 << opening if self.rules.marker_before_claim else 0)
            aimed = Deleter("claiming", newest)
            yield f"reads life {newest.life}, puts marker {opening}", _with(state._replace(active=active), index, aimed)
        elif newest.says == "deleting" and scanned:
            yield "finds a deletion that was begun", _with(state, index, Deleter("claiming", newest))
        elif newest.says == "deleted" and scanned:
            yield "finds a deletion that was not finished", _with(state, index, Deleter("listing"))

    def _claim(self, state: State, index: int, deleter: Deleter) -> Iterator[tuple[str, State]]:
        before = deleter.commit
        if state.newest != before:
            yield "finds its number taken", _with(state, index, Deleter("done"))
            return
        opening = before.opening if before.says == "deleting" else before.opening + 1
        claim = before._replace(number=before.number + 1, says="deleting", opening=opening)
        claimed = self._commit(state, claim, fences=True)._replace(highest=max(opening, state.highest))
        yield "claims the run as deleted", _with(claimed, index, Deleter("burying", claim))

    def _bury(self, state: State, index: int, deleter: Deleter) -> Iterator[tuple[str, State]]:
        if state.newest != deleter.commit:
            yield "is fenced", _with(state, index, Deleter("done"))
            return
        tombstone = deleter.commit._replace(number=deleter.commit.number + 1, says="deleted")
        buried = self._commit(state, tombstone)
        if not self.rules.marker_before_claim:
            buried = buried._replace(active=buried.active | 1 << tombstone.opening)
        yield "commits the tombstone", _with(buried, index, Deleter("listing"))

    def _clear(self, state: State, index: int, deleter: Deleter) -> Iterator[tuple[str, State]]:
        """One kind of things after the other; what is deleted was decided when the tombstone was seen."""
        tombstone = deleter.commit
        order = ("letters", "values", "numbers", "markers")
        if not self.rules.marker_last:
            order = ("letters", "markers", "values", "numbers")
        if deleter.phase not in order:
            return
        after = [*order, "done"][order.index(deleter.phase) + 1]
        match deleter.phase:
            case "letters":
                gone = deleter.letters if self.rules.lists_before_looking else state.letters
                lost = gone & state.letters & ~deleter.letters
                wrong = "a message of the next life was deleted" if lost and state.newest.says == "open" else ""
                cleared = state._replace(letters=state.letters & ~gone, wrong=wrong)
            case "values":
                below = (2 << tombstone.life) - 1 if self.rules.values_by_epoch else -1
                cleared = state._replace(values=state.values & ~below)
            case "numbers":
                below = 1 << tombstone.number if self.rules.numbers_below_tombstone else 1 << state.newest.number + 1
                kept = state.claims if self.rules.keeps_claims else 0
                cleared = state._replace(numbers=state.numbers & ~((below - 1) & ~kept))
            case _:
                cleared = state._replace(active=state.active & ~((2 << tombstone.opening) - 1))
        yield f"deletes the {deleter.phase}", _with(cleared, index, deleter._replace(phase=after))


def _with(state: State, index: int, deleter: Deleter) -> State:
    return state._replace(deleters=(*state.deleters[:index], deleter, *state.deleters[index + 1 :]))
