"""The witness: works out causes from the records alone, by brute force, and objects to a run that differs.

It keeps for every activation the set of all activations before it in causal
order. A write may follow the last write of its field only if that one is in
this set. Nothing here is taken from what the engine keeps for the same purpose.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from actorflow.engine.fold import begin, fold
from actorflow.engine.operations import Put
from actorflow.engine.records import Finished, Merged, Offered, Open, Record, Spawned
from tests.engine.driver import copied, picture, thawed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actorflow.engine.run import RunState

Past = frozenset[int]


class Violation(AssertionError):
    """The engine broke a rule that the witness knows."""


def demand(condition: bool, rule: str, *facts: object) -> None:
    """Object, unless the condition holds."""
    if not condition:
        raise Violation(f"{rule}: {', '.join(map(repr, facts))}")


class Ledger:
    """Every key that was ever started in one run, lost histories included, with what caused it."""

    def __init__(self) -> None:
        self.causes: dict[bytes, tuple[str, tuple[bytes, ...]]] = {}

    def enter(self, key: bytes, node: str, parents: tuple[bytes, ...]) -> None:
        """Note who has this key; another one must never have had it."""
        cause = (node, parents)
        demand(self.causes.setdefault(key, cause) == cause, "a key went to another activation", self.causes[key], cause)


class Witness:
    """Follows one history, record by record."""

    def __init__(self, ledger: Ledger, records: Iterable[Record]) -> None:
        self.ledger = ledger
        self.pasts: dict[int, Past] = {}  # by activation: all that came before it
        self.nodes: dict[int, str] = {}
        self.keys: dict[int, bytes] = {}
        self.bases: dict[int, dict[str, Any]] = {}
        self.finished: Counter[int] = Counter()
        self.last_write: dict[str, int] = {}
        self._put: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._waiting: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._parked: dict[str, int] = {}
        self._run: RunState | None = None
        for record in records:
            self.see(record)

    def see(self, record: Record) -> None:
        """Take a record in, folding a copy, so that every run on the way stays what it was."""
        before = self._run
        self._run = begin(record) if before is None and isinstance(record, Spawned) else fold(copied(before), record)  # type: ignore[arg-type]
        match record:
            case Spawned(opens=opens):
                self._open(opens, ())
            case Finished(id=id_):
                demand(self.finished[id_] == 0, "an activation finished twice", self.nodes[id_])
                self.finished[id_] += 1
                self._write(id_, record)
                for target, leg in record.puts:
                    self._waiting[target, leg].append(id_)
                    self._put[target, leg].append(id_)
                if record.parks:
                    self._parked[self.nodes[id_]] = id_
                self._open(record.opens, (id_,))
            case Merged(id=id_):
                self._write(id_, record)
            case Offered(opens=opens):
                self._open(opens, ())
            case _:
                pass

    def _write(self, id_: int, record: Finished | Merged) -> None:
        for operation in record.operations:
            if isinstance(operation, Put):
                self._demand_seen(id_, operation.field)
                self.last_write[operation.field] = id_

    def _demand_seen(self, id_: int, field: str) -> None:
        demand(field not in self.unseen(id_), "an update was lost", field, self.nodes[id_])

    def _open(self, opens: Iterable[Open], cause: tuple[int, ...]) -> None:
        assert self._run is not None
        for opened in opens:
            taken = [self._waiting[opened.node, leg].pop(0) for leg in opened.takes]
            taken += [self._parked[leaf] for leaf in opened.parked]
            parents = tuple(taken) or cause
            id_ = len(self.pasts) + 1
            self.pasts[id_] = frozenset(parents).union(*(self.pasts[parent] for parent in parents))
            self.nodes[id_] = opened.node
            self.keys[id_] = self._run.open[id_].key
            self.bases[id_] = thawed(self._run.scopes[""].values)
            self.ledger.enter(self.keys[id_], opened.node, tuple(self.keys[parent] for parent in parents))

    def unseen(self, id_: int) -> frozenset[str]:
        """The plain fields whose last write is not in the past of this activation."""
        known = self.pasts[id_] | {id_}
        return frozenset(field for field, writer in self.last_write.items() if writer not in known)

    def compare(self, live: RunState) -> None:
        """Object to a live run that is not what its history says."""
        assert self._run is not None
        for one in live.open.values():
            demand(one.unseen == self.unseen(one.id), "unseen is wrong", one.node, one.unseen, self.unseen(one.id))
            demand(thawed(one.base) == self.bases[one.id], "a base is not the state after its record", one.node)
            demand(self.finished[one.id] == 0, "what finished is open", one.node)
        for (target, leg), ids in self._waiting.items():
            tokens = live.root.waiting.get(target, {}).get(leg, [])
            demand([token.key for token in tokens] == [self.keys[id_] for id_ in ids], "tokens differ", target, leg)
            for token, id_ in zip(tokens, ids, strict=True):
                demand(token.unseen == self.unseen(id_), "unseen of a waiting token is wrong", target, leg)
        for leaf, id_ in self._parked.items():
            demand(live.root.parked[leaf].unseen == self.unseen(id_), "unseen of a parked token is wrong", leaf)
        open_or_done = set(live.open) | set(self.finished)
        demand(open_or_done == set(self.pasts), "an activation was lost", set(self.pasts) - open_or_done)
        demand(picture(live) == picture(self._run), "the live run is not the fold of its records")

    def legs_are_ordered(self) -> bool:
        """Whether the tokens of each leg came one after the other in causal order, so that timing pairs none."""
        return all(
            earlier in self.pasts[later] for ids in self._put.values() for earlier, later in itertools.pairwise(ids)
        )

    def concurrent(self, readers: dict[str, frozenset[str]], writers: dict[str, frozenset[str]]) -> Iterator[str]:
        """The fields that one node reads (by ``readers``) and another, neither before nor after it, writes."""
        done = list(self.finished)
        for one in done:
            for other in done:
                if one != other and one not in self.pasts[other] and other not in self.pasts[one]:
                    yield from readers[self.nodes[one]] & writers[self.nodes[other]]
