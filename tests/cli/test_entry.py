"""The entry: light, clear about what is missing, and without colours where nobody sees them."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project


def test_without_click_the_command_says_what_to_install() -> None:
    """No traceback for who installed only the core."""
    code = "import sys; sys.modules['click'] = None; from actorflow.cli import main; main()"

    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert child.returncode == 1
    assert child.stderr == "the actorflow command needs click and rich: pip install 'actorflow[cli]'\n"


def test_help_loads_no_table_event_loop_or_file_system() -> None:
    """What a command does not need, it does not pay for."""
    code = (
        "import sys; sys.argv = ['actorflow', '--help']\n"
        "from actorflow.cli import main\n"
        "try: main()\n"
        "finally: print('LOADED', *sys.modules)"
    )

    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    loaded = set(child.stdout.partition("LOADED")[2].split())
    assert "click" in loaded
    assert loaded.isdisjoint({"rich", "fsspec", "trio", "asyncio", "watchfiles", "actorflow.demo"})


def test_a_command_that_is_none_exits_with_2(project: Project) -> None:
    """Usage errors are click's own."""
    assert project.call("lsx").exit_code == 2


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_tables_are_coloured_on_a_terminal_only_if_wanted(
    project: Project, environment: dict[str, str], *, coloured: bool
) -> None:
    """A terminal gets colours, unless NO_COLOR or a dumb terminal says otherwise."""
    project.call("run", "app:trail", "--id", "r")
    ours, theirs = pty.openpty()
    terminal = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}

    with project.start("ls", stdout=theirs, env={**terminal, "TERM": "xterm", **environment}) as child:
        child.communicate()
    os.close(theirs)
    shown = os.read(ours, 10_000)
    os.close(ours)

    assert b"finished" in shown
    assert (b"\x1b[" in shown) is coloured


def test_a_letter_that_the_terminal_cannot_show_is_escaped(project: Project) -> None:
    """A terminal of another age is no reason to fail."""
    project.call("run", "app:trail", "--id", "\N{SNOWMAN}")

    with project.start("ls", env={**os.environ, "PYTHONIOENCODING": "latin-1"}) as child:
        out, _ = child.communicate()

    assert child.returncode == 0
    assert "\\u2603" in out
