"""Claims and commits on the object log, as a model: one put-if-absent per commit, and nothing else to lean on.

The store is a row of numbered names. A **frame** is what a name holds; it
knows its parent, as a frame's header knows its parent's digest, and so a frame
stands for the whole history that leads to it. The **newest** frame is the one
under the highest number.

What the writers do (each may stop for ever between any two steps):

1. Look: pick an existing frame and read it. The model lets a listing answer
   *any* frame that exists, which is more than a real one can get wrong.
2. Claim: put-if-absent of the next number, epoch + 1.
3. List again, one name at a time while others go on. Only if nothing higher is
   there, the claim holds. Otherwise it is a stray, and the writer looks again.
4. Commit: put-if-absent of the next number, again and again; perhaps, as the
   last one, a release.
5. A reply may be lost, and the packet may still be on its way. Then read the
   number back: the same frame is success, nothing there means sending the same
   bytes again, anything else is `Fenced`.

Meanwhile retention deletes ordinary numbers below the newest, never a claim's
(but one on top of a release, which has no owner left to fence). A DELETE that
was ever sent may arrive at any time, and again.

What must hold: the newest frame is only ever replaced by a frame that has it in
its history (one history, fenced), and what a writer takes for acknowledged is
in the history of the newest (durable).
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

    put: str = "if absent"  # or "overwrite", or "check, then write"
    second_listing: bool = True
    listing: str = "ascending"  # or "any order", or "any order, twice the same"
    frees_numbers: bool = True  # False: a freed number's name stays as a stub, so names never come free
    frees_claims: bool = False
    frees_newest: bool = False
    release_is_last: bool = True  # False: its owner goes on afterwards
    settles_by_nonce: bool = True  # False: a number that is taken counts as success
    reads_back: bool = True  # False: a lost reply counts as success


class Frame(NamedTuple):
    """What a name holds. Same frame, same nonce: a frame sent twice is one frame."""

    number: int
    parent: int  # the id of the frame before it
    kind: str  # claim, commit, release
    writer: int
    attempt: int  # of this writer's claims


class Writer(NamedTuple):
    """One incarnation: what it is doing, with which frame."""

    phase: str
    frame: int = NOTHING  # the one it puts, or the last one it knows to be kept
    unread: int = 0  # the numbers (as bits) that its listing has still to look at
    attempts: int = 0  # claims that it may still begin
    seen: int = NOTHING  # what an earlier listing saw, where a mistake compares two


class State(NamedTuple):
    """The store, what is on its way to it, and the writers."""

    names: tuple[int, ...]  # frame ids by number
    deletes: int  # the numbers (as bits) whose deletion was ever sent
    late: tuple[int, ...]  # frames in packets that may still arrive
    lost: int  # replies that may still be lost
    writers: tuple[Writer, ...]
    wrong: str  # what was violated by the last step


class ObjectLog:
    """The model. ``lost`` bounds lost replies, ``late`` the packets that arrive after their sender gave up on them."""

    def __init__(
        self, rules: Rules, *, writers: int, numbers: int, lost: int = 1, late: int = 1, attempts: int = 2
    ) -> None:
        self.rules = rules
        self.bounds = (writers, numbers, lost, late, attempts)
        self.late = late
        self.numbers = numbers
        self._frames: list[Frame] = []
        self._ids: dict[Frame, int] = {}

    def initial(self) -> State:
        writers, numbers, lost, _, attempts = self.bounds
        return State((NOTHING,) * numbers, 0, (), lost, (Writer("fresh", attempts=attempts),) * writers, "")

    def violation(self, state: State) -> str | None:
        return state.wrong or None

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        yield from self._arrivals(state)
        yield from self._retention(state)
        for index, writer in enumerate(state.writers):
            if index and state.writers[index - 1].phase == "fresh":
                break  # writers are alike: they begin in order
            for action, reached in self._writer(state, index, writer):
                yield f"writer {index} {action}", reached

    # -- the store --------------------------------------------------------------

    def _arrivals(self, state: State) -> Iterator[tuple[str, State]]:
        """Packets that were on their way: frames whose senders got no reply, and deletions."""
        for packet in sorted(set(state.late)):
            rest = list(state.late)
            rest.remove(packet)
            landed, _ = self._put(state._replace(late=tuple(rest)), packet)
            yield f"a late packet arrives: {self._say(packet)}", landed
        for number in range(self.numbers):
            if state.deletes >> number & 1 and state.names[number] != NOTHING:
                yield f"a DELETE of {number} arrives", self._store(state, number, NOTHING)

    def _retention(self, state: State) -> Iterator[tuple[str, State]]:
        """Send the deletion of a number that the rules set free."""
        if not self.rules.frees_numbers:
            return
        newest = _newest(state.names)
        for number, held in enumerate(state.names):
            if held == NOTHING or state.deletes >> number & 1:
                continue
            frame = self._frames[held]
            free = number < newest or (self.rules.frees_newest and number == newest)
            if frame.kind == "claim":
                after_release = frame.parent != NOTHING and self._frames[frame.parent].kind == "release"
                free = free and (self.rules.frees_claims or after_release)
            if free and number:
                yield f"retention deletes {number}", state._replace(deletes=state.deletes | 1 << number)

    def _put(self, state: State, frame: int) -> tuple[State, bool]:
        """Put-if-absent takes effect; True if the name was free."""
        number = self._frames[frame].number
        if state.names[number] != NOTHING and self.rules.put == "if absent":
            return state, False
        return self._store(state, number, frame), True

    def _store(self, state: State, number: int, held: int) -> State:
        """Change a name. The newest frame must stay in the history of the newest frame."""
        before = _newest(state.names)
        names = (*state.names[:number], held, *state.names[number + 1 :])
        after = _newest(names)
        wrong = ""
        if before >= 0 and (after < 0 or not self._in_history(state.names[before], names[after])):
            wrong = f"the newest frame, {self._say(state.names[before])}, is no longer part of the history"
        return state._replace(names=names, wrong=wrong)

    # -- a writer ---------------------------------------------------------------

    def _writer(self, state: State, index: int, writer: Writer) -> Iterator[tuple[str, State]]:
        """Everything that this writer can do next."""
        match writer.phase:
            case "fresh" | "looking":
                yield from self._look(state, index, writer)
            case "putting":
                yield from self._send(state, index, writer)
            case "writing":  # a mistake: it found the name free, and believes that it still is
                number = self._frames[writer.frame].number
                yield "writes", self._succeeded(self._store(state, number, writer.frame), index, writer)
            case "unsure":
                yield from self._read_back(state, index, writer)
            case "listing":
                yield from self._list(state, index, writer)
            case "owning":
                yield from self._commit(state, index, writer)

    def _look(self, state: State, index: int, writer: Writer) -> Iterator[tuple[str, State]]:
        """Read some frame that exists, or find the store empty, and aim at the next number."""
        if not writer.attempts:
            return
        parents = [held for held in state.names if held != NOTHING] or [NOTHING]
        for parent in parents:
            claim = self._frame(parent, "claim", index, writer.attempts)
            if claim != NOTHING:
                aimed = Writer("putting", claim, attempts=writer.attempts - 1)
                yield f"reads {self._say(parent)}, will put {self._say(claim)}", _with(state, index, aimed)

    def _send(self, state: State, index: int, writer: Writer) -> Iterator[tuple[str, State]]:
        """Put: it takes effect or finds the name taken; the reply comes or is lost; or the packet is late."""
        say = f"puts {self._say(writer.frame)}"
        if self.rules.put == "check, then write":
            if state.names[self._frames[writer.frame].number] == NOTHING:
                yield (
                    f"finds the name of {self._say(writer.frame)} free",
                    _with(state, index, writer._replace(phase="writing")),
                )
            return
        landed, done = self._put(state, writer.frame)
        if done:
            yield say, self._succeeded(landed, index, writer)
        else:
            yield f"{say}: the name is taken", self._taken(landed, index, writer)
        if state.lost:
            unsure = writer._replace(phase="unsure")
            yield f"{say}, the reply is lost", _with(landed._replace(lost=state.lost - 1), index, unsure)
            if len(state.late) < self.late:
                late = tuple(sorted((*state.late, writer.frame)))
                yield f"{say}, the packet is late", _with(state._replace(lost=state.lost - 1, late=late), index, unsure)

    def _read_back(self, state: State, index: int, writer: Writer) -> Iterator[tuple[str, State]]:
        """Settle an unknown outcome by what the number holds now."""
        held = state.names[self._frames[writer.frame].number]
        if held == writer.frame or not self.rules.reads_back:
            yield "finds its frame there", self._succeeded(state, index, writer)
        elif held == NOTHING:
            yield (
                "finds nothing there, sends the same bytes again",
                _with(state, index, writer._replace(phase="putting")),
            )
        else:
            yield "finds another frame there", self._taken(state, index, writer)

    def _taken(self, state: State, index: int, writer: Writer) -> State:
        """The number holds something else (or, after a lost reply, our own frame)."""
        if state.names[self._frames[writer.frame].number] == writer.frame or not self.rules.settles_by_nonce:
            return self._succeeded(state, index, writer)
        if self._frames[writer.frame].kind == "claim":
            return _with(state, index, _looks_again(writer))
        return _with(state, index, Writer("fenced"))

    def _succeeded(self, state: State, index: int, writer: Writer) -> State:
        """The frame is kept: list again after a claim, acknowledge after a commit."""
        frame = self._frames[writer.frame]
        if frame.kind == "claim" and self.rules.second_listing:
            unread = (1 << self.numbers) - (1 << frame.number + 1)
            return _with(state, index, writer._replace(phase="listing", unread=unread))
        return self._acknowledge(state, index, writer)

    def _list(self, state: State, index: int, writer: Writer) -> Iterator[tuple[str, State]]:
        """Look at one more name above the claim."""
        if not writer.unread:
            if self.rules.listing == "any order, twice the same" and writer.seen == NOTHING:
                again = (1 << self.numbers) - (1 << self._frames[writer.frame].number + 1)
                yield "lists once more", _with(state, index, writer._replace(unread=again, seen=0))
            else:
                yield "sees nothing above its claim", self._acknowledge(state, index, writer)
            return
        unread = [number for number in range(self.numbers) if writer.unread >> number & 1]
        for number in unread[:1] if self.rules.listing == "ascending" else unread:
            if state.names[number] == NOTHING:
                rest = writer._replace(unread=writer.unread & ~(1 << number))
                yield f"lists: no {number}", _with(state, index, rest)
            else:
                yield f"lists: {number} is there, its claim is a stray", _with(state, index, _looks_again(writer))

    def _acknowledge(self, state: State, index: int, writer: Writer) -> State:
        """Somebody is told that this frame is kept, so it must be in the history for ever."""
        ends = self._frames[writer.frame].kind == "release" and self.rules.release_is_last
        phase = "released" if ends else "owning"
        newest = state.names[_newest(state.names)]
        wrong = state.wrong
        if not wrong and not self._in_history(writer.frame, newest):
            wrong = f"{self._say(writer.frame)} was acknowledged, but is not in the history of {self._say(newest)}"
        frame = writer.frame if phase == "owning" else NOTHING
        return _with(state._replace(wrong=wrong), index, Writer(phase, frame))

    def _commit(self, state: State, index: int, writer: Writer) -> Iterator[tuple[str, State]]:
        """Begin the next commit, or the last one."""
        for kind in ("commit", "release"):
            frame = self._frame(writer.frame, kind, index, 0)
            if frame != NOTHING:
                yield f"begins {self._say(frame)}", _with(state, index, Writer("putting", frame))

    # -- frames -----------------------------------------------------------------

    def _frame(self, parent: int, kind: str, writer: int, attempt: int) -> int:
        """The id of this frame; NOTHING if its number is out of bounds."""
        number = self._frames[parent].number + 1 if parent != NOTHING else 0
        if number >= self.numbers:
            return NOTHING
        frame = Frame(number, parent, kind, writer, attempt)
        if frame not in self._ids:
            self._ids[frame] = len(self._frames)
            self._frames.append(frame)
        return self._ids[frame]

    def _in_history(self, frame: int, of: int) -> bool:
        """Is ``frame`` the frame ``of``, or one that it builds on?"""
        while of not in (frame, NOTHING):
            of = self._frames[of].parent
        return of == frame

    def _say(self, frame: int) -> str:
        if frame == NOTHING:
            return "nothing"
        number, _, kind, writer, _ = self._frames[frame]
        return f"{kind} {number} of writer {writer}"


def _newest(names: tuple[int, ...]) -> int:
    """The highest number that is there."""
    number = len(names) - 1
    while number >= 0 and names[number] == NOTHING:
        number -= 1
    return number


def _looks_again(writer: Writer) -> Writer:
    return Writer("looking", attempts=writer.attempts) if writer.attempts else Writer("gave up")


def _with(state: State, index: int, writer: Writer) -> State:
    """The state with this writer in place of the one that was there."""
    return state._replace(writers=(*state.writers[:index], writer, *state.writers[index + 1 :]))
