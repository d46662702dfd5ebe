"""Every planted bug is found: the tests that are named with it pass without it, and go red with it.

They go red by an assertion or by an error of ours, so that it is the guarantee
that was missed, and not the plant that fell over.
"""

from __future__ import annotations

import re
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree as ET

import pytest

from tests.planted.bugs import BUGS, VARIABLE
from tests.planted.nursery import Nursery, report_in

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__)
AT_ONCE = 2
SECONDS = 100  # for one run, which takes one or two: a bug may make a loop endless, and that is no way to be found
LONG = 240  # a test waits for its run, and that for those before it

# What a test says that has found something. A wait that it bounds itself ends in a TimeoutError.
_FOUND = re.compile(r"(AssertionError|assert |Failed: |TimeoutError|actorflow\.[\w.]+: )")
_GAVE_UP = "Failed: Timeout"  # by pytest itself: nothing was found


class Ran(NamedTuple):
    """What became of the tests of one run: by their name, why each failed; empty if it passed."""

    verdicts: dict[str, str]
    output: str

    def of(self, test: str) -> list[str]:
        """The verdicts of one test, one for each of its parameters."""
        return [why for name, why in self.verdicts.items() if name == test or name.startswith(f"{test}[")]


def run(nursery: Nursery, tests: list[str], folder: Path, planted: str = "") -> Ran:
    """Run these tests in a process of their own, with that bug in it."""
    environment = {VARIABLE: planted, "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis")}
    output = nursery.run(tests, folder, seconds=SECONDS, **environment)
    report = report_in(folder)
    if not report.exists():
        return Ran({}, output)
    verdicts: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase"):
        if case.find("skipped") is None:
            failure = case.find("failure") if case.find("error") is None else case.find("error")
            verdicts[_name(case)] = "" if failure is None else failure.get("message", "") or "?"
    return Ran(verdicts, output)


def _name(case: ET.Element) -> str:
    """As on the command line: the report parts path and classes by dots."""
    module, dot, classes = case.get("classname", "").partition(".Test")
    return f"{module.replace('.', '/')}.py::{f'Test{classes}::' if dot else ''}{case.get('name')}"


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Ran]]]:
    """A run for each bug that is asked for, two at a time."""
    free: SimpleQueue[Nursery] = SimpleQueue()

    def run_with(bug: str, folder: Path) -> Ran:
        nursery = free.get()
        try:
            return run(nursery, all_of(bug), folder, bug)
        finally:
            free.put(nursery)

    with ExitStack() as stack, ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in range(AT_ONCE):
            free.put(stack.enter_context(Nursery()))
        yield {bug: pool.submit(run_with, bug, tmp_path_factory.mktemp("run")) for bug in asked(request)}
        pool.shutdown(cancel_futures=True)


def asked(request: pytest.FixtureRequest) -> list[str]:
    """The bugs of the tests that were not deselected."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and item.path == HERE]
    return [item.callspec.params["bug"] for item in items if hasattr(item, "callspec")]


def all_of(bug: str) -> list[str]:
    """Those that must find it; without a bug all of them, each once."""
    return list(dict.fromkeys(test for bug in ([BUGS[bug]] if bug else BUGS.values()) for test in bug.found_by))


@pytest.mark.slow
@pytest.mark.timeout(LONG)
@pytest.mark.parametrize("bug", [""], ids=["none"])
def test_without_a_bug_nothing_is_found(bug: str, runs: dict[str, Future[Ran]]) -> None:
    """The same tests, all of them, in a process with nothing planted."""
    ran = runs[bug].result()

    assert {name: why for name, why in ran.verdicts.items() if why} == {}
    assert all(ran.of(test) for test in all_of(bug) if shutil.which("strace") or "test_power_loss.py" not in test)


@pytest.mark.slow
@pytest.mark.timeout(LONG)
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str, runs: dict[str, Future[Ran]]) -> None:
    """By each of the tests that are named with it."""
    if BUGS[bug].needs_strace and shutil.which("strace") is None:
        pytest.skip("strace is not installed")

    ran = runs[bug].result()

    for test in BUGS[bug].found_by:
        red = [why for why in ran.of(test) if why]
        assert red, f"{test} does not notice that {bug}\n{ran.output}"
        odd = [why for why in red if not _FOUND.match(why) or why.startswith(_GAVE_UP)]
        assert not odd, f"{test} goes red, but not because {bug}: {odd[0]}"


def test_a_bug_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    """Or a misspelt one would be looked for in vain."""
    with Nursery() as nursery:
        ran = run(nursery, ["tests/store/test_keys.py"], tmp_path, "does not exist")

    assert ran.verdicts == {}
    assert "there is no such bug" in ran.output
