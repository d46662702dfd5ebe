"""Context: what a node may know and use beside the state, as its optional second parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import logging


class Context(Protocol):
    """Who asks a node to run, and what the caller handed along. Valid during the attempt only.

    Annotate a node's second parameter with it; a test of a node may pass any
    object with these attributes.

    Example:
        >>> from actorflow import Context, State, Update
        >>> class Order(State):
        ...     total: int
        ...     receipt: str = ""
        >>> async def charge(state: Order, ctx: Context) -> Update:
        ...     return {"receipt": await ctx.context.bank.charge(state.total, key=ctx.idempotency_key)}
    """

    @property
    def run_id(self) -> str:
        """The id of the run."""
        ...

    @property
    def node(self) -> str:
        """The name of the node that runs."""
        ...

    @property
    def attempt(self) -> int:
        """Which call of this activation it is: 1 is the first."""
        ...

    @property
    def idempotency_key(self) -> str:
        """The same on every attempt and after every restart of this activation, and no other's.

        An effect outside happens at least once (guarantee 6); hand this key to
        whoever can tell a repetition by it.
        """
        ...

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that knows the run, the node and the attempt."""
        ...

    @property
    def context(self) -> Any:
        """The clients and settings given as ``context=`` to run, spawn or resume. Never stored."""
        ...
