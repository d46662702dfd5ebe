"""Store: the ``--store`` option, and stores that must be there already."""

from __future__ import annotations

from pathlib import Path

import click

from actorflow import Runtime
from actorflow.cli.command import Refusal
from actorflow.cli.exits import Exit
from actorflow.cli.text import visible

DEFAULT = "./.actorflow"

store_option = click.option(
    "--store",
    envvar="ACTORFLOW_STORE",
    default=DEFAULT,
    show_default=True,
    show_envvar=True,
    metavar="URL",
    help="The folder or URL where the runs are.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Lines of JSON instead of text.")


def looking_at(store: str) -> Runtime:
    """A runtime that only reads a store, which must exist."""
    return Runtime(existing(store), readonly=True)


def existing(store: str) -> str:
    """The store's URL, or a refusal if nothing is there: a typo never makes an empty store."""
    scheme, separator, rest = store.partition("://")
    if separator and scheme != "file":
        return store
    folder = Path(rest) if separator else Path(store).expanduser()
    if folder.is_dir() and ((folder / "actorflow.json").exists() or (folder / "runs").exists()):
        return store
    raise Refusal(
        f"there is no store in {visible(str(folder))!r}; --store or ACTORFLOW_STORE names another one",
        Exit.NOT_FOUND,
        "actorflow run module:graph, which makes one",
    )
