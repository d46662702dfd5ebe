"""Whole runs that format 1 kept stay readable, and can be gone on with."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from actorflow import Runtime
from tests.runtime.golden_run import FINAL, FOLDER, V1, V2, graph

if TYPE_CHECKING:
    from pathlib import Path


async def test_the_golden_run_reads_as_it_was(tmp_path: Path) -> None:
    """Its result, its checkpoints in both schemas, and nothing to complain about."""
    store = str(shutil.copytree(FOLDER, tmp_path / "store"))
    async with Runtime(store, graphs=[graph(V2, grown=True)], readonly=True) as rt:
        handle = rt.get("golden run")
        seen = [(one.kind, one.node, one.version, one.values["n"]) async for one in handle.views()]

        assert await handle.result() == FINAL
        assert await rt.verify() == []
        assert [(kind, node) for kind, node, _, _ in reversed(seen)] == [
            ("spawned", None),
            ("finished", "start"),
            ("finished", "left"),
            ("claimed", None),
            ("finished", "right"),
            ("finished", "join"),
            ("finished", "loop"),
            ("finished", "loop"),
            ("finished", "loop"),
            ("finished", "leaf"),
            ("claimed", None),
            ("offered", None),
            ("finished", "verdict"),
        ]
        assert [version for _, _, version, _ in seen] == [2, 2] + [1] * 11
        assert (await handle.at(node="join")).state == V2(
            n=1,
            lines=["a", "b", "left", "right"],
            marks=[7],
            table={"x": 1, "y": 2},
            recent=[1, 2],
            names=["p", "q"],
            people=[{"name": "Ada", "born": "10 December 1815"}, {"name": "Alan", "born": "1912"}],
            total=7,
            verdict="unknown",
        )


async def test_the_golden_run_can_be_gone_on_with(tmp_path: Path) -> None:
    """A graph that grew once more continues what format 1 parked."""
    store = str(shutil.copytree(FOLDER, tmp_path / "store"))
    grown = graph(V2, grown=True)

    @grown.node(after="verdict")
    async def epilogue(state: V1) -> dict[str, str]:
        return {"text": "epilogue"}

    async with Runtime(store) as rt:
        final = await (await rt.resume(grown, "golden run")).result()

    assert final.text == "epilogue"
    assert final.n == FINAL.n
