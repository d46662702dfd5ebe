"""A commit that fails: what waited for it does not happen, and nothing is written past the gap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorflow import Runtime
from actorflow.errors import StoreFull
from actorflow.store.ownership import Ownership
from tests.runtime.graphs import Trail, counter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.runtime.options import Durability
    from actorflow.store.frames import Draft


class FullDisk:
    """Makes the n-th commit fail for want of room, and only that one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
        self.left = nth
        commit = Ownership.committing

        def failing(ownership: Ownership, draft: Draft) -> Any:
            self.left -= 1
            if self.left == 0:
                raise StoreFull("disk", "no space left")
            yield from commit(ownership, draft)

        monkeypatch.setattr(Ownership, "committing", failing)


@pytest.fixture
def patched() -> Iterator[pytest.MonkeyPatch]:
    """Undone before the store is looked at again."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_a_failed_commit_stops_the_run_and_leaves_no_gap(
    store_url: str, patched: pytest.MonkeyPatch, durability: Durability, nth: int
) -> None:
    """The typed error reaches the waiter; the run goes on from its last commit when there is room again."""
    if durability == "exit" and nth > 1:
        pytest.skip("exit commits once")
    full = anyio.Event()
    graph = counter(8, after=full)
    async with Runtime(store_url, recover="never") as rt:
        handle = await rt.spawn(graph, Trail(), id="x", durability=durability)
        FullDisk(patched, nth)
        full.set()
        with pytest.raises(StoreFull):
            await handle.result()
    patched.undo()
    async with Runtime(store_url) as rt:
        assert await rt.verify("x") == []
        assert (await rt.run(graph, Trail(), id="x")).n == 8


async def test_nothing_follows_a_failed_commit_when_the_runtime_is_left(
    store_url: str, patched: pytest.MonkeyPatch
) -> None:
    """Under `async` the failure may be noticed only while leaving: the release must not jump the gap."""
    filling = anyio.Event()
    graph = counter(50, after=filling)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving by an exception is what is tested
        async with Runtime(store_url, recover="never") as rt:
            await rt.spawn(graph, Trail(), id="x", durability="async")
            full = FullDisk(patched, 3)
            filling.set()
            while full.left > 0:
                await anyio.lowlevel.checkpoint()
            raise ZeroDivisionError
    patched.undo()
    async with Runtime(store_url) as rt:
        assert (await rt.run(graph, Trail(), id="x")).n == 50
