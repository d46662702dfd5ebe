"""Testing: what you need to try a graph of yours, or a backend, where processes die and stores fail.

    explore                 run a graph, and kill it at every operation of its store
    assert_resumes_equal    the same, in a test
    save_golden             keep a state as this version of the code stores it
    assert_migrates         every state that was kept becomes one of this version
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
    from actorflow.testing.golden import assert_migrates, save_golden
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
        "assert_migrates": "golden",
        "assert_resumes_equal": "explorer",
        "both_loops": "loops",
        "explore": "explorer",
        "save_golden": "golden",
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
    "assert_migrates",
    "assert_resumes_equal",
    "both_loops",
    "explore",
    "save_golden",
]
