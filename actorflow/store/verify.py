"""Verify: what is wrong or odd about the files of one run, and what to do about it. Nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from actorflow.errors import CorruptCheckpoint, NotSealed

if TYPE_CHECKING:
    from actorflow.store.log import RunLog

UNSEALED = (
    "if it is from before the sealing was turned on, verify with require='plain' (on the command line "
    "ACTORFLOW_REQUIRE=plain), which believes it; if it is not, somebody put it there: restore this file from a backup"
)
"""The remedy where a file is protected less than the store requires. Its history stays so, also after a rekey."""


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
        restore = "restore this file from a backup; until then the run stays as it is"
        remedy = UNSEALED if isinstance(error, NotSealed) else restore
        findings.append(Finding(path=error.path, what=error.reason, remedy=remedy, broken=True))
    told = {(finding.path, finding.what) for finding in findings}
    return findings + [finding for finding in log.inspect() if (finding.path, finding.what) not in told]
