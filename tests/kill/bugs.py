"""Bugs to be planted in a process under fire, by name. The loop must find each, or it would prove nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorflow.store.append_ownership import AppendOwnership
from actorflow.store.chain import FileChain
from actorflow.store.liveness import LocalIncarnation
from actorflow.store.log import RunLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.store.backend import Steps


def _acknowledges_before_it_writes() -> None:
    """Each frame is kept back until the next one comes, or the owner leaves in order."""
    append, roll_over, let_go = AppendOwnership._append, AppendOwnership._roll_over, AppendOwnership._let_go
    kept: dict[int, bytes] = {}

    def flush(self: AppendOwnership) -> None:
        if data := kept.pop(id(self), None):
            for _ in append(self, data):
                pass

    def late_append(self: AppendOwnership, data: bytes) -> Steps[bool]:
        flush(self)
        kept[id(self)] = data
        yield
        return True

    def flushed_roll_over(self: AppendOwnership, *args: Any, **kwargs: Any) -> Steps[bytes]:
        flush(self)
        return roll_over(self, *args, **kwargs)

    def flushed_let_go(self: AppendOwnership) -> None:
        flush(self)
        let_go(self)

    AppendOwnership._append = late_append  # type: ignore[method-assign]
    AppendOwnership._roll_over = flushed_roll_over  # type: ignore[method-assign]
    AppendOwnership._let_go = flushed_let_go  # type: ignore[method-assign]


def _recovery_ignores_the_last_frame() -> None:
    """What looks like the end of a file is taken for a write that was cut off."""
    load = FileChain._load_newest

    def shorter(self: FileChain, first: int, **options: Any) -> Any:
        frames = load(self, first, **options)
        own = [frame for frame in frames if frame.header.seq >= first]
        return frames[:-1] if len(own) > 1 else frames

    FileChain._load_newest = shorter  # type: ignore[method-assign]


def _claims_what_a_living_process_owns() -> None:
    """No owner is ever found alive."""
    RunLog.is_owned = lambda self, header: False  # type: ignore[method-assign]


def _leaves_temporary_files() -> None:
    """Nobody clears up after the dead."""
    LocalIncarnation.sweep = lambda self: None  # type: ignore[method-assign]


def _nothing() -> None:
    """This one is in the worker itself: it runs what should be ``sync`` as ``async``."""


BUGS: dict[str, Callable[[], None]] = {
    "acknowledges before it writes": _acknowledges_before_it_writes,
    "recovery ignores the last frame": _recovery_ignores_the_last_frame,
    "claims what a living process owns": _claims_what_a_living_process_owns,
    "leaves temporary files": _leaves_temporary_files,
    "successor before its commit": _nothing,
}
