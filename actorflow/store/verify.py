"""Verify: what is wrong or odd about the files of one run, and what to do about it. Nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from actorflow.errors import CorruptCheckpoint

if TYPE_CHECKING:
    from actorflow.store.log import RunLog


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be. ``broken``: the run can't be read to its end because of it.

    ``repairable``: ``verify(repair=True)`` puts it right, and nothing can be
    lost by that; ``repaired``: it just did.
    """

    path: str
    what: str
    remedy: str
    broken: bool = False
    repairable: bool = False
    repaired: bool = False


def verify_run(log: RunLog) -> list[Finding]:
    """All findings about the chain of one run, the breaking one first."""
    findings: list[Finding] = []
    try:
        log.read(first=0)
    except CorruptCheckpoint as error:
        remedy = "restore this file from a backup; until then the run stays as it is"
        findings.append(Finding(path=error.path, what=error.reason, remedy=remedy, broken=True))
    told = {(finding.path, finding.what) for finding in findings}
    return findings + [finding for finding in log.inspect() if (finding.path, finding.what) not in told]
