"""Both event loops: a test that is run on asyncio and on trio, whatever its project does with the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

F = TypeVar("F", bound=Callable[..., Any])


def both_loops(test: F) -> F:
    """Run a coroutine test twice, on asyncio and on trio, by anyio's plugin for pytest.

    ``pytest.mark.anyio`` alone does so, too, unless the project has an
    ``anyio_backend`` fixture of its own that names one loop.

    Example:
        >>> from actorflow.testing import both_loops
        >>> @both_loops
        ... async def test_an_order_is_shipped(actorflow_runtime):
        ...     async with actorflow_runtime() as rt:
        ...         ...
    """
    both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
    marked: F = pytest.mark.anyio(both(test))
    return marked
