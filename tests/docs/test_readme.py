"""The first screen of the README: what it shows of the demo is what the demo prints."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.demo.sources import copied, opened, shut
from tests.docs.pages import ROOT, blocks

if TYPE_CHECKING:
    from pathlib import Path

README = ROOT / "README.md"


def shape(text: str) -> list[str]:
    """The lines of a demo without what differs from machine to machine: paths, numbers, progress, names of packages."""
    lines = [line.rstrip() for line in text.splitlines()]
    lines = [re.sub(r"^a survey of .*?, ", "a survey of #, ", line) for line in lines]
    lines = [re.sub(r"^ +\S*/actorflow ", "   actorflow ", line) for line in lines]  # where it is not on the PATH
    lines = [re.sub(r"\S*/\S+", "#", line) for line in lines]  # a path, or a module and its function
    lines = [re.sub(r"\b[0-9a-f]{32}\b|[0-9][0-9,.]*", "#", line) for line in lines]
    lines = [re.sub(r"^( +(?:longest|most) \w+:).*", r"\1 #", line) for line in lines]
    return [line for line in lines if not re.fullmatch(r" +# of # files", line)]


def shown() -> list[str]:
    """What the README shows of the demo, without the command."""
    block = next(block for block in blocks(README) if block.code.startswith("$ ./demo\n"))
    return shape(block.code.removeprefix("$ ./demo\n"))


def test_the_demo_in_the_readme_is_what_a_fresh_one_prints(tmp_path: Path) -> None:
    """Line by line, a fresh demo differs only in numbers, names and places."""
    source = copied(tmp_path, "asyncio", "concurrent", "email", "importlib", "json", "logging", "unittest", "xml")
    gates = {"2": shut(source, "1.py"), "3": shut(source, "2.py")}  # a busy machine, too, kills before the work is done
    command = [sys.executable, "-m", "actorflow.cli", "demo", "source", "--seed", "4638"]
    printed: list[str] = []

    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            printed.append(line)
            if (gate := gates.pop(line[0], None)) is not None:
                opened(gate)

    assert child.returncode == 0
    assert shape("".join(printed).strip("\n")) == shown()


@pytest.mark.parametrize(
    ("printed", "planted"),
    [
        ("the same as without interruption", "DIFFERENT from the uninterrupted run"),
        ("redone ", "done again "),
        ("3  ", "3 "),
    ],
)
def test_another_output_has_another_shape(printed: str, planted: str) -> None:
    """The comparison can fail: a planted difference in the words is seen."""
    text = README.read_text("utf-8")

    assert printed in text
    assert shape(text.replace(printed, planted)) != shape(text)


def test_the_program_of_the_first_screen_has_twenty_lines() -> None:
    """Short enough to be read before anything is installed."""
    program = next(block for block in blocks(README) if block.language == "python")

    assert len([line for line in program.code.splitlines() if line]) <= 20
