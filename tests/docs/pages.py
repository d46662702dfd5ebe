"""Pages: a Markdown file as a list of steps that can be carried out, in order, in one folder.

    ```python        is executed; all such blocks of a page share one namespace
    ```sh            is executed by sh, where `python` and `actorflow` are those of the tests
    ```text          after <!-- output -->: what the step before printed, where `...` stands for anything

A comment on the line before changes that: <!-- file: NAME --> writes the block
to a file instead, <!-- not run: REASON --> leaves it out. Anything else is no step.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import logging
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTES = sorted((ROOT / "docs/design").glob("*.md"))  # for those who work on actorflow: their commands are hints

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>output|file: \S+|not run: .+?) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, and what the comment before it says."""

    page: str
    line: int
    language: str
    mark: str
    code: str

    @property
    def place(self) -> str:
        """Where it stands, as editors understand it."""
        return f"{self.page}:{self.line}"


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = path.read_text("utf-8")
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    for found in _BLOCK.finditer(text):
        yield Block(
            page=name,
            line=text.count("\n", 0, found.start("code")) + 1,
            language=found["language"],
            mark=found["mark"] or "",
            code=found["code"],
        )


def run_page(path: Path, folder: Path, *, languages: tuple[str, ...] = ("python", "sh", "text")) -> None:
    """Carry out the blocks of a page in these languages, in order, as if they were typed in this folder."""
    session = Session("page")
    with contextlib.chdir(folder), _importing_from(folder), _logging_as_before():
        for block in blocks(path):
            if block.language in languages:
                session.do(block)


@contextlib.contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Makes the files that a page writes importable, and forgets them afterwards."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None)).startswith(str(folder)):
                del sys.modules[name]


@contextlib.contextmanager
def _logging_as_before() -> Iterator[None]:
    """A page may silence the log: for its reader's process, which ends with it, and not for the tests after it."""
    before = logging.root.manager.disable
    try:
        yield
    finally:
        logging.disable(before)


class Session:
    """Carries out the steps of one page in the current folder."""

    def __init__(self, name: str) -> None:
        self._module = ModuleType(name)
        self._printed: str | None = None

    def do(self, block: Block) -> None:
        """Carry out one step.

        Raises:
            AssertionError: a command failed, or something else was printed than the page says.
        """
        if block.mark.startswith("file: "):
            Path(block.mark.removeprefix("file: ")).write_text(block.code, "utf-8")
        elif block.mark == "output":
            self._compare(block)
        elif block.mark.startswith("not run: "):
            return
        elif block.language == "python":
            self._printed = self._run_python(block)
        elif block.language == "sh":
            self._printed = _run_shell(block)

    def _run_python(self, block: Block) -> str:
        code = compile("\n" * (block.line - 1) + block.code, block.page, "exec")
        printed = io.StringIO()
        sys.modules[self._module.__name__] = self._module  # where annotations of its classes are looked up
        try:
            with contextlib.redirect_stdout(printed):
                exec(code, self._module.__dict__)
        finally:
            del sys.modules[self._module.__name__]
        return printed.getvalue()

    def _compare(self, block: Block) -> None:
        assert self._printed is not None, f"{block.place}: there is no step before this output"
        example = doctest.Example("", block.code)
        checker = doctest.OutputChecker()
        if not checker.check_output(example.want, self._printed, doctest.ELLIPSIS):
            difference = checker.output_difference(example, self._printed, doctest.ELLIPSIS | doctest.REPORT_NDIFF)
            raise AssertionError(f"{block.place}: the page says something else than was printed\n{difference}")


def _run_shell(block: Block) -> str:
    variables = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    child = subprocess.run(
        ["sh", "-e", "-c", block.code], env=variables, capture_output=True, text=True, check=False, timeout=50
    )
    assert child.returncode == 0, f"{block.place}: exit status {child.returncode}\n{child.stdout}{child.stderr}"
    return child.stdout
