"""Keys: an activation is known by a hash of what caused it, the same in every execution of a history."""

from __future__ import annotations

import hashlib
from functools import lru_cache

_BLANK = hashlib.blake2b(digest_size=16, person=b"actorflow-key")  # to make a copy of it is quicker than a new one


def key_of(*parts: bytes) -> bytes:
    """A hash of what caused an activation; each part is framed, so that no two lists of parts look alike."""
    return _of(_BLANK, *parts).digest()


def _of(begun: hashlib.blake2b, *parts: bytes) -> hashlib.blake2b:
    hashed = begun.copy()
    for part in parts:
        hashed.update(len(part).to_bytes(4, "big") + part)
    return hashed


def turn_key(run_id: str, life: int, message: bytes) -> bytes:
    """The key of the turn that handles a message."""
    return _of(_turns_of(run_id, life), message).digest()


@lru_cache(maxsize=1024)  # every message that a run handles asks for it
def _turns_of(run_id: str, life: int) -> hashlib.blake2b:
    return _of(_BLANK, run_key(run_id, life), b"turn")


def run_key(run_id: str, life: int) -> bytes:
    """What stands for a life of a run in the keys of all that it causes."""
    return key_of(b"run", run_id.encode(), life.to_bytes(8, "big"))


def item_key(owner: bytes, index: int) -> bytes:
    """The key of an item of a fan-out."""
    return key_of(owner, b"item", index.to_bytes(8, "big"))
