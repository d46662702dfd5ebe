"""App: all commands under one name."""

from __future__ import annotations

import click

from actorflow.cli.caring import archive, doctor_, export, import_, repair
from actorflow.cli.checking import check, migrate
from actorflow.cli.clearing import delete, gc, rekey
from actorflow.cli.demo import demo
from actorflow.cli.developing import dev
from actorflow.cli.drawing import graph
from actorflow.cli.exits import MEANINGS
from actorflow.cli.going import resume, run
from actorflow.cli.locking import schema
from actorflow.cli.looking import diff_, history, ls, show, verify
from actorflow.cli.mailing import mailbox, send
from actorflow.cli.steering import answer, fork, input_, interrupts, pause, rewind, tag, unpause, update

_EXITS = "\n".join(f"  {int(status):>3}  {meaning}" for status, meaning in MEANINGS.items())


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"\b\nExit status:\n{_EXITS}",
)
@click.version_option(package_name="actorflow")
@click.option("--traceback", is_flag=True, help="Show where an error comes from.")
def app(*, traceback: bool) -> None:
    """Graphs that survive. Kill it at any moment; run it again; it goes on."""


for _command in (
    *(demo, run, resume, dev, ls, show, history, diff_, graph, check, migrate, schema),
    *(interrupts, answer, update, input_, pause, unpause, rewind, fork, tag, send, mailbox),
    *(verify, repair, export, import_, archive, gc, delete, rekey, doctor_),
):
    app.add_command(_command)
