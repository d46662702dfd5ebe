"""What every test shares: both event loops, a store of its own, Hypothesis without a stopwatch."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

# A shell lets what it starts in the background ignore Ctrl-C, and every child of the tests would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The machine's load is no property of the code: the per-test timeout bounds the time instead.
settings.register_profile("actorflow", deadline=None, print_blob=True)
settings.load_profile("actorflow")


_TOGETHER = ("buckets", "soak", "planted", "kill")
"""Folders whose tests share what is dear to start: where tests run in several processes, one has all of a folder."""


_APART = ("simulation", "models")
"""Folders whose tests take long and share nothing: any process may have any of them. Elsewhere it has all of a file."""


_FIRST = (*_TOGETHER, *_APART, "docs", "testing", "demo", "faults", "examples", "engine")
"""Folders that take long: begun last, they would leave all processes but one without work. Those that wait go first."""


_UNMEASURED = ("models", "simulation", "faults")
"""Folders that go the same ways thousands of times: coverage learns nothing there that it does not learn elsewhere."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long goes first. Coverage doubles the time of what it measures, so it measures what it learns from."""
    for item in items:
        if item.path.parent.name in _UNMEASURED or _goes_the_same_way_again(item):
            item.add_marker(pytest.mark.no_cover)
    rank = {folder: place for place, folder in enumerate(_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.parent.name, len(rank)))


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """What is not to be measured is not: xdist's processes are measured twice, and pytest-cov stops one of both."""
    if item.get_closest_marker("no_cover") is None:
        return (yield)
    here, in_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]  # as good as never set
    try:
        return (yield)
    finally:
        threading.settrace(in_threads)  # type: ignore[arg-type]  # None, if it was never set
        sys.settrace(here)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Where tests run in several processes, each takes what belongs together, in the order above.

    Marks for groups would say the same, but xdist 3.8 loses them under pytest 9.2, and without a word.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            folder = path.split("/")[-2]
            return folder if folder in _TOGETHER else nodeid if folder in _APART else path

    config.option.loadscopereorder = False  # most tests first is not longest first
    return Scheduling(config, log)


def _goes_the_same_way_again(item: pytest.Item) -> bool:
    """On trio, after asyncio. Only virtual clocks have code for one loop alone."""
    return (
        isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and item.callspec.params.get("anyio_backend") == "trio"
        and item.path.name != "test_clock.py"
    )


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop: every coroutine test runs once on each."""
    return str(request.param)


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """A place for a store where none is yet."""
    return str(tmp_path / "store")
