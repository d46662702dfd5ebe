"""Claims and commits on the append log, as a model: a local disk, a lock that dies with its process, power loss.

A run is a folder of files; each begins with a claim (or where its owner had to
change files) and is named by its first number. What a process writes is seen by
the others at once, but is on the disk only after a sync; the power may fail at
any moment, and then every file keeps some of its unsynced tail, and every name
that was not yet synced with the folder is there or not. After a *failed* sync
the tail stays visible and is never written: syncing once more says "done".

What an actor does (its process may be killed between any two steps):

1. Look whose run it is. Find that owner's lock free, or its newest frame a
   release. In its own process, where the lock proves nothing: find that the
   other actor has ended, with no append under way.
2. Only then read to the end.
3. Sync the predecessor's file and the folder. (Not the folder if the file was
   appended to: nobody does that before its name is on the disk.)
4. Link the claim's file under the next number; taken means starting over. The
   file holds a copy of the newest frame before the claim, and is synced before
   it is linked.
5. Sync the folder. Now the claim is acknowledged.
6. Commit: append, sync, acknowledge. A short write is cut off before the next.
   After a failed sync, and where a file has grown enough, the frame goes into a
   new file under its own number, synced before it is linked.

A reader takes frame n of a file only if no other file's first number is above
this file's and at most n; where a number is missing, it takes the copy.

What must hold: the files always read as one unbroken history, and it contains
all that was acknowledged, also after the power failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTHING = -1
TORN = -2  # in a file: the beginning of a frame, without its end

IN_FLIGHT = frozenset({"appending", "written"})  # an append that has not returned
ENDED = frozenset({"gone", "released", "killed"})


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The protocol's rules. The defaults are the protocol; each other value is a mistake."""

    reads_after_lock_check: bool = True
    syncs_predecessor: bool = True
    syncs_folder_before_link: bool = True
    syncs_folder_after_link: bool = True
    syncs_file_before_link: bool = True
    copies_newest_frame: bool = True
    links_exclusively: bool = True
    cuts_off_short_write: bool = True
    new_file_after_failed_sync: bool = True
    waits_for_own_append: bool = True  # before another actor of the process claims
    lock_outlives_append: bool = True
    lock_survives_fork: bool = True  # False: a forked child unlocks what its parent holds


class Frame(NamedTuple):
    """One commit; it knows its parent, and so stands for the whole history."""

    number: int
    parent: int
    kind: str  # claim, commit, release
    actor: int
    attempt: int


class File(NamedTuple):
    """One checkpoint file, as the page cache and as the disk have it."""

    first: int
    copy: int  # the newest frame before the claim, or NOTHING
    frames: tuple[int, ...]
    synced: int  # how many of them are on the disk
    named: bool = False  # is its name on the disk?
    failed: bool = False  # a sync failed: what was not on the disk then will never be


class Actor(NamedTuple):
    """One incarnation: what it is doing, with which frame, in which file."""

    phase: str
    frame: int = NOTHING
    file: int = NOTHING  # by its first number
    owner: int = NOTHING  # whose lock it looks at
    attempts: int = 0


class State(NamedTuple):
    """The disk, the processes' locks, the actors, and what may still go wrong."""

    files: tuple[File, ...]
    locks: tuple[bool, ...]  # by process: alive and holding its lock
    actors: tuple[Actor, ...]
    acknowledged: int  # the newest frame that somebody was told of
    failed_syncs: int
    short_writes: int
    power_losses: int
    wrong: str


class AppendLog:
    """The model. ``processes`` says for each actor which process it lives in."""

    def __init__(
        self,
        rules: Rules,
        *,
        processes: tuple[int, ...],
        numbers: int,
        failed_syncs: int = 1,
        short_writes: int = 1,
        power_losses: int = 1,
        attempts: int = 1,
    ) -> None:
        self.rules = rules
        self.processes = processes
        self.numbers = numbers
        self.faults = (failed_syncs, short_writes, power_losses)
        self.attempts = attempts
        self._frames: list[Frame] = []
        self._ids: dict[Frame, int] = {}
        self._reads: dict[tuple[tuple[int, int, tuple[int, ...]], ...], tuple[int, str]] = {}

    def initial(self) -> State:
        actors = (Actor("fresh", attempts=self.attempts),) * len(self.processes)
        return State((), (True,) * (max(self.processes) + 1), actors, NOTHING, *self.faults, "")

    def violation(self, state: State) -> str | None:
        if state.wrong:
            return state.wrong
        newest, problem = self._read(state.files)
        if problem:
            return f"the run can't be read: {problem}"
        if not self._in_history(state.acknowledged, newest):
            return f"{self._say(state.acknowledged)} was acknowledged, but the history ends with {self._say(newest)}"
        return None

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        for index, actor in enumerate(state.actors):
            if index and state.actors[index - 1].phase == "fresh":
                break  # they begin in order
            if state.locks[self.processes[index]] or actor.phase in IN_FLIGHT:
                for action, reached in self._actor(state, index, actor):
                    yield f"actor {index} {action}", reached
        for process, lock in enumerate(state.locks):
            if lock and self._is_busy(state, process):
                yield f"process {process} is killed", self._killed(state, process)
                if unlocked := self._unlocks(state, process):
                    locks = (*state.locks[:process], False, *state.locks[process + 1 :])
                    yield f"{unlocked} {process}", state._replace(locks=locks)
        if state.power_losses:
            yield from self._power_loss(state)

    # -- claiming ---------------------------------------------------------------

    def _actor(self, state: State, index: int, actor: Actor) -> Iterator[tuple[str, State]]:
        """Everything that this actor can do next."""
        match actor.phase:
            case "fresh" | "looking":
                yield self._look(state, index, actor)
            case "looked":
                yield self._check_lock(state, index, actor)
            case "free":
                yield self._read_to_end(state, index, actor)
            case "read":
                yield "syncs the predecessor and the folder", self._sync_predecessor(state, index, actor)
            case "ready":
                yield self._link_claim(state, index, actor)
            case "linked" | "rolled":
                yield "syncs the folder", self._acknowledge(_named(state), index, actor)
            case _:
                yield from self._owner(state, index, actor)

    def _look(self, state: State, index: int, actor: Actor) -> tuple[str, State]:
        """Read whose run it is."""
        newest, _ = self._read(state.files)
        if newest == NOTHING:
            return "finds no run", _with(state, index, actor._replace(phase="read", frame=NOTHING))
        seen = actor._replace(phase="looked", owner=self._frames[newest].actor)
        if self._frames[newest].kind == "release":
            seen = seen._replace(phase="free")
        if not self.rules.reads_after_lock_check:
            seen = seen._replace(frame=newest)
        return f"sees {self._say(newest)}", _with(state, index, seen)

    def _check_lock(self, state: State, index: int, actor: Actor) -> tuple[str, State]:
        """Is the owner gone?"""
        if self.processes[index] != self.processes[actor.owner]:
            free = not state.locks[self.processes[actor.owner]]
        else:
            phase = state.actors[actor.owner].phase
            free = phase in ENDED or (phase in IN_FLIGHT and not self.rules.waits_for_own_append)
        if free:
            phase = "free" if self.rules.reads_after_lock_check else "read"
            return f"finds actor {actor.owner} gone", _with(state, index, actor._replace(phase=phase))
        return f"finds actor {actor.owner} alive", _with(state, index, Actor("looking", attempts=actor.attempts))

    def _read_to_end(self, state: State, index: int, actor: Actor) -> tuple[str, State]:
        """What is true after the lock was found free."""
        newest, _ = self._read(state.files)
        frame = self._frames[newest]
        if frame.actor != actor.owner and frame.kind != "release":
            return "finds another owner", _with(state, index, Actor("looking", attempts=actor.attempts))
        return f"reads to the end: {self._say(newest)}", _with(state, index, actor._replace(phase="read", frame=newest))

    def _sync_predecessor(self, state: State, index: int, actor: Actor) -> State:
        """What the claim builds on becomes as durable as the claim."""
        if self.rules.syncs_predecessor and actor.frame != NOTHING:
            state = _replaced(state, _synced(self._file_of(state.files, actor.frame)))
        if self.rules.syncs_folder_before_link and not self._was_appended_to(state, actor):
            state = _named(state)
        return _with(state, index, actor._replace(phase="ready"))

    def _was_appended_to(self, state: State, actor: Actor) -> bool:
        """Is the newest frame not the first of its file? Then that has had its name on the disk before."""
        return actor.frame != NOTHING and len(self._file_of(state.files, actor.frame).frames) > 1

    def _link_claim(self, state: State, index: int, actor: Actor) -> tuple[str, State]:
        """Make the claim's file, if its name is free."""
        claim = self._frame(actor.frame, "claim", index, actor.attempts)
        if claim == NOTHING:
            return "is out of numbers", _with(state, index, Actor("killed"))
        copy = actor.frame if self.rules.copies_newest_frame else NOTHING
        made = self._link(state, claim, copy)
        if made is not None:
            linked = Actor("linked", claim, self._frames[claim].number)
            return f"links {self._say(claim)}", _with(made, index, linked)
        if actor.attempts:
            again = Actor("looking", attempts=actor.attempts - 1)
            return f"finds the name of {self._say(claim)} taken", _with(state, index, again)
        return "gives up", _with(state, index, Actor("killed"))

    def _link(self, state: State, frame: int, copy: int) -> State | None:
        """A new file that begins with this frame; None if there is one of that name."""
        first = self._frames[frame].number
        others = tuple(file for file in state.files if file.first != first)
        if len(others) < len(state.files) and self.rules.links_exclusively:
            return None
        file = File(first, copy, (frame,), int(self.rules.syncs_file_before_link))
        return state._replace(files=tuple(sorted((*others, file))))

    # -- owning -----------------------------------------------------------------

    def _owner(self, state: State, index: int, actor: Actor) -> Iterator[tuple[str, State]]:
        """Commits and their accidents."""
        file = next((file for file in state.files if file.first == actor.file), None)
        if file is None:
            return  # killed, gone, released; or a mistake took its file away
        match actor.phase:
            case "owning":
                yield from self._begin(state, index, actor)
            case "appending":
                yield from self._append(state, index, actor, file)
            case "torn":
                if self.rules.cuts_off_short_write:
                    state = _replaced(state, file._replace(frames=file.frames[:-1]))
                yield "is ready to append again", _with(state, index, actor._replace(phase="appending"))
            case "written":
                yield from self._sync(state, index, actor, file)
            case "unsynced" if not self.rules.new_file_after_failed_sync:
                yield "syncs once more", self._acknowledge(_replaced(state, _synced(file)), index, actor)
            case "unsynced" | "rolling":
                yield from self._roll(state, index, actor)

    def _begin(self, state: State, index: int, actor: Actor) -> Iterator[tuple[str, State]]:
        """The next commit, or the last one; or the actor ends and its process lives on."""
        for kind in ("commit", "release"):
            frame = self._frame(actor.frame, kind, index, 0)
            if frame != NOTHING:
                begun = actor._replace(phase="appending", frame=frame)
                yield f"begins to append {self._say(frame)}", _with(state, index, begun)
                yield "is due to change files", _with(state, index, begun._replace(phase="rolling"))
        yield "crashes, its process lives", _with(state, index, Actor("gone"))

    def _append(self, state: State, index: int, actor: Actor, file: File) -> Iterator[tuple[str, State]]:
        """The write takes effect, whole or in part."""
        say = f"appends {self._say(actor.frame)}"
        landed = _replaced(state, file._replace(frames=(*file.frames, actor.frame)))
        yield say, _with(landed, index, actor._replace(phase="written"))
        if state.short_writes:
            short = _replaced(state, file._replace(frames=(*file.frames, TORN)))
            short = short._replace(short_writes=state.short_writes - 1)
            yield f"{say}: a short write", _with(short, index, actor._replace(phase="torn"))

    def _sync(self, state: State, index: int, actor: Actor, file: File) -> Iterator[tuple[str, State]]:
        """The append returns: kept, or in doubt."""
        yield "syncs", self._acknowledge(_replaced(state, _synced(file)), index, actor)
        if state.failed_syncs:
            failed = _replaced(state, file._replace(failed=True))._replace(failed_syncs=state.failed_syncs - 1)
            yield "fails to sync", _with(failed, index, actor._replace(phase="unsynced"))

    def _roll(self, state: State, index: int, actor: Actor) -> Iterator[tuple[str, State]]:
        """The frame goes into a new file under its own number."""
        rolled = self._link(state, actor.frame, NOTHING)
        if rolled is not None:
            moved = actor._replace(phase="rolled", file=self._frames[actor.frame].number)
            yield f"links a new file for {self._say(actor.frame)}", _with(rolled, index, moved)
        yield "crashes, its process lives", _with(state, index, Actor("gone"))

    def _acknowledge(self, state: State, index: int, actor: Actor) -> State:
        """Somebody is told that this frame is kept."""
        if actor.phase == "linked" and not self.rules.syncs_folder_after_link:
            state = state._replace(files=tuple(file._replace(named=file.first != actor.file) for file in state.files))
        newest, wrong = actor.frame, ""
        if not self._in_history(state.acknowledged, actor.frame):
            newest = state.acknowledged  # a release can be built on before its owner is told that it is kept
            if not self._in_history(actor.frame, state.acknowledged):
                wrong = f"{self._say(state.acknowledged)} and {self._say(actor.frame)} were both acknowledged"
        phase = "released" if self._frames[actor.frame].kind == "release" else "owning"
        told = Actor(phase) if phase == "released" else Actor(phase, actor.frame, actor.file)
        return _with(state._replace(acknowledged=newest, wrong=wrong), index, told)

    # -- accidents --------------------------------------------------------------

    def _is_busy(self, state: State, process: int) -> bool:
        """Has an actor of this process begun?"""
        return any(
            its_process == process and actor.phase != "fresh"
            for actor, its_process in zip(state.actors, self.processes, strict=True)
        )

    def _killed(self, state: State, process: int) -> State:
        """The kernel ends the process, its append (before or after it took effect) and its lock, in this order."""
        actors = tuple(
            Actor("killed") if its_process == process else actor
            for actor, its_process in zip(state.actors, self.processes, strict=True)
        )
        return state._replace(locks=(*state.locks[:process], False, *state.locks[process + 1 :]), actors=actors)

    def _unlocks(self, state: State, process: int) -> str:
        """The mistakes by which a living process loses its lock."""
        if not self.rules.lock_survives_fork:
            return "a forked child unlocks process"
        phases = {actor.phase for actor, its in zip(state.actors, self.processes, strict=True) if its == process}
        if not self.rules.lock_outlives_append and phases & IN_FLIGHT:
            return "the runtime closes in process"
        return ""

    def _power_loss(self, state: State) -> Iterator[tuple[str, State]]:
        """Every process dies; each file keeps some of what was not synced, each unsynced name may go."""
        if not state.files:
            return
        for process in range(len(state.locks)):
            if self._is_busy(state, process):
                state = self._killed(state, process)
        for kept in product(*(list(_survivors(file)) for file in state.files)):
            files = tuple(file for file in kept if file is not None)
            said = ", ".join(f"{file.first}: {len(file.frames)} frames" for file in files) or "no file"
            yield f"the power fails; left are {said}", state._replace(files=files, power_losses=state.power_losses - 1)

    # -- reading ----------------------------------------------------------------

    def _read(self, files: tuple[File, ...]) -> tuple[int, str]:
        """The newest frame, and why the files are no unbroken history (or nothing)."""
        key = tuple((file.first, file.copy, file.frames) for file in files)
        if key not in self._reads:
            self._reads[key] = self._read_anew(files)
        return self._reads[key]

    def _read_anew(self, files: tuple[File, ...]) -> tuple[int, str]:
        chain: dict[int, int] = {}
        for file in files:
            if TORN in file.frames[:-1]:
                return NOTHING, f"file {file.first} is damaged"
            if not file.frames:
                return NOTHING, f"file {file.first} is empty"
            for frame in file.frames:
                if frame == TORN or not _counts(files, file, self._frames[frame].number):
                    continue
                if chain.setdefault(self._frames[frame].number, frame) != frame:
                    return NOTHING, f"two frames of number {self._frames[frame].number}"
        for file in files:
            if file.copy != NOTHING:
                chain.setdefault(file.first - 1, file.copy)
        for number in range(len(chain)):
            if number not in chain:
                return NOTHING, f"no {number}"
            if number and self._frames[chain[number]].parent != chain[number - 1]:
                return NOTHING, f"{self._say(chain[number])} does not build on {self._say(chain[number - 1])}"
        return chain.get(len(chain) - 1, NOTHING), ""

    def _file_of(self, files: tuple[File, ...], frame: int) -> File:
        """The file in which this frame counts; its copy is nobody's predecessor."""
        holding = [file for file in files if frame in file.frames]
        return holding[-1] if holding else next(file for file in files if file.copy == frame)

    # -- frames -----------------------------------------------------------------

    def _frame(self, parent: int, kind: str, actor: int, attempt: int) -> int:
        """The id of this frame; NOTHING if its number is out of bounds."""
        number = self._frames[parent].number + 1 if parent != NOTHING else 0
        if number >= self.numbers:
            return NOTHING
        frame = Frame(number, parent, kind, actor, attempt)
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
        number, _, kind, actor, _ = self._frames[frame]
        return f"{kind} {number} of actor {actor}"


def _counts(files: tuple[File, ...], file: File, number: int) -> bool:
    """Does this file's frame of this number count?"""
    return not any(file.first < other.first <= number for other in files)


def _survivors(file: File) -> Iterator[File | None]:
    """What the disk may hold of this file after the power failed."""
    if not file.named:
        yield None
    for length in range(file.synced, len(file.frames) + 1):
        copy = file.copy if length else NOTHING
        yield File(file.first, copy, file.frames[:length], length, named=True)


def _synced(file: File) -> File:
    """After a sync that said "done"."""
    return file if file.failed else file._replace(synced=len(file.frames))


def _named(state: State) -> State:
    """After a sync of the folder."""
    return state._replace(files=tuple(file._replace(named=True) for file in state.files))


def _replaced(state: State, file: File) -> State:
    """The state with this file in place of the one of its name."""
    return state._replace(files=tuple(file if other.first == file.first else other for other in state.files))


def _with(state: State, index: int, actor: Actor) -> State:
    """The state with this actor in place of the one that was there."""
    return state._replace(actors=(*state.actors[:index], actor, *state.actors[index + 1 :]))
