"""Keys: an activation is known by a hash of what caused it, the same in every execution of a history."""

from __future__ import annotations

import hashlib


def key_of(*parts: bytes) -> bytes:
    """A hash of what caused an activation; each part is framed, so that no two lists of parts look alike."""
    digest = hashlib.blake2b(digest_size=16, person=b"actorflow-key")
    for part in parts:
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    return digest.digest()


def item_key(owner: bytes, index: int) -> bytes:
    """The key of an item of a fan-out."""
    return key_of(owner, b"item", index.to_bytes(8, "big"))
