"""The report of an exploration: what was tried, what went wrong, and the line that shows it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from actorflow.graph.state import State
from actorflow.testing.crashing import Operation
from actorflow.testing.lifetime import Ending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.testing.crashing import Fault, Kind

S = TypeVar("S", bound=State)

_HOW: dict[Kind, str] = {
    "before": "killed before",
    "after": "killed after",
    "landed": "no reply, although it took effect, from",
    "dropped": "no reply, and no effect, from",
}


class Failure(Struct, frozen=True):
    """What went wrong after these faults, of which the first befell the first process.

    ``faults`` is how `explore` takes them to do it again, and empty if nothing
    had befallen any process; ``where`` says which operations those were.
    """

    faults: str
    where: str
    wrong: tuple[str, ...]

    def __str__(self) -> str:
        again = f"  to see it again: explore(..., only={self.faults!r})" if self.faults else ""
        lines = [self.where, *(f"  {one}" for one in self.wrong), again]
        return "\n".join(line for line in lines if line)


class Calls(Struct):
    """How often a node was called with one idempotency key, in the lifetime of the run in which that was most."""

    node: str
    most: int


class Report(Struct, Generic[S]):
    """What an exploration found. True if nothing is wrong; as text it says all that is."""

    graph: str
    expected: Ending[S] | None
    """How the run ended when nothing had befallen any process."""
    operations: list[Operation]
    """Those of the store until then."""
    lifetimes: int
    """How often the run was lived through."""
    failures: list[Failure]
    calls: dict[str, Calls]
    """By idempotency key. An effect of a node that was called more than once with one key may have happened twice."""

    def __bool__(self) -> bool:
        return not self.failures

    def __str__(self) -> str:
        tried = f"{len(self.operations)} operations, {self.lifetimes} lifetimes"
        if self:
            return f"{self.graph}: {tried}: all ended as the run that nothing befell: {self.expected}"
        return "\n".join([f"{self.graph}: {tried}: {len(self.failures)} went wrong", *map(str, self.failures)])


def where_of(faults: Sequence[Fault], struck: Sequence[Operation | None]) -> str:
    """What befell the processes, in words."""
    words = [
        f"{_HOW[fault.kind]} operation {fault.number}, {operation}"
        for fault, operation in zip(faults, struck, strict=False)
        if operation is not None
    ]
    return ", then ".join(words) or "nothing befell any process"
