"""Screen: what the demo shows, with colours and a bar on a terminal and as plain lines everywhere else."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager


class Screen(Protocol):
    """Where the demo tells what happens."""

    def heading(self, text: str) -> None:
        """Something new begins."""
        ...

    def line(self, text: str, label: str = "") -> None:
        """One fact."""
        ...

    def progress(self, begin: int) -> AbstractContextManager[Callable[[int, int], None]]:
        """Show how far something is: the body calls what it gets with (done, total)."""
        ...


class PlainScreen:
    """Lines of text, for pipes, logs and whoever set NO_COLOR."""

    def heading(self, text: str) -> None:
        """An empty line, then the heading."""
        print(f"\n{text}", flush=True)

    def line(self, text: str, label: str = "") -> None:
        """The label in a column of its own."""
        print(f"   {f'{label:<11}' if label else ''}{text}", flush=True)

    @contextmanager
    def progress(self, begin: int) -> Generator[Callable[[int, int], None]]:
        """A line for each quarter that is reached."""
        shown: int | None = None

        def show(done: int, total: int) -> None:
            nonlocal shown
            quarter = 4 * done // total if total else 4
            shown = 4 * begin // total if shown is None and total else shown
            if shown is None or quarter > shown:
                shown = quarter
                self.line(f"{done:,} of {total:,} files")

        yield show


class TerminalScreen:
    """Colours and a bar, by rich."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)

    def heading(self, text: str) -> None:
        """The heading in bold."""
        self._console.print(f"\n{text}", style="bold", markup=False)

    def line(self, text: str, label: str = "") -> None:
        """The label in a colour, in a column of its own."""
        from rich.text import Text

        self._console.print(Text.assemble("   ", (f"{label:<11}" if label else "", "cyan"), text), soft_wrap=True)

    @contextmanager
    def progress(self, begin: int) -> Generator[Callable[[int, int], None]]:
        """A bar that stays where it was when its process died."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("  "), BarColumn(40), MofNCompleteColumn(), TextColumn("files"))
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task("", completed=begin, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)


def choose_screen() -> Screen:
    """The terminal's screen if there is one that may be coloured and rich is installed; else plain lines."""
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        try:
            return TerminalScreen()
        except ImportError:
            return PlainScreen()
    return PlainScreen()
