"""Ctrl-C on trio, which raises it wherever the main thread is just then; asyncio keeps it for the next ``await``.

Raised between a task group's beginning and the ``with`` block that would end
it, it would leave trio with a group that nobody ends: "internal error in Trio".
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable


def waits_for(*functions: Callable[..., Any]) -> None:
    """From their next call on, a Ctrl-C that meets one of these is raised at the main task's next checkpoint instead.

    It does nothing where trio is not loaded, since nothing runs on it then.
    """
    if "trio" in sys.modules:
        from trio.lowlevel import enable_ki_protection

        for function in functions:
            enable_ki_protection(function)


def waits_for_groups() -> None:
    """The same of entering and leaving anyio's task groups and scopes: trio's own inside them are whole already."""
    for kind in (type(anyio.CancelScope()), type(anyio.create_task_group())):
        methods = ("__enter__", "__exit__", "__aenter__", "__aexit__")
        waits_for(*(getattr(kind, name) for name in methods if hasattr(kind, name)))
