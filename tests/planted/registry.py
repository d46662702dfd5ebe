"""The registry of planted bugs: each breaks the library in this process, and names the tests that must find it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    Plant = Callable[[pytest.MonkeyPatch], None]


class Bug(NamedTuple):
    """A mistake that somebody might make one day."""

    what: str
    plant: Plant
    found_by: tuple[str, ...]  # each of these tests goes red

    @property
    def needs_strace(self) -> bool:
        """Whether one of them reads system calls."""
        return any("test_power_loss.py" in test for test in self.found_by)


BUGS: dict[str, Bug] = {}


def found_by(*tests: str) -> Callable[[Plant], Plant]:
    """Register a plant under its own name, with the tests (below ``tests/``) that must go red when it is there."""

    def register(plant: Plant) -> Plant:
        name = plant.__name__.replace("_", " ")
        BUGS[name] = Bug(plant.__doc__ or "", plant, tuple(f"tests/{test}" for test in tests))
        return plant

    return register


def everywhere(patch: pytest.MonkeyPatch, function: Any, instead: Any) -> None:
    """Replace a function of the library under its name in every module that imported it."""
    name = function.__name__
    for module in list(sys.modules.values()):
        if module.__name__.startswith("actorflow.") and getattr(module, name, None) is function:
            patch.setattr(module, name, instead)
