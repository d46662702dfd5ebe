"""Post: what an attempt of a node sends to other runs, begins, watches and sets. It goes out with the node's result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from actorflow.engine.events import Outgoing
from actorflow.engine.inputs import checked_input, default_input
from actorflow.engine.operations import thaw
from actorflow.engine.run import Form
from actorflow.errors import BadMessage
from actorflow.graph.message import Down
from actorflow.runtime import clock
from actorflow.runtime.conversion import form_of
from actorflow.runtime.letters import write
from actorflow.runtime.options import check_texts, check_word
from actorflow.store.keys import encode_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from actorflow.engine.decision import Place
    from actorflow.graph.contacting import HasId
    from actorflow.graph.graph import Graph
    from actorflow.graph.message import Message
    from actorflow.graph.state import State
    from actorflow.runtime.means import Graphs

OnClose = Literal["cancel", "abandon"]
"""What becomes of a child when the run that began it has ended."""

_MAX_ID = 400  # bytes: an id that a child makes of its parent's may be longer, and that of its child again


class Post:
    """What one attempt has sent so far. Nothing of it has gone out: that is for the commit of its result."""

    def __init__(self, place: Place, graphs: Graphs) -> None:
        """Nothing was sent yet."""
        self.outgoing: list[Outgoing] = []
        self.graphs = graphs
        self._place = place
        self._children = 0

    def begin_again(self) -> None:
        """The function is called once more, from its start."""
        self.outgoing.clear()
        self._children = 0

    def send(self, run: str | HasId, message: Message, *, ask: str | None = None) -> str:
        """See `Context.send`. With ``ask`` for a reply to that wait. The id of the run."""
        target = run_id_of(run)
        form, values = self._encoded(target, message)
        self._hand_out(Outgoing("message", target, form, values, ask))
        return target

    def spawn(
        self,
        graph: Graph[Any],
        state: State | None,
        *,
        id: str | None,
        parent_close: OnClose,
        tags: Mapping[str, str] | None,
        monitor: bool,
    ) -> str:
        """See `Context.spawn`."""
        check_word("parent_close", parent_close, OnClose)
        its_tags = dict(tags or {})
        check_texts("tags", [*its_tags, *its_tags.values()])
        self.graphs.register(graph)
        self.graphs.contexts.check_there(graph)
        schema = graph.schema
        values = checked_input(schema, default_input(schema) if state is None else state)
        self._children += 1
        target = self._child_id() if id is None else id
        encode_id(target)  # refuses an id that can't be one
        plain = {name: thaw(value) for name, value in values.items()}
        self._hand_out(
            Outgoing("spawn", target, form_of(schema), [plain, its_tags], graph=graph.name, on_close=parent_close)
        )
        if monitor:
            self.monitor(target)
        return target

    def begin(self, target: str, graph: str, state: Sequence[Any], *, monitor: bool) -> None:
        """Begin a run of a graph that need not be known here, from the form of its state and the plain values.

        Nothing is kept of it but until word of its end came, if it is monitored: this may go on for ever.
        """
        encode_id(target)
        (name, version, fields), values = state
        form = Form(name, version, tuple(tuple(one) for one in fields))
        self._hand_out(
            Outgoing("spawn", target, form, [values, {}], graph=graph, on_close="forget" if monitor else None)
        )
        if monitor:
            self.monitor(target)

    def cancel(self, run: str | HasId) -> None:
        """See `Context.cancel_child`.

        Raises:
            LookupError: this run has not begun it.
        """
        target = run_id_of(run)
        if target not in self._place.run.mail.children:
            raise LookupError(f"run {target!r} is no child of run {self._place.run.run_id!r}")
        self._hand_out(Outgoing("cancel", target))

    def monitor(self, run: str | HasId, *, linked: bool = False) -> None:
        """See `Context.monitor`, and `Context.link`."""
        target = run_id_of(run)
        if not linked and Down.schema_name not in self._place.root.messages:
            raise BadMessage(
                self._place.run.run_id,
                "Down",
                sorted(self._place.root.messages),
                "who monitors a run gets a Down when that ends: declare what handles it with Graph.on(Down), or "
                "Graph(messages=[Down])",
            )
        self._hand_out(Outgoing("monitor", target, values=linked or None))

    def watch(self, run: str | HasId, ask: str) -> None:
        """Let this wait be told how a run ends."""
        self._hand_out(Outgoing("monitor", run_id_of(run), ask=ask))

    def set_timer(self, name: str, message: Message, *, at: datetime | float | None, after: float | None) -> None:
        """See `Context.set_timer`."""
        check_texts("timer", [name])
        due = _due(at, after)
        form, values = self._encoded(self._place.run.run_id, message)
        if form.name not in self._place.root.messages:
            raise BadMessage(self._place.run.run_id, form.name, sorted(self._place.root.messages))
        self._hand_out(Outgoing("timer", name, form, values, due=due))

    def cancel_timer(self, name: str) -> None:
        """See `Context.cancel_timer`."""
        check_texts("timer", [name])
        self._hand_out(Outgoing("untimer", name))

    def _hand_out(self, outgoing: Outgoing) -> None:
        node = self._place.node
        if node.cache is not None:
            raise ValueError(
                f"node {node.name!r} has a cache=, and what it sends would not go out where its result is known; "
                "leave one of the two out"
            )
        self.outgoing.append(outgoing)

    def _encoded(self, target: str, message: Message) -> tuple[Form, dict[str, Any]]:
        written = write(target, message, codecs=self._place.schema.codecs)
        return written.form, {name: thaw(value) for name, value in written.values.items()}

    def _child_id(self) -> str:
        """The same in every execution of this activation, and no other's."""
        run_id, activation = self._place.run.run_id, self._place.activation
        key = activation.key.hex()
        if len(run_id.encode()) + len(activation.node.encode()) > _MAX_ID:
            return f"{key}-{self._children}"
        return f"{run_id}/{activation.node}-{key[:12]}-{self._children}"


def run_id_of(run: str | HasId) -> str:
    """The id of a run that is meant.

    Raises:
        BadRunId: it can't be one.
        TypeError: it is neither an id nor something that has one.
    """
    found = run if isinstance(run, str) else getattr(run, "id", None)
    if not isinstance(found, str):
        raise TypeError(f"{run!r} is no run: give its id, or a handle of it")
    encode_id(found)
    return found


def _due(at: datetime | float | None, after: float | None) -> float:
    if (at is None) == (after is None):
        raise ValueError("a timer is due at= a time, or after= so many seconds; say one of them")
    if isinstance(at, int | float):
        if not math.isfinite(at):
            raise ValueError(f"at={at}: give seconds since 1970, or a datetime")
        return at
    if at is not None:
        if at.tzinfo is None:
            raise ValueError(f"at={at!r} has no time zone, and this machine's is not the next one's; give one")
        return at.timestamp()
    assert after is not None, "one of the two is given"  # noqa: S101
    if not 0 <= after < math.inf:  # NaN is neither
        raise ValueError(f"after={after}: give seconds, 0 or more")
    return clock.now() + after
