"""The command line: `main` is what the console script ``actorflow`` calls. Needs the extra ``actorflow[cli]``."""

from __future__ import annotations

import sys
from io import TextIOWrapper


def main() -> None:
    """Run the command that ``sys.argv`` names, and exit with its status."""
    try:
        from actorflow.cli.app import app
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("the actorflow command needs click and rich: pip install 'actorflow[cli]'")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that can't show a letter is no reason to fail
    app(prog_name="actorflow")
