"""The smallest graph: two nodes, each saved as it finishes. Start it twice: the second time nothing runs.

python examples/adder_multiplier.py
"""

from __future__ import annotations

import anyio

from actorflow import Graph, Runtime, State, Update


class Sum(State, version=1):
    """What the run knows."""

    a: int
    b: int
    total: int = 0
    product: int = 0


arithmetic = Graph("adder-multiplier", Sum)


@arithmetic.node
async def adder(state: Sum) -> Update:
    """Runs once for this id, however often the script is started."""
    print("adder runs")
    return {"total": state.a + state.b}


@arithmetic.node(after=adder)
async def multiplier(state: Sum) -> Update:
    """Sees what adder has returned."""
    print("multiplier runs")
    return {"product": state.total * 10}


async def main() -> None:
    """Run it, resume the finished run, list its checkpoints."""
    async with Runtime() as rt:  # the files are in ./.actorflow
        state = await rt.run(arithmetic, Sum(a=2, b=3), id="two-and-three")
        print(f"(2 + 3) * 10 = {state.product}")

        run = await rt.resume(arithmetic, "two-and-three")  # a finished run: nothing runs
        print(f"resumed: {(await run.result()).product}, {await run.status()}")

        async for checkpoint in run.views():  # newest first
            print(f"commit {checkpoint.seq}: {checkpoint.node or checkpoint.kind}, product {checkpoint.state.product}")


if __name__ == "__main__":
    anyio.run(main)
