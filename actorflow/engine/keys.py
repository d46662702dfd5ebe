"""Keys: an activation is known by a hash of what caused it, the same in every execution of a history."""

from __future__ import annotations

import hashlib


def key_of(*parts: bytes) -> bytes:
    """A hash of what caused an activation; each part is framed, so that no two lists of parts look alike."""
    framed = b"".join([len(part).to_bytes(4, "big") + part for part in parts])
    return hashlib.blake2b(framed, digest_size=16, person=b"actorflow-key").digest()


def item_key(owner: bytes, index: int) -> bytes:
    """The key of an item of a fan-out."""
    return key_of(owner, b"item", index.to_bytes(8, "big"))
