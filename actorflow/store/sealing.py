"""Sealing: how what a commit says is stored: compressed or not; open, with a keyed digest, or encrypted.

The header of a frame stays readable without a key, so that chains can be
verified, claimed and cleared away by who must not read them. What is kept of
the body under a key is

    length of the key's id 1, key's id, salt 16, nonce 12 (encrypted only), payload, tag

and the tag covers every byte of the frame before it. The key of each frame is
its own, derived from the ring's by a fresh salt: the copy of a frame at the
start of a claim's file opens like the original, no key ever encrypts twice,
and two owners that both believe they own a number share no nonce.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
import os
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from actorflow.errors import CorruptCheckpoint, MissingExtra, MissingKey, NotSealed
from actorflow.store.compression import compress, decompress, need_zstd
from actorflow.store.frames import OPEN, Mode, Seal

if TYPE_CHECKING:
    from actorflow.store.keyring import Keyring

COMPRESSED = 2
ENCRYPTED = 4
MAC = 8

_SALT = 16
_NONCE = 12
_GCM_TAG = 16
_MAC_TAG = 32
_MAC_PERSON = b"actorflow-1 mac"
MAX_SEAL = 1 + 255 + _SALT + _NONCE + _MAC_TAG  # bytes that a body can grow by

_MODES: tuple[Mode, ...] = get_args(Mode)
_FLAG = {"plain": 0, "mac": MAC, "sealed": ENCRYPTED}
_WEIGHT = {"plain": 0, "mac": _SALT + _MAC_TAG, "sealed": _SALT + _NONCE + _GCM_TAG}


class Packed(NamedTuple):
    """A body that is ready to be sealed: how it will be stored is known, and how long it will be."""

    flags: int
    payload: bytes
    size: int


class Sealing:
    """How a store's commits are written, and which are believed when read.

    Args:
        mode: ``plain``; ``mac`` (anybody can read it, only who has a key can
            write or change it); ``sealed`` (only who has a key can read it either).
        keys: the first one writes, each of them reads.
        compress: ``zstd``, where it makes a body smaller. What is compressed and then encrypted tells by its
            length how well it compressed: leave it out where outsiders choose a part of a state that holds secrets.
        require: refuse to read what is weaker than this; by default than ``mode``. Say ``plain`` while there are
            commits from before the sealing was turned on.

    Raises:
        ValueError: these don't go together.
        MissingExtra: what this needs is not installed.

    Example:
        >>> from actorflow import Keyring, Sealing
        >>> keys = Keyring({"2026": bytes(32)})
        >>> Sealing("sealed", keys=keys)
        Sealing('sealed', keys=<Keyring: writes '2026'>, compress=None, require='sealed')
    """

    def __init__(
        self,
        mode: Mode = "plain",
        *,
        keys: Keyring | None = None,
        compress: Literal["zstd"] | None = None,
        require: Mode | None = None,
    ) -> None:
        needed = mode if require is None else require
        for name, word in (("mode", mode), ("require", needed)):
            if word not in _MODES:
                raise ValueError(f"{name} is one of {', '.join(_MODES)}, not {word!r}")
        if compress not in {None, "zstd"}:
            raise ValueError(f"compress is 'zstd' or None, not {compress!r}")
        if _MODES.index(needed) > _MODES.index(mode):
            raise ValueError(f"what is written in mode {mode!r} could not be read back with require={needed!r}")
        if mode != "plain" and keys is None:
            raise ValueError(f"mode {mode!r} needs keys")
        if compress is not None:
            need_zstd(f"Sealing(compress={compress!r})")
        if mode == "sealed":
            _need_cryptography("Sealing('sealed')")
        self.mode: Mode = mode
        self.keys = keys
        self.compress = compress
        self.require: Mode = needed

    def __repr__(self) -> str:
        return f"Sealing({self.mode!r}, keys={self.keys!r}, compress={self.compress!r}, require={self.require!r})"

    @property
    def writes(self) -> Seal:
        """How it protects what is written now."""
        return OPEN if self.mode == "plain" or self.keys is None else Seal(self.mode, self.keys.writer)

    def pack(self, body: bytes) -> Packed:
        """Compress a body if that is wanted and helps; say how it will be stored."""
        flags, payload = _FLAG[self.mode], body
        if self.compress is not None and (smaller := compress(body)) is not None:
            flags, payload = flags | COMPRESSED, smaller
        key_id = self.writes.key_id
        weight = 0 if key_id is None else 1 + len(key_id) + _WEIGHT[self.mode]
        return Packed(flags, payload, len(payload) + weight)

    def seal(self, packed: Packed, *, before: bytes, context: bytes) -> bytes:
        """The body as it is stored.

        Args:
            packed: what `pack` made of it.
            before: every byte that stands before it in its frame; none of them can be changed without the key.
            context: whose it is; a part of what its key is derived from.
        """
        if self.mode == "plain" or self.keys is None:
            return packed.payload
        key_id = self.keys.writer
        salt = os.urandom(_SALT)
        head = bytes([len(key_id)]) + key_id.encode() + salt
        key = data_key(self.keys.key(key_id, "the writer"), salt=salt, mode=self.mode, context=context)
        if self.mode == "mac":
            stored = head + packed.payload
            return stored + _tag(key, before + stored)
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE)
        head += nonce
        return head + AESGCM(key).encrypt(nonce, packed.payload, before + head)

    def check(self, flags: int, path: str) -> None:
        """Refuse what is weaker than required: nobody gets in by clearing a flag.

        Raises:
            NotSealed: naming both.
        """
        found = _mode_of(flags)
        if _MODES.index(found) < _MODES.index(self.require):
            raise NotSealed(path, found, self.require)

    def open(self, stored: bytes, *, flags: int, before: bytes, context: bytes, raw: int, path: str) -> bytes:
        """The body again.

        Args:
            stored: what `seal` made of it.
            flags: what is kept beside it of how it was packed; `check` has passed them.
            before: every byte before it in its frame.
            context: whose it should be.
            raw: how long it should be.
            path: what to call its file in errors.

        Raises:
            MissingKey: the ring lacks the key that it names.
            MissingExtra: it takes a library that is not installed.
            CorruptCheckpoint: it was changed, or sealed under another key of the same id.
        """
        payload, seal = stored, seal_of(stored, flags)
        if seal.key_id is not None:
            if self.keys is None:
                raise MissingKey(path, seal.key_id)
            master = self.keys.key(seal.key_id, path)
            payload = _unsealed(stored, seal, master=master, before=before, context=context, path=path)
        if flags & COMPRESSED:
            return decompress(payload, raw=raw, path=path)
        if len(payload) != raw:
            raise CorruptCheckpoint(path, f"a body has {len(payload)} bytes where its header says {raw}")
        return payload


PLAIN = Sealing()


def data_key(key: bytes, *, salt: bytes, mode: Mode, context: bytes) -> bytes:
    """The key of one frame: HKDF-SHA256 (RFC 5869), of one block."""
    extracted = hmac.digest(salt, key, "sha256")
    return hmac.digest(extracted, b"actorflow-1 " + mode.encode() + b" " + context + b"\x01", "sha256")


def _tag(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, key=key, digest_size=_MAC_TAG, person=_MAC_PERSON).digest()


def seal_of(stored: bytes, flags: int) -> Seal:
    """How a stored body says that it is protected: without a key nothing more is known of it."""
    mode = _mode_of(flags)
    if mode == "plain":
        return OPEN
    return Seal(mode, stored[1 : 1 + int.from_bytes(stored[:1])].decode("ascii", "replace"))


def _mode_of(flags: int) -> Mode:
    return "sealed" if flags & ENCRYPTED else "mac" if flags & MAC else "plain"


def _unsealed(stored: bytes, seal: Seal, *, master: bytes, before: bytes, context: bytes, path: str) -> bytes:
    start = 1 + int.from_bytes(stored[:1])
    salted = start + _SALT
    if len(stored) < start + _WEIGHT[seal.mode]:
        raise CorruptCheckpoint(path, "a body is too short for its seal")
    key = data_key(master, salt=stored[start:salted], mode=seal.mode, context=context)
    if seal.mode == "mac":
        if not hmac.compare_digest(stored[-_MAC_TAG:], _tag(key, before + stored[:-_MAC_TAG])):
            raise _closed(path, seal)
        return stored[salted:-_MAC_TAG]
    _need_cryptography(path)
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    begin = salted + _NONCE
    try:
        return AESGCM(key).decrypt(stored[salted:begin], stored[begin:], before + stored[:begin])
    except InvalidTag:
        raise _closed(path, seal) from None


def _closed(path: str, seal: Seal) -> CorruptCheckpoint:
    reason = f"a frame does not open with key {seal.key_id!r}: it was changed, or that is another key"
    return CorruptCheckpoint(path, reason)


def _need_cryptography(path: str) -> None:
    try:
        importlib.import_module("cryptography.hazmat.primitives.ciphers.aead")
    except ImportError:
        raise MissingExtra(path, "encryption", "crypto") from None
