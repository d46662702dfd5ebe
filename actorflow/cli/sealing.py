"""Sealing: keys, and how strictly they are used, as the environment says. None of it is ever an option of a command.

What a command is called with can be read by everybody on the machine, and
stays in the history of shells.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from actorflow import Keyring, Sealing
from actorflow.cli.command import Refusal
from actorflow.cli.exits import Exit
from actorflow.errors import BadKeyring

if TYPE_CHECKING:
    Mode = Literal["plain", "mac", "sealed"]

KEYS = "ACTORFLOW_KEYS"
SEALING = "ACTORFLOW_SEALING"
REQUIRE = "ACTORFLOW_REQUIRE"

_MODES: tuple[Mode, ...] = ("sealed", "mac", "plain")


def sealing() -> Sealing | None:
    """How every command reads and writes its store; None: plainly, without keys.

    With keys it is sealed, and nothing weaker is believed, as in code: a store
    that is being turned over to keys is read with ``ACTORFLOW_REQUIRE=plain``,
    said for that one command. Were that the default, whoever can write to a
    store could put a plain commit in the place of a sealed one, and ``resume``
    would seal what follows from it.
    """
    # one that is there and empty is a secret that did not arrive, and no wish to write plainly
    keys = _keys() if KEYS in os.environ else None
    mode = _word(SEALING) or ("plain" if keys is None else "sealed")
    require = _word(REQUIRE) or mode
    if keys is None and mode != "plain":
        raise Refusal(f"{SEALING}={mode} needs keys, and {KEYS} is not set", Exit.USAGE)
    if _MODES.index(require) < _MODES.index(mode):
        raise Refusal(f"{REQUIRE}={require} is more than what is written: {SEALING} is {mode}", Exit.USAGE)
    return None if keys is None else Sealing(mode, keys=keys, require=require)


def _keys() -> Keyring:
    try:
        return Keyring.from_env(KEYS)
    except BadKeyring as error:
        raise Refusal(str(error), Exit.USAGE) from error


def _word(variable: str) -> Mode | None:
    """One of the modes. Another word is not shown: it may be a key that was put into the wrong variable."""
    word = os.environ.get(variable)
    if word is None:
        return None
    for mode in _MODES:
        if word == mode:
            return mode
    raise Refusal(f"{variable} is one of {', '.join(_MODES)}, not what it is set to", Exit.USAGE)
