"""``python -m tests.soak [MINUTES]``: a local folder and a bucket at once, for so long; what came of it."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.ceph import Ceph
from tests.soak.arena import Breach, soak
from tests.soak.network import FAULTS

if TYPE_CHECKING:
    from tests.soak.arena import Kind
    from tests.soak.figures import Figures

EVENTS = (
    "kill",
    "kill during recovery",
    "pause",
    "clock jump",
    "bit turned",
    "bit turned, and refused",
    "change of the code",
)
"""What must have happened in a soak of ten minutes or more."""

LEAST: dict[Kind, float] = {"local": 20.0, "ceph": 5.0, "moto": 2.0}
"""Runs that must come to their end in a minute: far fewer than a slow machine brings there."""


def main() -> int:
    """The exit status: 1 after a violation, or where too little was done to say that there is none."""
    parser = argparse.ArgumentParser(prog="./check --soak")
    parser.add_argument("minutes", nargs="?", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.getrandbits(31))
    bucket: Kind = "moto" if Ceph.missing() else "ceph"
    parser.add_argument("--only", choices=("local", bucket))
    given = parser.parse_args()
    kinds: list[Kind] = [given.only] if given.only else ["local", bucket]
    folder = Path(tempfile.mkdtemp(prefix="actorflow-soak-"))
    print(f"soak of {given.minutes:g} minutes, --seed {given.seed}, {time.strftime('%Y-%m-%d %H:%M:%S')}", flush=True)

    failed = False
    with ProcessPoolExecutor(len(kinds), mp_context=get_context("spawn")) as processes:
        begun = {
            processes.submit(soak, folder / kind, kind, given.seed + number, given.minutes * 60): kind
            for number, kind in enumerate(kinds)
        }
        for one in as_completed(begun):
            kind = begun[one]
            print(f"\n{kind}")
            try:
                figures = one.result()
            except Breach as breach:
                failed = True
                print(f"VIOLATION: {breach}", flush=True)
                continue
            except Exception:  # noqa: BLE001 - the other one goes on
                failed = True
                traceback.print_exc()
                continue
            print("\n".join(figures.shown()))
            failed |= _is_too_little(kind, figures, given.minutes)
            print("violations    none", flush=True)
    if failed:
        print(f"\nfailed; the files are kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def _is_too_little(kind: Kind, figures: Figures, minutes: float) -> bool:
    """Whether so little came about that it proves nothing."""
    least = int(LEAST[kind] * minutes)
    missing = [] if minutes < 10 else [event for event in EVENTS if not figures.events[event]]
    if minutes >= 10:
        missing += [what for what in ("blocked", "corrupt") if not figures.told[what]]
        if kind != "local":
            missing += [fault for fault in FAULTS if not figures.faults[fault]]
            missing += [] if figures.told["fenced"] else ["fenced"]
    if figures.runs < least:
        missing.append(f"{least} runs that come to their end (there are {figures.runs})")
    if missing:
        print(f"TOO LITTLE: no {', no '.join(missing)}")
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
