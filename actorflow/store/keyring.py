"""The keyring: secret keys by id. The first one writes; each reads what was written with it.

As text, a key is ``id:base64`` of its 32 bytes; several are parted by white
space, so that a file holds one in a line and a variable one after the other.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from typing import TYPE_CHECKING, NoReturn

from actorflow.errors import BadKeyring, MissingKey

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = 32  # bytes
VARIABLE = "ACTORFLOW_KEYS"

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Keyring:
    """Keys by id, the one that writes first. No key is ever shown, logged or pickled.

    Rotation: put a new key first and keep the old ones as long as there is something to read with them.

    Raises:
        BadKeyring: there is no key, an id is no id, or a key is not of 32 bytes.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = _checked([(key_id, bytes(key)) for key_id, key in keys.items()], "this keyring")
        self.writer = next(iter(self._keys))

    @classmethod
    def from_env(cls, variable: str = VARIABLE) -> Keyring:
        """The keys in an environment variable.

        Raises:
            BadKeyring: it is not set, or not as it should be; the message shows no key.
        """
        text = os.environ.get(variable)
        if text is None:
            raise BadKeyring(f"${variable}", "it is not set")
        return cls(_parsed(text, f"${variable}"))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Keyring:
        """The keys in a file, which nobody but its owner may read (mode 0600). Lines that begin with # are passed over.

        Raises:
            BadKeyring: it can't be read, others may read it, or it is not as it should be; the message shows no key.
        """
        place = os.fspath(path)
        try:
            with open(place, "rb") as file:
                found = os.fstat(file.fileno())
                if stat.S_IMODE(found.st_mode) & 0o077:
                    raise BadKeyring(place, f"others may read or write it: chmod 600 {place}")
                text = file.read().decode("utf-8", "replace")
        except OSError as error:
            raise BadKeyring(place, f"it can't be read: {error.strerror}") from error
        lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
        return cls(_parsed("\n".join(lines), place))

    def __repr__(self) -> str:
        others = ", ".join(repr(key_id) for key_id in self._keys if key_id != self.writer)
        return f"<Keyring: writes {self.writer!r}{f', reads {others}' if others else ''}>"

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._keys

    def __reduce__(self) -> NoReturn:
        raise TypeError("a keyring is never pickled or copied: its keys would travel with it")

    def key(self, key_id: str, path: str) -> bytes:
        """The key of this id.

        Raises:
            MissingKey: naming the id, and the file that asks for it.
        """
        try:
            return self._keys[key_id]
        except KeyError:
            raise MissingKey(path, key_id) from None


def new_key(key_id: str) -> str:
    """A new random key, as text for a file or a variable."""
    _checked([(key_id, bytes(KEY))], "this key")
    return f"{key_id}:{base64.b64encode(os.urandom(KEY)).decode()}"


def _parsed(text: str, place: str) -> dict[str, bytes]:
    pairs: list[tuple[str, bytes]] = []
    for number, word in enumerate(text.split(), 1):
        key_id, colon, encoded = word.partition(":")
        if not colon:
            raise BadKeyring(place, f"entry {number} is not id:base64")
        try:
            pairs.append((key_id, base64.b64decode(encoded, validate=True)))
        except (binascii.Error, ValueError):
            raise BadKeyring(place, f"the key of entry {number} is no base64") from None
    return _checked(pairs, place)


def _checked(pairs: list[tuple[str, bytes]], place: str) -> dict[str, bytes]:
    if not pairs:
        raise BadKeyring(place, "there is no key")
    keys: dict[str, bytes] = {}
    for number, (key_id, key) in enumerate(pairs, 1):
        if _ID.fullmatch(key_id) is None:
            # not shown: who swaps the two halves would find the key in a log
            raise BadKeyring(place, f"entry {number} has no id of up to 64 letters, digits, dots and dashes")
        if len(key) != KEY:
            raise BadKeyring(place, f"key {key_id!r} has {len(key)} bytes and not {KEY}")
        if key_id in keys:
            raise BadKeyring(place, f"key {key_id!r} is there twice")
        keys[key_id] = key
    return keys
