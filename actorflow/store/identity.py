"""The store's identity: actorflow.json, created once by whoever comes first and then always read back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

from actorflow.errors import ForeignStore, StoreMarkerMissing
from actorflow.store.backend import Missing
from actorflow.store.keys import MARKER, RUNS

if TYPE_CHECKING:
    from actorflow.store.backend import Backend

STORE_FORMAT = 1


class Identity(Struct, frozen=True, kw_only=True):
    """What actorflow.json holds."""

    what: Literal["actorflow store"] = "actorflow store"
    format: int
    uuid: str


_decode = msgspec.json.Decoder(Identity).decode  # made here and not at its first use, by two threads at once


def read_identity(backend: Backend, url: str) -> bytes | None:
    """The uuid of the store; None: it has no marker.

    Raises:
        ForeignStore: the marker is not ours, damaged, or of a format of the future.
    """
    try:
        raw = backend.get(MARKER)
    except Missing:
        return None
    where = f"{url}/{MARKER}"
    try:
        identity = _decode(raw)
        uuid = bytes.fromhex(identity.uuid)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ForeignStore(where, f"it is no marker of actorflow ({error}); nothing was written") from error
    if identity.format != STORE_FORMAT:
        raise ForeignStore(where, f"store format {identity.format}; this version of actorflow knows {STORE_FORMAT}")
    if len(uuid) != 16:
        raise ForeignStore(where, "its uuid is no uuid; nothing was written")
    return uuid


def create_identity(backend: Backend, url: str) -> bytes:
    """Give the store an identity if it has none; its uuid either way.

    Raises:
        StoreMarkerMissing: it has none, but it has runs.
    """
    if (uuid := read_identity(backend, url)) is not None:
        return uuid
    # Looked at again: another opener may have made the marker and its first run since.
    if backend.list(RUNS) and (uuid := read_identity(backend, url)) is None:
        raise StoreMarkerMissing(url, f"there are runs, but {MARKER} is gone; nothing was written: put it back")
    if uuid is None:
        fresh = Identity(format=STORE_FORMAT, uuid=os.urandom(16).hex())
        backend.put_new(MARKER, msgspec.json.format(msgspec.json.encode(fresh)))
        uuid = read_identity(backend, url)
    if uuid is None:
        raise StoreMarkerMissing(url, f"{MARKER} was written, but is not there; is somebody deleting files?")
    return uuid
