"""Drafts and file parts for the tests of the store, with everything filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorflow.store.frames import Draft, FilePart

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.store.log import Tip
    from actorflow.store.store import Store

ACTOR = b"actor-01"


def part(store: Store | bytes, run_id: str = "r", *, version: int = 1) -> FilePart:
    """A file part of a run in that store."""
    return FilePart(
        run_id=run_id,
        life=1,
        store=store if isinstance(store, bytes) else store.uuid,
        graph="survey",
        topology=b"topology",
        schema="Survey",
        version=version,
        fields=(("found", "list[str]", True), ("seen", "int", False)),
        codec=1,
        writer="actorflow/test",
    )


def draft(kind: Any, epoch: int, file: FilePart, body: bytes = b"body", **changes: Any) -> Draft:
    """A draft of that kind."""
    values: dict[str, Any] = {"status": "running", "opening": 1, "crashes": 0, "node": "parse", **changes}
    return Draft(kind=kind, epoch=epoch, file=file, body=body, **values)


def claiming(file: FilePart, body: bytes = b"claim", **changes: Any) -> Callable[[Tip | None], Draft]:
    """What `RunLog.claim` asks for: the next epoch, whatever it is."""

    def draft_for(tip: Tip | None) -> Draft:
        epoch = 1 if tip is None else tip.header.epoch + 1
        return draft("claim", epoch, file if tip is None else tip.file, body, **changes)

    return draft_for
