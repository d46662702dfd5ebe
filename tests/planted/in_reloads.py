"""Bugs in reloads: runs that go on under code that does not fit, or under the old one for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorflow.runtime import adopt, reload
from actorflow.runtime.reload import Reloading
from tests.planted.registry import found_by

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

    from actorflow.engine.run import RunState
    from actorflow.graph.graph import Graph
    from actorflow.runtime.life import Life
    from actorflow.runtime.lives import Lives

RELOADS = "runtime/test_reload.py"


@found_by(f"{RELOADS}::test_what_changes_until_a_run_stands_still_counts")
def what_fitted_once_fits(patch: pytest.MonkeyPatch) -> None:
    """A run goes on as it was when it was looked at first; what it did since is lost, or leads nowhere."""
    fit_all = reload._fit_all
    known: dict[Life, Any] = {}

    async def once(lives: Lives, graph: Graph[Any], those: Iterable[Life], context: Any) -> Any:
        lives_there = list(those)
        if new := [life for life in lives_there if life not in known]:
            known.update((one.life, one) for one in await fit_all(lives, graph, new, context))
        return [known[life] for life in lives_there]

    patch.setattr(reload, "_fit_all", once)


@found_by(f"{RELOADS}::test_the_old_graph_stands_for_the_new_one_wherever_it_is_given")
def the_old_graph_comes_back(patch: pytest.MonkeyPatch) -> None:
    """Whoever still has it begins runs of the old code, among those of the new."""

    def itself(self: Reloading, graph: Graph[Any]) -> Graph[Any]:
        return graph

    patch.setattr(Reloading, "newest", itself)


@found_by(f"{RELOADS}::test_messages_that_wait_are_handled_by_the_new_code_in_its_version")
def messages_lose_their_types(patch: pytest.MonkeyPatch) -> None:
    """A run that was migrated does not know any more what waits in its mailbox."""

    def none(run: RunState) -> set[str]:
        return set()

    patch.setattr(adopt, "forms_of_mail", none)
