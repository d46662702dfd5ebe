"""Contacts: the part of a node's context by which it speaks with other runs, and with itself later on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NoReturn

from actorflow.graph.message import Envelope
from actorflow.runtime.awaiting import Awaiting
from actorflow.runtime.post import Post

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from actorflow.engine.events import Outgoing
    from actorflow.engine.records import Ask
    from actorflow.graph.contacting import HasId
    from actorflow.graph.graph import Graph
    from actorflow.graph.message import Message
    from actorflow.graph.state import State
    from actorflow.runtime.means import Means
    from actorflow.runtime.post import OnClose


class Contacts(ABC):
    """What a node sends, begins, watches and waits for. Made with its first use."""

    __slots__ = ("_awaiting", "_means", "_post")

    def __init__(self, means: Means) -> None:
        """Nobody was contacted yet."""
        self._means = means
        self._post: Post | None = None
        self._awaiting: Awaiting | None = None

    @abstractmethod
    def _check_waiting(self, question: str) -> None:
        """Refuse what nobody may wait for here."""

    @abstractmethod
    def _stop(self, ask: Ask) -> NoReturn:
        """Leave the node until this is over."""
        ...

    @abstractmethod
    def _key_of(self, text: str) -> str:
        """The key of a wait, from its text."""

    @property
    def outgoing(self) -> Sequence[Outgoing]:
        """What this attempt has sent."""
        return () if self._post is None else self._post.outgoing

    def _send_anew(self) -> None:
        if self._post is not None:
            self._post.begin_again()

    def _out(self, what: str) -> Post:
        """What is sent with. Only the node itself sends: what is around it may call it again."""
        self._check_waiting(what)
        self._means.check(what)
        if self._post is None:
            self._post = Post(self._means.place, self._means.graphs)
        return self._post

    def _for(self, what: str) -> Awaiting:
        post = self._out(what)
        if self._awaiting is None:
            self._awaiting = Awaiting(self._means, post, key_of=self._key_of, stop=self._stop)
        return self._awaiting

    @property
    def message(self) -> Envelope:
        """See `Context.message`."""
        letter = self._means.place.activation.letter
        if letter is None:
            node = self._means.place.node.name
            raise RuntimeError(f"node {node!r} handles no message: only what is declared with Graph.on does")
        return Envelope(id=letter.id.hex(), sender=letter.sender, at=letter.at, by=letter.by)

    async def send(self, run: str | HasId, message: Message) -> None:
        """See `Context.send`."""
        self._out("to send a message").send(run, message)

    async def ask(
        self,
        run: str | HasId,
        message: Message,
        *,
        type: Any = Any,
        timeout: float | None = None,  # noqa: ASYNC109 - it outlives the process
        key: str | None = None,
    ) -> Any:
        """See `Context.ask`."""
        return await self._for("for a reply").reply(run, message, type=type, within=timeout, key=key)

    async def spawn(
        self,
        graph: Graph[Any],
        state: State | None = None,
        *,
        id: str | None = None,
        parent_close: OnClose = "cancel",
        tags: Mapping[str, str] | None = None,
        monitor: bool = False,
    ) -> str:
        """See `Context.spawn`."""
        post = self._out("to begin a run")
        return post.spawn(graph, state, id=id, parent_close=parent_close, tags=tags, monitor=monitor)

    async def result(
        self,
        run: str | HasId,
        type: Any = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it outlives the process
        key: str | None = None,
    ) -> Any:
        """See `Context.result`."""
        return await self._for("for the end of a run").end(run, type=type, within=timeout, key=key)

    async def receive(
        self,
        message_type: Any,
        *,
        where: Callable[[Any], object] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - it outlives the process
        key: str | None = None,
    ) -> Any:
        """See `Context.receive`."""
        return await self._for("for a message").message(message_type, where=where, within=timeout, key=key)

    def begin_child(self, id: str, graph: str, state: Sequence[Any], *, monitor: bool) -> None:
        """Begin a run of a graph that need not be known here, from the form of its state and the plain values."""
        post = self._out("to begin a run")
        post.begin(id, graph, state, monitor=monitor)

    def cancel_child(self, run: str | HasId) -> None:
        """See `Context.cancel_child`."""
        self._out("to cancel a run").cancel(run)

    def monitor(self, run: str | HasId) -> None:
        """See `Context.monitor`."""
        self._out("to monitor a run").monitor(run)

    def link(self, run: str | HasId) -> None:
        """See `Context.link`."""
        self._out("to link itself to a run").monitor(run, linked=True)

    def set_timer(
        self, name: str, message: Message, *, at: datetime | float | None = None, after: float | None = None
    ) -> None:
        """See `Context.set_timer`."""
        self._out("to set a timer").set_timer(name, message, at=at, after=after)

    def cancel_timer(self, name: str) -> None:
        """See `Context.cancel_timer`."""
        self._out("to cancel a timer").cancel_timer(name)
