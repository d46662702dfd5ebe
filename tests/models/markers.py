"""Markers, as a model: small names outside a run's log, by which a scan finds what must go on.

The log is reduced to its newest commit: its number, what it says, and the
**opening** it belongs to (spawning is the first; each reopening and each wake
is one more). A commit is the put-if-absent of the next number, so whoever read
an older newest commit fails and looks again.

What happens (everybody may stop for ever between any two steps):

- Open: read the newest commit; put `active/<id>.<n>` for the next opening n;
  only then commit that opens the run for the nth time.
- Take over: a scan that finds `active/<id>.<n>` of an unfinished run whose owner
  is gone claims it, in the same opening.
- Finish: commit, nothing else.
- Sleep: commit the release, then put `asleep/<due hour>/<id>.<number>`.
- Tidy: an active marker may be deleted if the newest commit says a later
  opening, or this one and finished, or is this one's release and its asleep
  marker is there; an asleep marker, if the newest number is above its own. A
  DELETE that was ever sent may arrive at any time, and again.
- Void: a marker whose opener never committed is removed only after a commit has
  occupied the number that its opener would take, and taken the opening with it.
  (Only where the run is finished or never was: a sleeping run is woken instead.)

What must hold: a run that is open has the active marker of its opening; one that
sleeps has that or its asleep marker. Nothing else is ever looked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

OVER = frozenset({"nothing", "finished", "void"})  # what may be opened as new; "asleep" may be woken


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The protocol's rules. The defaults are the protocol; each other value is a mistake."""

    marker_before_commit: bool = True
    marker_names_opening: bool = True  # False: one active marker per id
    asleep_names_number: bool = True  # False: one asleep marker per id
    reopening_counts: bool = True  # False: a finished run is opened again under its old number
    wake_counts: bool = True
    asleep_before_delete: bool = True
    asleep_outlives_release: bool = True  # False: it may go while the release is the newest commit
    void_occupies: bool = True  # False: a marker without commit is just deleted
    void_takes_opening: bool = True
    looks_again: bool = True  # False: an opener that finds its number taken tries the next one, opening unchanged


class Commit(NamedTuple):
    """The newest commit."""

    number: int = -1
    says: str = "nothing"  # open, asleep, finished, void
    opening: int = 0


class Worker(NamedTuple):
    """A process that opens, takes over, runs, ends, or tidies up: what it is about to write."""

    phase: str
    commit: Commit = Commit()
    attempts: int = 0


class State(NamedTuple):
    """The newest commit, the names beside the log (as bits), the deletions ever sent, the workers."""

    newest: Commit
    active: int
    asleep: int
    active_deletes: int
    asleep_deletes: int
    workers: tuple[Worker, ...]


class Markers:
    """The model, bounded by the commits of the run and how often each worker may look at it."""

    def __init__(self, rules: Rules, *, workers: int, numbers: int, attempts: int = 2) -> None:
        self.rules = rules
        self.workers = workers
        self.numbers = numbers
        self.attempts = attempts

    def initial(self) -> State:
        return State(Commit(), 0, 0, 0, 0, (Worker("fresh", attempts=self.attempts),) * self.workers)

    def violation(self, state: State) -> str | None:
        newest = state.newest
        found = state.active & self._active(newest.opening)
        if newest.says == "open" and not found:
            return f"opening {newest.opening} is open, but no scan finds it"
        if newest.says == "asleep" and not found and not state.asleep & self._asleep(newest.number):
            return f"opening {newest.opening} sleeps, but nothing will wake it"
        return None

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        yield from self._tidy(state)
        yield from self._arrivals(state)
        for index, worker in enumerate(state.workers):
            if index and state.workers[index - 1].phase == "fresh":
                break  # workers are alike: they begin in order
            for action, reached in self._worker(state, index, worker):
                yield f"worker {index} {action}", reached

    # -- names ------------------------------------------------------------------

    def _active(self, opening: int) -> int:
        """The active marker of this opening, as a bit."""
        return 1 << opening if self.rules.marker_names_opening else 1

    def _asleep(self, number: int) -> int:
        """The asleep marker of the release of this number, as a bit."""
        return 1 << number if self.rules.asleep_names_number else 1

    # -- deletions --------------------------------------------------------------

    def _tidy(self, state: State) -> Iterator[tuple[str, State]]:
        """Send a deletion that the newest commit allows."""
        newest = state.newest
        for opening in range(1, newest.opening + 2):
            marker = self._active(opening)
            if state.active & marker & ~state.active_deletes and self._may_go(state, opening):
                reached = state._replace(active_deletes=state.active_deletes | marker)
                yield f"somebody sends: delete the active marker of opening {opening}", reached
        for number in range(newest.number + 1):
            marker = self._asleep(number)
            passed = newest.number > number or not self.rules.asleep_outlives_release
            if state.asleep & marker & ~state.asleep_deletes and passed:
                reached = state._replace(asleep_deletes=state.asleep_deletes | marker)
                yield f"somebody sends: delete the asleep marker {number}", reached

    def _may_go(self, state: State, opening: int) -> bool:
        """Do the rules set this active marker free?"""
        newest = state.newest
        if newest.opening > opening:
            return True
        if newest.opening < opening:
            unwanted = newest.says in OVER and not self.rules.void_occupies
            return unwanted or (newest.says == "void" and not self.rules.void_takes_opening)
        if newest.says == "asleep":
            return bool(state.asleep & self._asleep(newest.number)) or not self.rules.asleep_before_delete
        return newest.says in OVER

    def _arrivals(self, state: State) -> Iterator[tuple[str, State]]:
        """Deletions arrive: of whatever bears that name by now."""
        for bit in range(self.numbers + 2):
            if state.active & state.active_deletes & 1 << bit:
                yield f"a DELETE of active marker {bit} arrives", state._replace(active=state.active & ~(1 << bit))
            if state.asleep & state.asleep_deletes & 1 << bit:
                yield f"a DELETE of asleep marker {bit} arrives", state._replace(asleep=state.asleep & ~(1 << bit))

    # -- a worker ---------------------------------------------------------------

    def _worker(self, state: State, index: int, worker: Worker) -> Iterator[tuple[str, State]]:
        """Everything that this worker can do next."""
        commit = worker.commit
        match worker.phase:
            case "fresh" | "looking":
                yield from self._look(state, index, worker)
            case "marking":
                marked = state._replace(active=state.active | self._active(commit.opening))
                following = "committing" if self.rules.marker_before_commit else "owning"
                reached = _with(marked, index, worker._replace(phase=following))
                yield f"puts the active marker of opening {commit.opening}", reached
            case "committing" | "taking over" | "ending" | "voiding":
                yield self._commit(state, index, worker)
            case "owning" if commit.number + 1 < self.numbers:
                for says in ("finished", "asleep"):
                    ending = Commit(commit.number + 1, says, commit.opening)
                    yield f"will commit: {says}", _with(state, index, Worker("ending", ending, worker.attempts))
            case "lying down":
                reached = state._replace(asleep=state.asleep | self._asleep(commit.number))
                yield f"puts the asleep marker {commit.number}", _with(reached, index, _begins_again(worker))

    def _look(self, state: State, index: int, worker: Worker) -> Iterator[tuple[str, State]]:
        """Read the newest commit and decide what to write after it."""
        newest = state.newest
        number = newest.number + 1
        if not worker.attempts or number >= self.numbers:
            return
        attempts = worker.attempts - 1
        if newest.says == "open":
            if state.active & self._active(newest.opening):
                commit = Commit(number, "open", newest.opening)
                taking = Worker("taking over", commit, attempts)
                yield f"finds the marker of opening {newest.opening}, will take over", _with(state, index, taking)
            return
        counts = self.rules.wake_counts if newest.says == "asleep" else self.rules.reopening_counts
        commit = Commit(number, "open", newest.opening + 1 if counts or newest.says == "nothing" else newest.opening)
        phase = "marking" if self.rules.marker_before_commit else "committing"
        yield f"reads {_say(newest)}, will open", _with(state, index, Worker(phase, commit, attempts))
        if newest.says in OVER and state.active & self._active(newest.opening + 1) and self.rules.void_occupies:
            taken = newest.opening + 1 if self.rules.void_takes_opening else newest.opening
            voiding = Worker("voiding", Commit(number, "void", taken), attempts)
            yield f"reads {_say(newest)}, will void opening {newest.opening + 1}", _with(state, index, voiding)

    def _commit(self, state: State, index: int, worker: Worker) -> tuple[str, State]:
        """Put-if-absent of the next number."""
        commit = worker.commit
        if state.newest.number >= commit.number:
            return f"finds number {commit.number} taken", _with(state, index, self._refused(state, worker))
        match worker.phase:
            case "committing" if not self.rules.marker_before_commit:
                following = worker._replace(phase="marking")
            case "committing" | "taking over":
                following = worker._replace(phase="owning")
            case _:
                following = worker._replace(phase="lying down") if commit.says == "asleep" else _begins_again(worker)
        return f"commits: {_say(commit)}", _with(state._replace(newest=commit), index, following)

    def _refused(self, state: State, worker: Worker) -> Worker:
        """Somebody else was first: look again."""
        number = state.newest.number + 1
        stubborn = worker.phase == "committing" and not self.rules.looks_again and worker.attempts
        if stubborn and state.newest.says in OVER and number < self.numbers:
            return worker._replace(commit=worker.commit._replace(number=number), attempts=worker.attempts - 1)
        return _begins_again(worker)


def _begins_again(worker: Worker) -> Worker:
    return Worker("looking" if worker.attempts else "done", attempts=worker.attempts)


def _say(commit: Commit) -> str:
    return f"{commit.number}: {commit.says}, opening {commit.opening}" if commit.number >= 0 else "nothing"


def _with(state: State, index: int, worker: Worker) -> State:
    """The state with this worker in place of the one that was there."""
    return state._replace(workers=(*state.workers[:index], worker, *state.workers[index + 1 :]))
