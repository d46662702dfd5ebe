"""Many sessions at once. Archiving one takes it out of the store, and hands back its id and all its checkpoints.

python examples/sessions_archive.py
"""

from __future__ import annotations

from typing import Annotated

import anyio

from actorflow import Graph, Runtime, State, Update, extend


class Session(State, version=1):
    """What one visitor looked at."""

    visitor: str
    pages: Annotated[list[str], extend] = []


sessions = Graph("sessions", Session)


@sessions.node
async def land(state: Session) -> Update:
    """The first page."""
    return {"pages": ["home"]}


@sessions.node(after=land)
async def browse(state: Session) -> Update:
    """A page that only this visitor likes."""
    return {"pages": [f"things for {state.visitor}"]}


async def main() -> None:
    """Twenty sessions side by side; one of them is archived, and looked at where it is then."""
    async with Runtime() as rt:
        runs = [
            await rt.spawn(
                sessions, Session(visitor=f"visitor {number}"), id=f"session-{number}", on_conflict="attach", reuse=True
            )
            for number in range(1, 21)
        ]
        for run in runs:
            await run.result()
        print(f"{len(await rt.runs())} sessions")

        archived = await rt.get("session-7").archive(by="visitor 7")
        print(f"archived as {archived.archive_id}:")
        for checkpoint in archived.checkpoints:  # newest first
            print(f"  commit {checkpoint.seq}: {checkpoint.kind:7} {checkpoint.status:8} {checkpoint.node or ''}")
        print(f"{len(await rt.runs())} sessions")

    async with Runtime(archived.url, readonly=True, graphs=[sessions]) as archive:  # a store like any other
        print(f"in the archive: {(await archive.get(archived.archive_id).state()).pages}")


if __name__ == "__main__":
    anyio.run(main)
