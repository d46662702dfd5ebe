"""Lines: what happens in runs, as a line each, for whoever watches a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.cli.output import say
from actorflow.cli.text import visible

if TYPE_CHECKING:
    from actorflow import CommitEvent, Event, NodeEvent, UpdateEvent, WaitEvent


class Lines:
    """A hook that says what nodes begin and finish, what fails, what is asked and answered, and how runs end."""

    async def on_node_start(self, event: NodeEvent) -> None:
        """A node is called."""
        attempt = "" if event.attempt in (None, 1) else f", attempt {event.attempt}"
        _say(event, f"started{attempt}")

    async def on_node_complete(self, event: NodeEvent) -> None:
        """It is done, and that is committed."""
        took = "from an earlier run" if event.cached else "" if event.took is None else f"{event.took:.2f} s"
        _say(event, f"finished {took}".rstrip())

    async def on_node_retry(self, event: NodeEvent) -> None:
        """It failed, and is called again."""
        _say(event, f"failed, and is tried again: {_error(event)}")

    async def on_node_error(self, event: NodeEvent) -> None:
        """It failed for good, or the run is restarted for it."""
        _say(event, f"{event.kind}: {_error(event)}")

    async def on_wait(self, event: WaitEvent) -> None:
        """The run asks something, or waits for something else."""
        match event.wait:
            case "sleep":
                _say(event, "sleeps")
            case "receive":
                _say(event, f"waits for a message {event.question!r}")
            case "reply" | "child":
                _say(event, f"waits for {event.question}")
            case _:
                _say(event, f"asks {event.question!r}")

    async def on_answer(self, event: WaitEvent) -> None:
        """What it waited for came, or time was over."""
        match event.wait:
            case "sleep":
                _say(event, "wakes")
            case "receive" | "reply" | "child":
                _say(event, "waits no longer")
            case _:
                _say(event, f"{event.question!r} is {event.kind}{f' by {event.by}' if event.by else ''}")

    async def on_update(self, event: UpdateEvent) -> None:
        """Somebody outside changed the state."""
        if event.node is None:
            _say(event, f"state updated{f' by {event.by}' if event.by else ''}: {', '.join(event.fields)}")

    async def on_run_end(self, event: CommitEvent) -> None:
        """The run is over."""
        say(visible(f"{event.run_id}  {event.status}"))


def _say(event: Event, what: str) -> None:
    place = "/".join(filter(None, (event.scope, event.node))) + ("" if event.index is None else f"[{event.index}]")
    say(visible("  ".join(filter(None, (event.run_id, place, what)))))


def _error(event: NodeEvent) -> str:
    return "" if event.error is None else f"{event.error.type}: {event.error.message}"
