"""Exit statuses: every error of the library leads to a documented one, and to a command that can be typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actorflow import errors
from actorflow.cli.exits import MEANINGS, Exit, exit_of, remedy_for

if TYPE_CHECKING:
    from tests.cli.conftest import Project

CASES: list[tuple[Exception, Exit, str | None]] = [
    (errors.RunFailed("r", node="n", seq=3, state=None, error="boom"), Exit.FAILED, "actorflow show r"),
    (errors.RunCancelled("r", seq=3), Exit.FAILED, "actorflow resume r app:graph"),
    (errors.RunExists("r"), Exit.USAGE, "actorflow show r"),
    (errors.WrongGraph("r", "a", "b"), Exit.USAGE, "actorflow show r"),
    (errors.BadRunId("", "it is empty"), Exit.USAGE, "actorflow ls"),
    (errors.GraphError("g", ["a", "b"]), Exit.USAGE, "actorflow check app:graph"),
    (errors.BadUpdate("input", "wrong"), Exit.USAGE, "actorflow run --help"),
    (errors.NoSuchRun("r"), Exit.NOT_FOUND, "actorflow ls"),
    (errors.RunDeleted("r"), Exit.NOT_FOUND, "actorflow ls"),
    (LookupError("no commit 9"), Exit.NOT_FOUND, "actorflow history r"),
    (errors.CorruptCheckpoint("a.ckpt", "damaged"), Exit.CORRUPT, "actorflow verify"),
    (errors.UnsupportedFormat("a.ckpt", "newer"), Exit.CORRUPT, "actorflow verify"),
    (errors.Quarantined("r", 10), Exit.CORRUPT, "actorflow history r"),
    (errors.Blocked("r", "why"), Exit.BLOCKED, "actorflow check app:graph --against ./.actorflow"),
    (errors.UnknownNode("n", "g"), Exit.BLOCKED, "actorflow check app:graph --against ./.actorflow"),
    (
        errors.NoMigration("none", schema="S", found=1, wanted=2),
        Exit.BLOCKED,
        "actorflow check app:graph --against ./.actorflow",
    ),
    (errors.RunOwned("r", "host", 1), Exit.OWNED, "actorflow show r"),
    (errors.StoreFull("s", "full"), Exit.STORE, None),
    (errors.StoreDenied("s", "denied"), Exit.STORE, None),
    (errors.Fenced("s", "fenced"), Exit.STORE, None),
    (errors.BadStoreUrl("s", "no url"), Exit.USAGE, None),
    (errors.NoSuchStore("s", "nothing there"), Exit.NOT_FOUND, "actorflow run module:graph, which makes one"),
    (
        errors.MissingKey("a.ckpt", "2026"),
        Exit.STORE,
        "the same with key 2026 in the variable ACTORFLOW_KEYS too, as id:base64",
    ),
    (
        errors.NotSealed("a.ckpt", "plain", "sealed"),
        Exit.CORRUPT,
        (
            "ACTORFLOW_REQUIRE=plain actorflow rekey r, "
            "if this is from before there were keys (older history is told with that variable, too)"
        ),
    ),
]


@pytest.mark.parametrize(("error", "status", "remedy"), CASES, ids=lambda case: type(case).__name__)
def test_an_error_leads_to_its_exit_status_and_remedy(error: Exception, status: Exit, remedy: str | None) -> None:
    """Special errors come before their parents: a corrupt file is no ordinary trouble with a store."""
    given = {"store": "./.actorflow", "run_id": "r", "target": "app:graph"}

    assert exit_of(error) == status
    assert remedy_for(error, given) == remedy


def test_the_remedy_names_the_store_that_was_given() -> None:
    """What is printed can be typed as it is."""
    assert remedy_for(errors.NoSuchRun("r"), {"store": "my store"}) == "actorflow ls --store 'my store'"


def test_help_lists_every_exit_status(project: Project) -> None:
    """The numbers are a promise to scripts, so they are where users look."""
    lines = project.call("--help").stdout.splitlines()

    listed = {int(line.split()[0]): line.split(maxsplit=1)[1] for line in lines if line.strip()[:1].isdigit()}
    assert listed == {int(status): meaning for status, meaning in MEANINGS.items()}
    assert set(MEANINGS) == set(Exit)
