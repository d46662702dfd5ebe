"""The overseer: a witness of nested runs. It follows each scope by itself, and counts items and what is owned."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from actorflow.engine.fold import begin, fold
from actorflow.engine.operations import Extended, Put
from actorflow.engine.records import (
    Attempted,
    Entered,
    Finished,
    Handling,
    ItemDone,
    ItemFailed,
    Merged,
    Offered,
    Open,
    Opened,
    Rebased,
    Record,
    Spawned,
)
from actorflow.engine.run import ROOT
from tests.engine.driver import copied, picture, place, thawed
from tests.engine.witness import Ledger, Past, demand

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actorflow.engine.run import Activation, RunState
    from tests.engine.nested import NestedSketch

Place = tuple[int, str, str]  # a visit of a scope, a target, a leg


class Overseer:
    """Follows one history, record by record, in all its scopes."""

    def __init__(self, ledger: Ledger, records: Iterable[Record], sketch: NestedSketch) -> None:
        self.ledger = ledger
        self.pasts: dict[int, Past] = {}  # by activation: all that came before it in its visit of a scope
        self.nodes: dict[int, str] = {}
        self.keys: dict[int, bytes] = {}
        self.bases: dict[int, dict[str, Any]] = {}
        self.finished: Counter[int] = Counter()
        self._visits: dict[str, int] = {ROOT: 0}  # by path: who is there now
        self._sketches = {0: sketch}  # by visit
        self._is_item: set[int] = set()
        self._visit: dict[int, int] = {}  # by activation
        self._last_write: dict[int, dict[str, int]] = defaultdict(dict)  # by visit
        self._waiting: dict[Place, list[int]] = defaultdict(list)
        self._late: Counter[Place] = Counter()
        self._put: dict[Place, list[int]] = defaultdict(list)
        self._parked: dict[str, int] = {}
        self._logged: dict[int, list[str]] = defaultdict(list)  # by visit: what was added to its log
        self._items: Counter[tuple[int, int]] = Counter()  # by owner and index: how often it is done
        self._run: RunState | None = None
        for record in records:
            self.see(record)

    # -- one record after the other --------------------------------------------------------

    def see(self, record: Record) -> None:  # noqa: C901, PLR0912 - one case a kind of record
        """Take a record in, folding a copy, so that every run on the way stays what it was."""
        before = self._run
        if before is None:
            assert isinstance(record, Spawned)
            self._run, first = begin(record), 1
        else:
            self._demand_may(record, before)
            self._run, first = fold(copied(before), record), before.next_id
        fresh = [self._run.open[id_] for id_ in range(first, self._run.next_id)]
        if before is not None:
            self._demand_kept(record, before)
        match record:
            case Spawned(opens=opens) | Offered(opens=opens):
                self._opened(fresh, opens, 0, ())
            case Entered(id=id_, path=path, opens=opens):
                assert before is not None
                queue = [one.id for one in before.open.values() if one.queued and one.node == self.nodes[id_]]
                queue = [one for one in queue if before.open[one].scope == before.open[id_].scope]
                demand(not queue or queue[0] == id_, "somebody entered before those who waited", path)
                visit = self._visits[path] = len(self._sketches)
                self._sketches[visit] = self._sketches[self._visit[id_]].inside[self.nodes[id_]]
                self._opened(fresh, opens, visit, (), of=(self.keys[id_],))
            case Opened(scope=path, opens=opens):
                self._opened(fresh, opens, self._visits[path], ())
            case Finished(id=id_):
                self._finish(id_)
                assert before is not None
                self._write(id_, record, before)
                for target, leg in record.puts:
                    self._arrive((self._visit[id_], target, leg), id_)
                if record.parks:
                    self._parked[self.nodes[id_]] = id_
                self._opened(fresh, record.opens, self._visit[id_], (id_,))
            case Merged(id=id_):
                assert before is not None
                self._write(id_, record, before)
            case ItemDone(id=id_) | ItemFailed(id=id_):
                self._finish(id_)
                assert before is not None
                item = before.open[id_]
                assert item.fan is not None
                assert item.index is not None
                self._items[item.fan, item.index] += 1
                demand(self._items[item.fan, item.index] == 1, "an item was done twice", place(item))
            case _:
                pass
        for one in fresh:
            if one.fan is not None:
                self._is_item.add(one.id)
                self._know(one, self._visits[one.scope], frozenset(), (self.keys[one.fan],))

    def _demand_may(self, record: Record, before: RunState) -> None:
        """An owner is finished by what it owns, and by nothing before that is done."""
        if not isinstance(record, Finished | ItemDone) or ((opens := getattr(record, "opens", ())) and opens[0].error):
            return
        owner = before.open[record.id]
        if (fan := before.fans.get(owner.id)) is not None:
            demand(fan.done == fan.total, "a fan-out was over before its items", place(owner), fan.done, fan.total)
        if owner.inner is not None:
            inside = list(before.open_in(owner.inner))
            left = any(one.leaves for one in inside)
            demand(left or not inside, "a scope was left with something open", owner.inner, len(inside))

    def _demand_kept(self, record: Record, before: RunState) -> None:
        """What is not open any more has finished, or ended with what it belonged to."""
        run = self._run
        assert run is not None
        by = getattr(record, "id", None)
        for id_ in before.open.keys() - run.open.keys():
            if id_ == by and isinstance(record, Finished | ItemDone | ItemFailed):
                continue
            around, one = before.open[id_], before.open[id_]
            while (owner := before.owner_of(around)) is not None and owner.id != by:
                around = owner
            demand(owner is not None, "an activation was lost", place(one), type(record).__name__)
            kinds = Finished | ItemDone | ItemFailed | Attempted | Handling | Rebased
            demand(isinstance(record, kinds), "something else dropped an activation", place(one), record)

    def _finish(self, id_: int) -> None:
        demand(self.finished[id_] == 0, "an activation finished twice", self.nodes[id_])
        self.finished[id_] += 1

    def _write(self, id_: int, record: Finished | Merged, before: RunState) -> None:
        logs = (one.items for one in record.operations if isinstance(one, Extended) and one.field == "log")
        added = [line for lines in logs for line in lines]
        self._logged[self._visit[id_]] += added
        owner = before.open[id_]
        if owner.inner is not None and not owner.handling and "log" in before.scopes[owner.inner].handed:
            inside = self._logged[self._visits[owner.inner]]
            demand(added == inside, "what was written inside is not what was handed up", inside, added)
        writes = [one.field for one in record.operations if isinstance(one, Put)]
        for field in (*writes, *(one.field for one in record.gathers if not one.extends)):
            demand(field not in self.unseen(id_), "an update was lost", field, self.nodes[id_])
            self._last_write[self._visit[id_]][field] = id_

    def _arrive(self, where: Place, id_: int) -> None:
        self._put[where].append(id_)
        if self._late[where]:
            self._late[where] -= 1
        else:
            self._waiting[where].append(id_)

    def _opened(
        self,
        fresh: list[Activation],
        opens: Iterable[Open],
        visit: int,
        cause: tuple[int, ...],
        *,
        of: tuple[bytes, ...] = (),
    ) -> None:
        for one, opened in zip(fresh, opens, strict=False):
            taken = [self._waiting[visit, opened.node, leg].pop(0) for leg in opened.takes]
            taken += [self._parked[leaf] for leaf in opened.parked]
            for leg in opened.late:
                self._late[visit, opened.node, leg] += 1
            parents = tuple(taken) or cause
            past = frozenset(parents).union(*(self.pasts[parent] for parent in parents))
            self._know(one, visit, past, of or tuple(self.keys[parent] for parent in parents))

    def _know(self, one: Activation, visit: int, past: Past, causes: tuple[bytes, ...]) -> None:
        self.pasts[one.id], self._visit[one.id] = past, visit
        self.nodes[one.id], self.keys[one.id] = one.node, one.key
        self.bases[one.id] = thawed(one.base)
        label = one.node if one.index is None else f"{one.node}[{one.index}]"
        self.ledger.enter(one.key, label, tuple(sorted(causes)))

    # -- what must be so --------------------------------------------------------------------

    def unseen(self, id_: int) -> frozenset[str]:
        """The plain fields of its scope whose last write is not in the past of this activation."""
        known = self.pasts[id_] | {id_}
        return frozenset(field for field, writer in self._last_write[self._visit[id_]].items() if writer not in known)

    def compare(self, live: RunState) -> None:
        """Object to a live run that is not what its history says."""
        assert self._run is not None
        demand(picture(live) == picture(self._run), "the live run is not the fold of its records")
        keys = Counter(one.key for one in live.open.values())
        demand(not keys or max(keys.values()) == 1, "two open activations share a key")
        for one in live.open.values():
            demand(self.finished[one.id] == 0, "what finished is open", place(one))
            demand(one.scope in live.scopes, "an activation is in no scope", place(one))
            if one.fan is None:
                demand(one.unseen == self.unseen(one.id), "unseen is wrong", place(one), one.unseen)
            if one.inner is not None:
                demand(live.scopes[one.inner].owner == one.id, "a scope has another owner", one.inner)
        for path, scope in live.scopes.items():
            inside = list(live.open_in(path))
            demand(scope.live == len(inside), "the count of what is open in a scope is wrong", path, scope.live)
            demand(scope.owner is None or scope.owner in live.open, "a scope outlived its owner", path)
            demand(path == ROOT or scope.kept or scope.owner is not None, "a scope has no owner", path)
            self._compare_tokens(live, path)
        for owner, fan in live.fans.items():
            items = [one.index for one in live.open.values() if one.fan == owner]
            demand(fan.open == len(items) <= fan.limit, "the count of open items is wrong", fan.open, items)
            demand(fan.next == fan.done + fan.open <= fan.total, "items do not add up", fan.next, fan.done, fan.open)
            demand(fan.open > 0 or fan.next == fan.total, "items wait, and none is open", fan.next, fan.total)

    def _compare_tokens(self, live: RunState, path: str) -> None:
        scope = live.scopes[path]
        if path != ROOT and scope.owner is None:
            return
        visit = self._visits[path]
        held = {(target, leg): ids for (its, target, leg), ids in self._waiting.items() if its == visit and ids}
        there = {(target, leg): tokens for target, legs in scope.waiting.items() for leg, tokens in legs.items()}
        demand(held.keys() == there.keys(), "tokens wait elsewhere", held.keys(), there.keys())
        for at, ids in held.items():
            demand([token.key for token in there[at]] == [self.keys[id_] for id_ in ids], "tokens differ", at)
            for token, id_ in zip(there[at], ids, strict=True):
                demand(token.unseen == self.unseen(id_), "unseen of a waiting token is wrong", at)

    # -- what is promised ---------------------------------------------------------------------

    def legs_are_ordered(self) -> bool:
        """Whether the tokens of each leg came one after the other in causal order, so that timing pairs none."""
        return all(
            earlier in self.pasts[later] for ids in self._put.values() for earlier, later in itertools.pairwise(ids)
        )

    def concurrent(self, what: str, other: str) -> Iterator[str]:
        """The fields that one node reads or writes (``what``) and another, neither before nor after it, writes."""
        by_visit: dict[int, list[int]] = defaultdict(list)
        for id_ in self.finished:
            if id_ not in self._is_item:
                by_visit[self._visit[id_]].append(id_)
        for visit, ids in by_visit.items():
            sketch = self._sketches[visit]
            for one, another in itertools.permutations(ids, 2):
                if one not in self.pasts[another] and another not in self.pasts[one]:
                    yield from getattr(sketch, what)[self.nodes[one]] & getattr(sketch, other)[self.nodes[another]]
