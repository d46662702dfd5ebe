"""The doctor says whether a place can keep a store, and leaves it as it was."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

import actorflow.store.doctor
import actorflow.store.filesystem
from actorflow import Diagnosis, doctor
from actorflow.store.memory import MemoryBackend
from actorflow.store.store import open_store

if TYPE_CHECKING:
    from pathlib import Path


class Overwriting(MemoryBackend):
    """A store that takes no condition seriously: whoever writes last has the key."""

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        self.delete([key])
        return super().put_new(key, data, durable=durable)


def verdicts(diagnosis: Diagnosis) -> dict[str, str]:
    """What was found, by name."""
    return {check.name: check.verdict for check in diagnosis.checks}


def files_below(folder: Path) -> list[str]:
    """Everything there, folders and hidden files included."""
    return sorted(str(path) for path in folder.rglob("*"))


def test_a_local_folder_is_good_and_stays_as_it_is(tmp_path: Path) -> None:
    """With a store in it, empty, or not there yet: nothing is left behind."""
    (tmp_path / "empty").mkdir()
    open_store(tmp_path / "used").close()
    before = files_below(tmp_path)

    found = {name: doctor(tmp_path / name) for name in ("used", "empty", "missing/deeper")}

    assert all(diagnosis.safe for diagnosis in found.values())
    assert files_below(tmp_path) == before
    store = {name: check.found for name, one in found.items() for check in one.checks if check.name == "store"}
    assert store["used"].startswith("store ")
    assert store["empty"] == store["missing/deeper"] == "none yet; the first run makes it"


def test_times_are_told_as_median_and_worst(tmp_path: Path) -> None:
    """For each of the calls that a run waits for."""
    told = {check.name: check.found for check in doctor(tmp_path).checks}

    assert all("median" in told[name] and "worst" in told[name] for name in ("put", "get", "list"))


def test_versions_are_told() -> None:
    """Of what is always there, and of what an extra brought: a report of a fault begins with them."""
    told = {check.name: check.found for check in doctor("memory://").checks}

    assert told["python"].startswith(platform.python_version())
    for name in ("actorflow", "anyio", "msgspec", "fsspec"):
        assert f"{name} {metadata.version(name)}" in told["libraries"]
    assert told["extra s3"] == f"s3fs {metadata.version('s3fs')}"


def test_a_store_that_overwrites_is_unsafe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes could own one run there: it is named, with what failed."""
    monkeypatch.setattr(actorflow.store.doctor, "MemoryBackend", Overwriting)

    diagnosis = doctor("memory://")

    assert not diagnosis.safe
    [check] = [check for check in diagnosis.checks if check.verdict == "unsafe"]
    assert check.name == "exclusive creation"
    assert check.remedy


def test_a_file_system_that_is_not_known_to_be_safe_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network mount passes every trial on one machine, so it is not even tried."""
    monkeypatch.setattr(actorflow.store.filesystem, "filesystem_of", lambda path: "nfs4")

    diagnosis = doctor(tmp_path)

    assert not diagnosis.safe
    assert "nfs4" in diagnosis.checks[0].found
    assert "put" not in verdicts(diagnosis)


@pytest.mark.parametrize("url", ["", "file://relative", "simplecache::s3://bucket", "http://host/store"])
def test_a_url_that_names_no_store_is_unsafe(url: str) -> None:
    """It is told like everything else, and what is installed is told all the same."""
    diagnosis = doctor(url)

    assert not diagnosis.safe
    assert "python" in verdicts(diagnosis)


def test_what_is_missing_here_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra that is not installed is no fault of the place."""
    monkeypatch.setitem(actorflow.store.doctor._EXTRAS, "s3", ("no-such-library",))

    diagnosis = doctor("memory://")

    assert diagnosis.safe
    [check] = [check for check in diagnosis.checks if check.name == "extra s3"]
    assert "actorflow[s3]" in check.remedy
