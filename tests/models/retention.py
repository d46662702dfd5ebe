"""Retention and merging on the object log, as a model: names come free while writers stall and owners change.

Claims and commits are as in the model of the object log, without lost replies.
Some commits hold a snapshot. Beside the writers there are:

- **Mergers** (the owner, or who was it once). Each reads the chain from some
  number up to the commit before the newest snapshot, puts those frames as one
  file `<first>-<last>` if that name is free, and then deletes the loose names
  in the range: never the newest commit's, never a claim's (but of a claim on top
  of a release). If the name was taken, only what the file there holds counts.
- **Retention**. It puts the floor, a snapshot's number at most as high as the
  newest snapshot, and then deletes loose names below it by the same rule, and
  merged files that lie below it as a whole.

Everybody may stop for ever between any two steps, and a DELETE that was ever
sent may arrive at any time, and again.

A reader goes back from the newest loose name by parents, to the floor. What
must hold: each commit on that way is there, under its loose name or in a merged
file; the newest frame is only ever replaced by one that has it in its history;
what a writer takes for acknowledged stays in the history of the newest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTHING = -1


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The protocol's rules. The defaults are the protocol; each other value is a mistake."""

    frees_claims: bool = False
    frees_newest: bool = False
    merges_under: str = "first-last"  # or "first": the merged file takes the name of its first commit
    deletes_after_put: bool = True
    floor_before_deletes: bool = True
    floor_at_snapshot: bool = True  # False: anywhere below the newest commit


class Frame(NamedTuple):
    """One commit; it knows its parent, and so stands for the whole history."""

    number: int
    parent: int
    kind: str  # claim, commit, snapshot, release
    writer: int


class Writer(NamedTuple):
    """One incarnation: what it is about to put, or the last frame it knows to be kept."""

    phase: str
    frame: int = NOTHING
    attempts: int = 0


class Merger(NamedTuple):
    """A merge: of which frames, and how far it got."""

    phase: str
    frames: tuple[int, ...] = ()


class State(NamedTuple):
    """The loose names, the merged files, the floor; deletions ever sent; everybody's next step."""

    names: tuple[tuple[int, ...], ...]  # frames under each loose name: one, or (a mistake) several
    spans: frozenset[tuple[int, ...]]  # merged files; the frames say the name
    floor: int
    deletes: int  # loose numbers, as bits
    span_deletes: frozenset[tuple[int, ...]]
    next_floor: int  # a mistake: the floor that is still to be put
    cleanings: int  # how often retention may still run
    writers: tuple[Writer, ...]
    mergers: tuple[Merger, ...]
    wrong: str


class Retained:
    """The model."""

    def __init__(
        self, rules: Rules, *, writers: int = 2, numbers: int = 5, mergers: int = 1, cleanings: int = 1
    ) -> None:
        self.rules = rules
        self.bounds = (writers, numbers, mergers, cleanings)
        self.numbers = numbers
        self._frames: list[Frame] = []
        self._ids: dict[Frame, int] = {}

    def initial(self) -> State:
        writers, numbers, mergers, cleanings = self.bounds
        idle = (Merger("idle"),) * mergers
        return State(
            ((),) * numbers,
            frozenset(),
            0,
            0,
            frozenset(),
            0,
            cleanings,
            (Writer("fresh", NOTHING, 2),) * writers,
            idle,
            "",
        )

    def violation(self, state: State) -> str | None:
        return state.wrong or self._unreadable(state)

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        yield from self._arrivals(state)
        for index, writer in enumerate(state.writers):
            if index and state.writers[index - 1].phase == "fresh":
                break  # writers are alike: they begin in order
            for action, reached in self._writer(state, index, writer):
                yield f"writer {index} {action}", reached
        for index, merger in enumerate(state.mergers):
            if index and state.mergers[index - 1].phase == "idle":
                break
            for action, reached in self._merger(state, index, merger):
                yield f"merger {index} {action}", reached
        yield from self._retention(state)

    # -- what a reader sees -----------------------------------------------------

    def _unreadable(self, state: State) -> str | None:
        """A commit from the floor on that is nowhere."""
        newest = self._newest(state)
        history = self._history(newest, state.floor)
        for frame in history:
            if not any(frame in held for held in state.names) and not any(frame in span for span in state.spans):
                return f"{self._say(frame)} is part of the history from {state.floor} on, but can't be read"
        if state.floor and self._frames[history[-1]].kind != "snapshot":
            return f"the history begins with {self._say(history[-1])}, which continues what is gone"
        return None

    def _history(self, frame: int, floor: int = 0) -> list[int]:
        """This frame and those it builds on, down to the floor, newest first."""
        chain = []
        while frame != NOTHING and self._frames[frame].number >= floor:
            chain.append(frame)
            frame = self._frames[frame].parent
        return chain

    def _newest(self, state: State) -> int:
        return next((held[-1] for held in reversed(state.names) if held), NOTHING)

    # -- the store --------------------------------------------------------------

    def _arrivals(self, state: State) -> Iterator[tuple[str, State]]:
        for number in range(self.numbers):
            if state.deletes >> number & 1 and state.names[number]:
                yield f"a DELETE of {number} arrives", self._store(state, number, ())
        for span in state.span_deletes & state.spans:
            yield f"a DELETE of {self._range(span)} arrives", state._replace(spans=state.spans - {span})

    def _store(self, state: State, number: int, held: tuple[int, ...]) -> State:
        """Change a loose name. The newest frame must stay in the history of the newest frame."""
        before = self._newest(state)
        changed = state._replace(names=(*state.names[:number], held, *state.names[number + 1 :]))
        if before != NOTHING and before not in self._history(self._newest(changed)):
            wrong = f"the newest frame, {self._say(before)}, is no longer part of the history"
            changed = changed._replace(wrong=wrong)
        return changed

    def _may_free(self, frame: int, newest: int) -> bool:
        """Whether the loose name of this frame may come free."""
        its = self._frames[frame]
        if frame == newest:
            return self.rules.frees_newest
        if its.kind != "claim" or not its.number:
            return bool(its.number)
        return self.rules.frees_claims or self._frames[its.parent].kind == "release"

    # -- retention --------------------------------------------------------------

    def _retention(self, state: State) -> Iterator[tuple[str, State]]:
        if state.next_floor:
            floored = state._replace(floor=max(state.floor, state.next_floor), next_floor=0)
            yield f"retention puts the floor {state.next_floor}, too late", floored
        if not state.cleanings:
            return
        newest = self._newest(state)
        for frame in self._history(newest, state.floor + 1):
            number = self._frames[frame].number
            if self.rules.floor_at_snapshot and self._frames[frame].kind != "snapshot":
                continue
            below = [held[-1] for held in state.names[:number] if held] + ([newest] if self.rules.frees_newest else [])
            deletes = state.deletes
            for other in below:
                if self._may_free(other, newest):
                    deletes |= 1 << self._frames[other].number
            gone = {span for span in state.spans if self._frames[span[-1]].number < number}
            cleaned = state._replace(
                deletes=deletes, span_deletes=state.span_deletes | gone, cleanings=state.cleanings - 1
            )
            if self.rules.floor_before_deletes:
                yield f"retention puts the floor {number} and deletes below it", cleaned._replace(floor=number)
            else:
                yield f"retention deletes below {number}", cleaned._replace(next_floor=number)

    # -- a merger ---------------------------------------------------------------

    def _merger(self, state: State, index: int, merger: Merger) -> Iterator[tuple[str, State]]:
        match merger.phase:
            case "idle":
                yield from self._begin_merge(state, index)
            case "putting":
                yield from self._put_merge(state, index, merger)
            case "deleting":
                newest = self._newest(state)
                deletes = state.deletes
                for frame in merger.frames:
                    first = self._frames[merger.frames[0]].number
                    under_first = self.rules.merges_under == "first" and self._frames[frame].number == first
                    if self._may_free(frame, newest) and not under_first:
                        deletes |= 1 << self._frames[frame].number
                deleted = state._replace(deletes=deletes)
                yield f"deletes the loose names in {self._range(merger.frames)}", _with_merger(deleted, index, "done")

    def _begin_merge(self, state: State, index: int) -> Iterator[tuple[str, State]]:
        chain = self._history(self._newest(state), state.floor)
        kinds = [self._frames[frame].kind for frame in chain]
        chain = chain[kinds.index("snapshot") + 1 :] if "snapshot" in kinds else []
        for size in range(2, len(chain) + 1):
            frames = tuple(reversed(chain[:size]))
            yield f"reads {self._range(frames)}", _with_merger(state, index, "putting", frames)

    def _put_merge(self, state: State, index: int, merger: Merger) -> Iterator[tuple[str, State]]:
        frames, number = merger.frames, self._frames[merger.frames[0]].number
        if not self.rules.deletes_after_put:
            deletes = sum(1 << self._frames[frame].number for frame in frames if self._may_free(frame, NOTHING))
            if deletes & ~state.deletes:
                yield "deletes what it has yet to put", state._replace(deletes=state.deletes | deletes)
                return
        if self.rules.merges_under == "first":
            landed = self._store(state, number, frames)
        else:
            taken = {span for span in state.spans if self._range(span) == self._range(frames)}
            landed = state if taken else state._replace(spans=state.spans | {frames})
            frames = next(iter(taken), frames)  # only what the file there holds counts
        yield f"puts {self._range(frames)}", _with_merger(landed, index, "deleting", frames)

    # -- a writer ---------------------------------------------------------------

    def _writer(self, state: State, index: int, writer: Writer) -> Iterator[tuple[str, State]]:
        match writer.phase:
            case "fresh" | "looking":
                yield from self._look(state, index, writer)
            case "putting":
                yield self._put(state, index, writer)
            case "listing":
                newest = self._frames[self._newest(state)].number
                if newest > self._frames[writer.frame].number:
                    yield "lists: its claim is a stray", _with_writer(state, index, writer._replace(phase="looking"))
                else:
                    yield "sees nothing above its claim", self._acknowledge(state, index, writer)
            case "owning":
                for kind in ("commit", "snapshot", "release"):
                    frame = self._frame(writer.frame, kind, index)
                    if frame != NOTHING:
                        begun = writer._replace(phase="putting", frame=frame)
                        yield f"begins {self._say(frame)}", _with_writer(state, index, begun)

    def _look(self, state: State, index: int, writer: Writer) -> Iterator[tuple[str, State]]:
        """Read the frame under some loose name, or find the store empty, and aim at the next number."""
        if not writer.attempts:
            return
        for parent in [held[-1] for held in state.names if held] or [NOTHING]:
            claim = self._frame(parent, "claim", index)
            if claim != NOTHING:
                aimed = Writer("putting", claim, writer.attempts - 1)
                yield f"reads {self._say(parent)}, will put {self._say(claim)}", _with_writer(state, index, aimed)

    def _put(self, state: State, index: int, writer: Writer) -> tuple[str, State]:
        number, say = self._frames[writer.frame].number, f"puts {self._say(writer.frame)}"
        claims = self._frames[writer.frame].kind == "claim"
        if state.names[number]:
            lost = writer._replace(phase="looking" if claims else "fenced")
            return f"{say}: the name is taken", _with_writer(state, index, lost)
        landed = self._store(state, number, (writer.frame,))
        if claims:
            return say, _with_writer(landed, index, writer._replace(phase="listing"))
        return say, self._acknowledge(landed, index, writer)

    def _acknowledge(self, state: State, index: int, writer: Writer) -> State:
        """Somebody is told that this frame is kept, so it must be in the history for ever."""
        newest = self._newest(state)
        if not state.wrong and writer.frame not in self._history(newest):
            wrong = f"{self._say(writer.frame)} was acknowledged, but is not in the history of {self._say(newest)}"
            state = state._replace(wrong=wrong)
        released = self._frames[writer.frame].kind == "release"
        return _with_writer(state, index, writer._replace(phase="released" if released else "owning"))

    # -- frames -----------------------------------------------------------------

    def _frame(self, parent: int, kind: str, writer: int) -> int:
        """The id of this frame; NOTHING if its number is out of bounds."""
        number = self._frames[parent].number + 1 if parent != NOTHING else 0
        if number >= self.numbers:
            return NOTHING
        frame = Frame(number, parent, kind, writer)
        if frame not in self._ids:
            self._ids[frame] = len(self._frames)
            self._frames.append(frame)
        return self._ids[frame]

    def _range(self, frames: tuple[int, ...]) -> str:
        return f"{self._frames[frames[0]].number}-{self._frames[frames[-1]].number}"

    def _say(self, frame: int) -> str:
        if frame == NOTHING:
            return "nothing"
        number, _, kind, writer = self._frames[frame]
        return f"{kind} {number} of writer {writer}"


def _with_writer(state: State, index: int, writer: Writer) -> State:
    return state._replace(writers=(*state.writers[:index], writer, *state.writers[index + 1 :]))


def _with_merger(state: State, index: int, phase: str, frames: tuple[int, ...] = ()) -> State:
    mergers = (*state.mergers[:index], Merger(phase, frames), *state.mergers[index + 1 :])
    return state._replace(mergers=mergers)
