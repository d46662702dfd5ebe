"""Names of an object log: what one listing says about the commits of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from actorflow.store.keys import checkpoint_seq, floor_seq, span_range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Span = tuple[int, int]
"""The first and the last number of a merged file."""


class Names(Struct, frozen=True):
    """Which commits are there under their own numbers, which ones merged, and where the history begins."""

    loose: tuple[int, ...]  # ascending; the newest commit is always the last of them
    spans: tuple[Span, ...]
    floors: tuple[int, ...]

    @property
    def floor(self) -> int:
        """The number of the oldest commit that is kept, as far as retention has said so."""
        return max(self.floors, default=0)

    def span_of(self, seq: int) -> Span | None:
        """The merged file that holds this commit, the one that begins first if several do."""
        return min((span for span in self.spans if span[0] <= seq <= span[1]), default=None)

    def unmerged(self, *, below: int) -> list[int]:
        """The numbers below this one, from the floor on, that no merged file holds yet."""
        return [seq for seq in self.loose if self.floor <= seq < below and self.span_of(seq) is None]

    def cover(self, first: int, last: int) -> Iterator[int | Span]:
        """What to read for the commits from first to last, newest first: merged files, and numbers where none is."""
        seq = last
        while seq >= first:
            span = self.span_of(seq)
            yield seq if span is None else span
            seq = seq - 1 if span is None else span[0] - 1


def is_ours(key: str) -> bool:
    """Whether a key of the log is one that a log has."""
    name = key.rpartition("/")[2]
    return any(parse(name) is not None for parse in (checkpoint_seq, span_range, floor_seq))


def names_in(keys: Iterable[str]) -> Names:
    """What the keys of a run's log say. Others are left out."""
    loose: list[int] = []
    spans: list[Span] = []
    floors: list[int] = []
    for key in keys:
        name = key.rpartition("/")[2]
        if (seq := checkpoint_seq(name)) is not None:
            loose.append(seq)
        elif (span := span_range(name)) is not None:
            spans.append(span)
        elif (floor := floor_seq(name)) is not None:
            floors.append(floor)
    return Names(tuple(sorted(loose)), tuple(spans), tuple(floors))
