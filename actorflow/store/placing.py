"""Placing: commits that are put into a log from outside, by an import or a repair, and not by an owner's hand.

Each file is a put-if-absent, so nothing is ever overwritten. A nonce that is
derived from what is placed, and is not random, tells a file that an earlier try
has put there from everybody else's: so placing can be begun again.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msgspec.structs import replace

from actorflow.errors import CorruptCheckpoint, RunExists
from actorflow.store.framing import encode_file, encode_frame, read_frames
from actorflow.store.keys import checkpoint_name, encode_id, log_prefix
from actorflow.store.object_log import put_or_settle
from actorflow.store.ownership import NONCE

if TYPE_CHECKING:
    from actorflow.store.frames import FilePart, Header
    from actorflow.store.store import Store

Commit = tuple["Header", bytes]
"""A header and a body. Parent, file digest and length of the header are filled in where it is placed."""


class Placing:
    """The end of a chain that grows by whole files. ``parent`` is the digest of its last commit."""

    def __init__(self, store: Store, run_id: str, *, parent: bytes = b"") -> None:
        self._store = store
        self._run_id = run_id
        self._prefix = log_prefix(encode_id(run_id))
        self.parent = parent

    def put(self, part: FilePart, commits: list[Commit]) -> str:
        """Add these commits, as one file; those of them that an earlier try has placed stay as they are.

        Returns:
            The key of the file that the last of them is in.

        Raises:
            RunExists: another commit has one of the numbers.
            CommitUnknown: it stayed unclear whether the file was placed. Begin again.
        """
        while True:
            key = self._prefix + checkpoint_name(commits[0][0].seq)
            data, digest = self._encoded(part, commits, key)
            if put_or_settle(self._store.backend, key, data):
                self.parent = digest
                return key
            commits = commits[self._placed_before(key, commits) :]
            if not commits:
                return key

    def _encoded(self, part: FilePart, commits: list[Commit], key: str) -> tuple[bytes, bytes]:
        file, file_digest = encode_file(part)
        frames: list[bytes] = []
        parent = self.parent
        for header, body in commits:
            placed = replace(header, parent=parent, file=file_digest, raw=len(body))
            extra = {} if frames else {"file": file}
            frame, parent = encode_frame(placed, body, path=key, sealing=self._store.sealing, **extra)
            frames.append(frame)
        return b"".join(frames), parent

    def _placed_before(self, key: str, commits: list[Commit]) -> int:
        """How many of the commits stand in this file already."""
        store = self._store
        try:
            frames, tail = read_frames(
                store.backend.get(key),
                key,
                first=commits[0][0].seq,
                run_id=self._run_id,
                store=store.uuid,
                sealing=store.sealing,
                keyless=True,
            )
        except CorruptCheckpoint as error:
            raise RunExists(self._run_id, "exists already, and is damaged") from error
        ours = [header.nonce for header, _ in commits[: len(frames)]]
        if tail.torn or [frame.header.nonce for frame in frames] != ours:
            raise RunExists(self._run_id)
        self.parent = frames[-1].digest
        return len(frames)


def derived_nonce(*parts: bytes) -> bytes:
    """A nonce that is the same whenever the same is placed again."""
    hasher = hashlib.blake2b(digest_size=NONCE, person=b"actorflow placed")
    for part in parts:
        hasher.update(len(part).to_bytes(8) + part)
    return hasher.digest()
