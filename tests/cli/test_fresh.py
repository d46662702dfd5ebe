"""Modules that are imported anew: which are, from what, and what stays if it fails."""

from __future__ import annotations

import importlib
import os
import py_compile
import sys
from typing import TYPE_CHECKING

import pytest

from actorflow.cli.fresh import folder_of, from_sources, replacing

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a module inside, and a module elsewhere that it uses; all are imported."""
    inside, elsewhere = tmp_path / "code" / "crew", tmp_path / "lib"
    inside.mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "shared.py").write_text("")
    (inside / "__init__.py").write_text("from crew import names\nimport shared\n")
    (inside / "names.py").write_text('WHO = "Ada"\n')
    monkeypatch.setattr(sys, "path", [str(tmp_path / "code"), str(elsewhere), *sys.path])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    importlib.import_module("crew")
    return inside


def test_all_modules_of_a_package_are_new_and_others_the_same(package: Path) -> None:
    """Also those inside that are imported by others of it; what is installed beside them stays."""
    before = dict(sys.modules)
    (package / "names.py").write_text('WHO = "Grace"\n')

    with replacing(folder_of("crew")), from_sources():
        crew = importlib.import_module("crew")

    assert crew.names.WHO == "Grace"
    assert crew is not before["crew"]
    assert sys.modules["crew.names"] is crew.names
    assert crew.shared is before["shared"]


def test_an_edit_that_no_date_and_no_size_tells_is_taken(package: Path) -> None:
    """Python tells sources by second and size from what it compiled of them.

    Seen to fail where compiled files were taken for the source.
    """
    source = package / "names.py"
    py_compile.compile(str(source))  # as importing it does, unless somebody told Python not to
    when = source.stat().st_mtime
    source.write_text('WHO = "Eva"\n')
    os.utime(source, (when, when))

    with replacing(package), from_sources():
        crew = importlib.import_module("crew")

    assert crew.names.WHO == "Eva"


def test_what_fails_leaves_all_as_it_was(package: Path) -> None:
    """The modules of before are those that there are, and what the attempt brought is not there."""
    before = dict(sys.modules)
    (package / "more.py").write_text("")
    (package / "__init__.py").write_text("from crew import more\nraise ZeroDivisionError\n")

    with pytest.raises(ZeroDivisionError), replacing(package), from_sources():
        importlib.import_module("crew")

    assert {name: module for name, module in sys.modules.items() if name.startswith("crew")} == {
        name: module for name, module in before.items() if name.startswith("crew")
    }
    assert sys.pycache_prefix is None


def test_a_file_changes_with_those_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a file, and that of a module without a package."""
    (tmp_path / "alone.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    importlib.import_module("alone")

    assert folder_of("alone") == folder_of(str(tmp_path / "alone.py")) == tmp_path.resolve()
