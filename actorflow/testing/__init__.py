"""Testing: what you need to try a graph of yours, or a backend, where processes die and stores fail.

    explore                 run a graph, and kill it at every operation of its store
    assert_resumes_equal    the same, in a test
    VirtualClock            time that jumps to whatever is due next
    FaultyBackend           a backend that fails as it is told to
    both_loops              a test on asyncio and on trio; needs pytest
    BackendContract         what every `Backend` must do, as tests to subclass; needs pytest

pytest has fixtures of these: see `actorflow.testing.plugin`. Nothing is loaded before you ask for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actorflow.testing.backend_contract import BackendContract
    from actorflow.testing.clock import VirtualClock
    from actorflow.testing.crashing import KINDS
    from actorflow.testing.explorer import assert_resumes_equal, explore
    from actorflow.testing.faulty import FaultyBackend
    from actorflow.testing.loops import both_loops
    from actorflow.testing.report import Calls, Failure, Report
else:
    _HOME = {
        "BackendContract": "backend_contract",
        "Calls": "report",
        "FaultyBackend": "faulty",
        "Failure": "report",
        "KINDS": "crashing",
        "Report": "report",
        "VirtualClock": "clock",
        "assert_resumes_equal": "explorer",
        "both_loops": "loops",
        "explore": "explorer",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "KINDS",
    "BackendContract",
    "Calls",
    "Failure",
    "FaultyBackend",
    "Report",
    "VirtualClock",
    "assert_resumes_equal",
    "both_loops",
    "explore",
]
