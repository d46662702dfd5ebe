"""Bad input, Ctrl-C: at any moment it leaves the run to the next process, with all that was acknowledged."""

from __future__ import annotations

import itertools
import random
import re
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from actorflow import run
from actorflow.runtime.replay import moments
from actorflow.store.store import open_store
from tests.runtime.scenes import STEPS, ready, scene, steps
from tests.store.children import Child

BACKENDS = ["asyncio", "trio"]
POINTS = [
    "append.after_sync",
    "append.after_write",
    "append.before_write",
    "claim.after_link",
    "claim.before_link",
    "claim.before_sync",
    "ended.after",
    "ended.before",
    "marker.after",
    "marker.before",
    "put.after_link",
    "put.before_link",
    "temp.after_write",
]


@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c_at_random_moments_leaves_the_run_to_others(tmp_path: Path, backend: str) -> None:
    """The next process goes on with it while the interrupted one still lives, and nothing is lost."""
    seed = random.getrandbits(31)
    print(f"seed {seed}")
    chance = random.Random(seed)
    interrupted, span = 0, 0.15  # seconds that a child may get before its Ctrl-C

    for round_ in range(60):
        store, log = str(tmp_path / f"store{round_}"), tmp_path / f"log{round_}"
        with scene("work", store, backend, str(log), "") as child:
            assert child.line() == "ready"
            _pause(chance.uniform(0, span))
            child.process.send_signal(signal.SIGINT)
            if _settled(child) == "interrupted":
                interrupted += 1
            else:
                span *= 0.8  # it was done already: how quick the machine is must not decide
            _check(store, log)
        if interrupted == 8:
            return

    raise AssertionError(f"only {interrupted} of 60 children met their Ctrl-C")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("point", POINTS)
def test_ctrl_c_at_a_named_point_leaves_the_run_to_others(tmp_path: Path, backend: str, point: str) -> None:
    """The places where other tests kill the process, met by Ctrl-C in whatever thread is there."""
    store, log = str(tmp_path / "store"), tmp_path / "log"
    nth = 5 if point.startswith("append") else 1

    with scene("work", store, backend, str(log), f"{point}:{nth}") as child:
        assert child.line() == "ready"
        assert _settled(child) == "interrupted"
        _check(store, log)


@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c_at_each_line_of_entering_and_leaving_is_keyboard_interrupt(tmp_path: Path, backend: str) -> None:
    """Trio raises it wherever the main thread is: a runtime that was half entered was an internal error of trio's."""
    errors, store = tmp_path / "errors", str(tmp_path / "store")
    wrap = ["sh", "-c", 'exec "$@" 2> "$0"', str(errors)]
    code = "from tests.runtime import scenes\nscenes.play_each_line(sys.argv[2], url)\nsys.stdin.readline()"

    with Child(code, store, backend, wrap=wrap) as child:
        for number in itertools.count():
            said = child.line()
            if said == f"{number} left":
                break
            assert said == f"{number} interrupted", _said(errors)
            run(ready(), id="x", store=f"{store}{number}")  # RunOwned, if it had not been let go of
        assert _said(errors) == ""

    assert number > 40


@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c_says_no_more_than_keyboard_interrupt(tmp_path: Path, backend: str) -> None:
    """Where nobody catches it, the process ends as Ctrl-C ends one, and no other error is shown than asyncio's own."""
    errors = tmp_path / "errors"
    wrap = ["sh", "-c", 'exec "$@" 2> "$0"', str(errors)]

    with scene("count", str(tmp_path / "store"), backend, wrap=wrap, UNCAUGHT="1") as child:
        assert child.line() == "counting"  # which has no end: it can't be over before its Ctrl-C
        child.process.send_signal(signal.SIGINT)
        status = child.wait()

    said = _said(errors)
    assert status == -signal.SIGINT
    assert said.endswith("\nKeyboardInterrupt\n")
    assert set(re.findall(r"^(?:\w+\.)*(\w+)(?::.*)?$", said, re.MULTILINE)) <= {"CancelledError", "KeyboardInterrupt"}
    assert not re.search(r"^  [+|]", said, re.MULTILINE), "no group of errors, which is drawn with these"


def _settled(child: Child) -> str:
    """What became of it: interrupted, and still alive, or finished before."""
    said = child.line()
    assert said.startswith(("interrupted", "finished"))
    return said


def _check(store: str, log: Path) -> None:
    """Go on with the run at once; compare what it did with what was committed before."""
    errors = _said(Path(f"{log}.errors"))
    assert errors == "", errors
    before = _committed(store)

    told = Counter(log.read_text().split() if log.exists() else [])
    assert all(times == 1 for times in told.values()), "one process ran an activation twice"
    assert before >= len(told) - 1, "a successor started, so what came before it was acknowledged"
    ran: list[str] = []

    result = run(steps(ran.append), id="x", store=store)  # RunOwned, if it had not been let go of

    assert result.trace == [f"step{number}" for number in range(STEPS)]
    assert len(ran) == STEPS - before


def _said(errors: Path) -> str:
    """What a child said of errors, but for what Python itself does.

    It may raise a Ctrl-C between the call of a coroutine function and its await, and says so.
    """
    said = errors.read_text() if errors.exists() else ""
    warning = r"\S+ RuntimeWarning: coroutine '[^']+' was never awaited\n(  .*\n|RuntimeWarning: .*\n)*"
    return re.sub(warning, "", said)


def _committed(store: str) -> int:
    """How many steps a reader finds committed."""
    if not Path(store, "actorflow.json").exists():
        return 0
    opened = open_store(store, readonly=True)
    try:
        return sum(1 for moment in moments(opened.log("x").read(first=0)) if moment.node is not None)
    finally:
        opened.close()


def _pause(seconds: float) -> None:
    """A random moment is what this is about, so here the clock decides."""
    time.sleep(seconds)
