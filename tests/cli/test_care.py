"""``verify --repair``, ``repair``, ``export``, ``import``, ``doctor``, ``migrate``, ``schema``, as users call them."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project

BROKEN = "broken"
HANG = "hang"


def spoil(project: Project) -> None:
    """Damage the newest commit of the only run."""
    file = max(Path(".actorflow").glob("runs/*/log/*.ckpt"))
    data = bytearray(file.read_bytes())
    data[-40] ^= 1
    file.write_bytes(data)


def files_below(folder: str) -> dict[str, bytes]:
    """Every file with its bytes."""
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_verify_repair_puts_the_index_right(project: Project) -> None:
    """What was found is told as repaired, and is not found again."""
    project.call("run", "app:trail", "--id", "r")
    for entry in Path(".actorflow/ended").iterdir():
        entry.unlink()

    [found] = project.rows("verify")
    repaired = project.call("verify", "--repair")
    again = project.call("verify")

    assert (found["repairable"], found["repaired"]) == (True, False)
    assert "repaired" in repaired.stdout
    assert "everything is as it should be" in again.stderr
    assert [row["id"] for row in project.rows("ls")] == ["r"]


def test_a_damaged_run_goes_on_once_the_digest_of_verify_is_given(project: Project) -> None:
    """The way that verify shows is the one that works."""
    (project.folder / BROKEN).touch()
    project.call("run", "app:trail", "--id", "r")
    (project.folder / BROKEN).unlink()
    spoil(project)
    shown = project.call("verify").stdout
    digest = shown.rpartition("--skip ")[2].split()[0]

    wrong = project.call("repair", "r", "--skip", "0" * 12)
    repaired = project.call("repair", "r", "--skip", digest)
    resumed = project.call("resume", "r", "app:trail")
    kinds = [row["kind"] for row in project.rows("history", "r")]

    assert wrong.exit_code == 2
    assert digest in wrong.stderr
    assert (repaired.exit_code, resumed.exit_code) == (0, 0)
    assert json.loads(resumed.stdout)["trace"] == ["first", "second"]
    assert "repaired" in kinds


def test_a_run_whose_process_was_killed_goes_on_in_another_store(project: Project) -> None:
    """Begun here, exported while it ran, killed, and resumed from the copy by a process that knows only its URL."""
    (project.folder / HANG).touch()
    child = project.start("run", "app:trail", "--id", "r", "--durability", "sync")
    try:
        deadline = time.monotonic() + 30
        while "second" not in project.ran and time.monotonic() < deadline:
            time.sleep(0.02)
        exported = project.call("export", "r", "--to", "elsewhere")
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    (project.folder / HANG).unlink()

    resumed = project.start("resume", "--store", "elsewhere", "r", "app:trail")
    out, _ = resumed.communicate()

    assert exported.exit_code == 0, exported.stderr
    assert "actorflow resume --store elsewhere r" in exported.stderr
    assert json.loads(out)["trace"] == ["first", "second"]
    assert project.ran.count("first") == 1


def test_import_and_move(project: Project) -> None:
    """A run goes to and fro; moved, it is over where it was; a taken id exits with 2 and nothing is changed."""
    (project.folder / BROKEN).touch()
    project.call("run", "app:trail", "--id", "r")
    project.call("export", "r", "--to", "elsewhere")
    before = files_below("elsewhere/runs")

    taken = project.call("import", "r", "--from", "elsewhere")
    imported = project.call("import", "r", "--from", "elsewhere", "--store", "third", "--no-history")
    missing = project.call("import", "r", "--from", "nowhere", "--store", "fourth")

    assert (taken.exit_code, imported.exit_code, missing.exit_code) == (2, 0, 3)
    assert files_below("elsewhere/runs") == before
    assert not Path("fourth").exists()
    assert project.rows("ls", "--store", "third")[0]["status"] == "failed"


def test_ls_marks_an_orphan(project: Project) -> None:
    """A dead owner's run is told from one that somebody carries on."""
    (project.folder / HANG).touch()
    child = project.start("run", "app:trail", "--id", "r")
    try:
        deadline = time.monotonic() + 30
        while "second" not in project.ran and time.monotonic() < deadline:
            time.sleep(0.02)
        alive, alive_text = project.rows("ls")[0], project.call("ls").stdout
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()

    dead, dead_text = project.rows("ls")[0], project.call("ls").stdout

    assert (alive["owned"], dead["owned"]) == (True, False)
    assert "orphan" not in alive_text
    assert "running (orphan)" in dead_text


def test_doctor_exits_with_7_where_no_store_can_be_kept(project: Project) -> None:
    """As text and as JSON; a good place is good, and stays empty."""
    good, bad = project.call("doctor", "here"), project.call("doctor", "simplecache::s3://bucket")
    rows = project.rows("doctor", "here")

    assert (good.exit_code, bad.exit_code) == (0, 7)
    assert "can keep a store" in good.stderr
    assert "can not keep a store" in bad.stderr
    assert {row["verdict"] for row in rows} <= {"good", "doubtful", "unknown"}
    assert not Path("here").exists()


def test_migrate_says_what_a_deploy_would_do(project: Project) -> None:
    """The version that runs come from, and exit 5 where there is no way; without --dry-run it is refused."""
    (project.folder / BROKEN).touch()
    project.call("run", "app:trail", "--id", "r")
    text = (project.folder / "app.py").read_text()
    changed = text.replace("version=1", "version=2")
    way = "from actorflow import migrate\n\n@migrate(from_=1, to=2)\ndef up(old):\n    return old\n\n"
    (project.folder / "lost.py").write_text(changed)
    (project.folder / "good.py").write_text(way + changed.replace("version=2", "version=2, migrations=[up]"))
    before = files_below(".actorflow")

    none = project.call("migrate", "app:trail", "--dry-run")
    good = project.call("migrate", "good:trail", "--dry-run", "--all")
    lost = project.call("migrate", "lost:trail", "--dry-run", "--all")
    bare = project.call("migrate", "app:trail")

    assert (none.exit_code, good.exit_code, lost.exit_code, bare.exit_code) == (0, 0, 5, 2)
    assert "0 runs" in none.stderr
    assert "ready, v1 -> v2" in good.stdout
    assert "no migration" in lost.stdout
    assert files_below(".actorflow") == before


def test_schema_lock_and_check(project: Project) -> None:
    """Locked, changed, found; a lock that is not there or not one is told."""
    missing = project.call("schema", "check", "app:trail")
    locked = project.call("schema", "lock", "app:trail")
    sound = project.call("schema", "check", "app:trail")
    (project.folder / "changed.py").write_text((project.folder / "app.py").read_text().replace("n: int", "n: float"))

    found = project.call("schema", "check", "changed:trail")
    refused = project.call("schema", "lock", "changed:trail")
    replaced = project.call("schema", "lock", "changed:trail", "--replace")
    Path("schema.lock.json").write_text("{}x")
    damaged = project.call("schema", "check", "app:trail")

    assert (missing.exit_code, locked.exit_code, sound.exit_code) == (3, 0, 0)
    assert (found.exit_code, refused.exit_code, replaced.exit_code, damaged.exit_code) == (5, 5, 0, 2)
    assert "'n' was int, is float" in found.stdout


@pytest.mark.parametrize(
    "command", [["repair", "r", "--skip", "0" * 12], ["export", "r", "--to", "elsewhere"], ["verify", "--repair"]]
)
def test_where_no_store_is_nothing_is_made(project: Project, command: list[str]) -> None:
    """A typo in a path never makes an empty store."""
    result = project.call(*command)

    assert result.exit_code == 3
    assert sorted(path.name for path in project.folder.iterdir()) == ["app.py"]
