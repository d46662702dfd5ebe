"""Context: what a node may know and use beside the state, as its optional second parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import logging

    from actorflow.errors import RemoteError


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
    def scope(self) -> str:
        """The path of the graph inside that the node is in; empty at the root."""
        ...

    @property
    def index(self) -> int | None:
        """Of an item of a fan-out: which one. None for any other activation."""
        ...

    @property
    def error(self) -> RemoteError | None:
        """What a node that was opened by an ``on_error=`` handles: the error of the node that failed, as text."""
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

    async def interrupt(
        self,
        question: str,
        payload: Any = None,
        *,
        type: Any = Any,
        key: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - it limits whoever is asked, and outlives the process
        default: Any = None,
    ) -> Any:
        """Ask somebody outside; the answer, once there is one.

        Until then the node is left: the question is durable, others go on, and
        when nothing else does, the run waits, costs nothing, and may do so for
        weeks. When it is answered (`Run.answer`), the node runs again *from its
        start*, and gets the answers it had before at once. So do what must not
        be done twice after the question, or by its idempotency key.

        An answer belongs to the text of its question; of several with the same
        text, to the first, the second, and so on. No ``except Exception`` of the
        node takes the leaving for an error.

        Args:
            question: what is asked.
            payload: what whoever answers must know; anything that a State could hold.
            type: of the answer; another one is refused, and the question stays open.
            key: names the question instead of its text, for those that are asked side by side.
            timeout: seconds after which ``default`` is taken for an answer.
            default: see ``timeout``.

        Raises:
            BadAnswer: the answer that was given is not of this type: the code asks for another one by now.

        Example:
            >>> from actorflow import Context, State, Update
            >>> class Draft(State):
            ...     text: str
            ...     published: bool = False
            >>> async def review(state: Draft, ctx: Context) -> Update:
            ...     return {"published": await ctx.interrupt("Publish?", state.text, type=bool)}
        """
        ...

    def emit(self, data: Any) -> None:
        """Hand something to whoever watches the run now, as a token of a text; it is not stored. See `Run.events`."""
        ...

    def progress(self, done: float, total: float | None = None) -> None:
        """Tell whoever watches the run how far the node is. It is not stored."""
        ...

    def heartbeat(self) -> None:
        """Show that the node is still at work; it and the two above reset an idle timeout."""
        ...
