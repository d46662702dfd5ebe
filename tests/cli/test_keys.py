"""Keys from the environment: what is written with them, what is believed, and that no message shows one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from actorflow.store.keyring import new_key

if TYPE_CHECKING:
    from tests.cli.conftest import Project

pytest.importorskip("cryptography", reason="the crypto extra is not installed: pip install 'actorflow[crypto]'")

SECRET = "the patient is well"
STATE = json.dumps({"text": SECRET})


def stored() -> bytes:
    """Everything that is in the store."""
    return b"".join(path.read_bytes() for path in Path(".actorflow").rglob("*") if path.is_file())


def test_with_keys_a_run_is_sealed_and_every_command_reads_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the one place that makes runtimes passed no sealing, and the text was in the files."""
    monkeypatch.setenv("ACTORFLOW_KEYS", new_key("a"))

    ran = project.call("run", "app:trail", "--id", "r", "--state", STATE)
    exits = [project.call(*words).exit_code for words in (["ls"], ["history", "r"], ["verify"], ["resume", "r"])]

    assert ran.exit_code == 0, ran.stderr
    assert SECRET.encode() not in stored()
    assert project.rows("show", "r")[0]["state"]["text"] == SECRET
    assert exits == [0, 0, 0, 0]


def test_without_the_key_the_error_names_it_and_the_variable(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is listed, and not touched."""
    monkeypatch.setenv("ACTORFLOW_KEYS", new_key("a"))
    project.call("run", "app:trail", "--id", "r")
    before = stored()
    monkeypatch.setenv("ACTORFLOW_KEYS", new_key("b"))

    shown = project.call("show", "r")
    listed = project.rows("ls")

    assert shown.exit_code == 7
    assert "try: the same with key a in the variable ACTORFLOW_KEYS" in shown.stderr
    assert [row["id"] for row in listed] == ["r"]
    assert stored() == before


def test_a_plain_store_is_turned_over_by_rekey_and_believed_only_when_told(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is plain is refused where there are keys: somebody may have put it there. One command is told otherwise."""
    project.call("run", "app:trail", "--id", "r", "--state", STATE)
    monkeypatch.setenv("ACTORFLOW_KEYS", new_key("a"))

    refused = project.call("resume", "r", "app:trail")
    left = project.call("rekey")
    rekeyed = project.call("rekey", "--json", env={"ACTORFLOW_REQUIRE": "plain"})
    resumed = project.call("resume", "r", "app:trail")

    assert refused.exit_code == 4
    assert "ACTORFLOW_REQUIRE=plain actorflow rekey r" in refused.stderr
    assert left.exit_code == 1
    assert "r    left as it is" in left.stdout
    assert json.loads(rekeyed.stdout) == {"done": ["r"], "fresh": [], "left": {}}
    assert (resumed.exit_code, json.loads(resumed.stdout)["text"]) == (0, SECRET)


def test_verify_says_how_history_from_before_the_keys_is_believed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rekey leaves the older files as they are. Planted: the remedy was to restore them from a backup."""
    project.call("run", "app:trail", "--id", "r", "--state", STATE)
    monkeypatch.setenv("ACTORFLOW_KEYS", new_key("a"))
    project.call("rekey", env={"ACTORFLOW_REQUIRE": "plain"})

    strict = project.call("verify")
    told = project.call("verify", env={"ACTORFLOW_REQUIRE": "plain"})

    assert (strict.exit_code, told.exit_code) == (4, 0)
    assert "BROKEN" in strict.stdout
    assert "if it is from before the sealing was turned on" in strict.stdout
    assert "ACTORFLOW_REQUIRE=plain" in strict.stdout


def test_a_rotated_key_is_needed_no_more_once_runs_are_rekeyed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new key first, rekey, then without the old one; a second time nothing is left to do."""
    old, new = new_key("old"), new_key("new")
    project.call("run", "app:trail", "--id", "r", env={"ACTORFLOW_KEYS": old})
    monkeypatch.setenv("ACTORFLOW_KEYS", f"{new} {old}")

    rekeyed = project.call("rekey", "r")
    again = project.call("rekey")
    monkeypatch.setenv("ACTORFLOW_KEYS", new)
    shown = project.call("show", "r")

    assert (rekeyed.exit_code, again.exit_code, shown.exit_code) == (0, 0, 0)
    assert "1 run written anew" in rekeyed.stderr
    assert "0 runs written anew, 1 needed nothing" in again.stderr


def test_mac_is_readable_and_plain_writes_plainly(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """ACTORFLOW_SEALING says what is written; keys that are there still read the rest."""
    monkeypatch.setenv("ACTORFLOW_KEYS", new_key("a"))
    project.call("run", "app:trail", "--id", "sealed")

    project.call("run", "app:trail", "--id", "mac", "--state", STATE, env={"ACTORFLOW_SEALING": "mac"})
    readable = SECRET.encode() in stored()
    plain = project.call("run", "app:trail", "--id", "plain", env={"ACTORFLOW_SEALING": "plain"})
    read = project.call("show", "sealed", env={"ACTORFLOW_SEALING": "plain"})
    weaker = project.call("show", "mac")

    assert readable
    assert (plain.exit_code, read.exit_code, weaker.exit_code) == (0, 0, 4)


def test_an_export_stays_sealed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other store is written with the same keys."""
    monkeypatch.setenv("ACTORFLOW_KEYS", new_key("a"))
    project.call("run", "app:trail", "--id", "r", "--state", STATE)

    exported = project.call("export", "r", "--to", "elsewhere")
    imported = project.call("import", "r", "--from", "elsewhere", "--store", "third")

    files = [path.read_bytes() for path in (*Path("elsewhere").rglob("*"), *Path("third").rglob("*")) if path.is_file()]
    assert (exported.exit_code, imported.exit_code) == (0, 0)
    assert not any(SECRET.encode() in data for data in files)
    assert project.rows("show", "r", "--store", "third")[0]["state"]["text"] == SECRET


KEY = new_key("a")
MATERIAL = KEY.partition(":")[2]


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"ACTORFLOW_KEYS": ""}, "ACTORFLOW_KEYS"),
        ({"ACTORFLOW_KEYS": MATERIAL}, "ACTORFLOW_KEYS"),
        ({"ACTORFLOW_KEYS": f"{MATERIAL}:a"}, "ACTORFLOW_KEYS"),
        ({"ACTORFLOW_KEYS": f"a:{MATERIAL[:-9]}"}, "ACTORFLOW_KEYS"),
        ({"ACTORFLOW_KEYS": f"{KEY} {KEY}"}, "ACTORFLOW_KEYS"),
        ({"ACTORFLOW_SEALING": KEY}, "ACTORFLOW_SEALING"),
        ({"ACTORFLOW_SEALING": ""}, "ACTORFLOW_SEALING"),
        ({"ACTORFLOW_SEALING": "mac"}, "ACTORFLOW_KEYS"),
        ({"ACTORFLOW_REQUIRE": KEY}, "ACTORFLOW_REQUIRE"),
        ({"ACTORFLOW_REQUIRE": "sealed"}, "ACTORFLOW_REQUIRE"),
        ({"ACTORFLOW_KEYS": KEY, "ACTORFLOW_SEALING": "mac", "ACTORFLOW_REQUIRE": "sealed"}, "ACTORFLOW_REQUIRE"),
    ],
)
@pytest.mark.parametrize("words", [["run", "app:trail"], ["ls"], ["rekey"]])
def test_a_bad_variable_is_named_and_its_value_never_shown(
    project: Project, variables: dict[str, str], named: str, words: list[str]
) -> None:
    """Exit 2 before anything is opened or made; a key in the wrong variable, or cut short, stays a secret."""
    if words != ["run", "app:trail"]:
        project.call("run", "app:trail", "--id", "r")
    ran = project.ran

    result = project.call("--traceback", *words, env=variables)

    assert result.exit_code == 2
    assert named in result.stderr
    assert MATERIAL[:12] not in result.output
    assert project.ran == ran
