"""Errors about the store: the place, the files in it, and the keys they are sealed with."""

from __future__ import annotations

from actorflow.errors.root import ActorflowError


class StoreError(ActorflowError, OSError):
    """About the store, or a file in it, named by ``path``."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path

    def __str__(self) -> str:
        return str(self.args[0])


class UnsafeStore(StoreError):
    """This store can't keep the guarantees: it lacks exclusive creation, locks, or sits where it must not."""


class BadStoreUrl(StoreError, ValueError):
    """This URL names no store that actorflow can open."""


class NoSuchStore(BadStoreUrl):
    """There could be a store at this URL, but there is none, and who only looks makes none."""


class StoreMarkerMissing(StoreError):
    """There are runs, but actorflow.json is gone. Nothing was written; put the marker back."""


class ForeignStore(StoreError):
    """actorflow.json is not ours, damaged, or of a format this version does not know."""


class StoreFull(StoreError):
    """No space, no quota, or the file passed a limit. Nothing was acknowledged; the last commit is intact."""


class StoreDenied(StoreError, PermissionError):
    """The store refused the operation: read-only, or no permission."""


class StoreUnavailable(StoreError):
    """The store does not answer, or answered with an I/O error. Nothing was decided."""


class CommitTooLarge(StoreError):
    """One commit is larger than the limit. Nothing was written."""

    def __init__(self, path: str, size: int, limit: int) -> None:
        super().__init__(path, f"a commit of {size:,} bytes is over the limit of {limit:,}; keep large data elsewhere")
        self.size = size
        self.limit = limit


class CommitRefused(StoreError):
    """``Runtime(validate=)`` refused a commit; ``__cause__`` is what it raised. Nothing was written."""

    def __init__(self, path: str, run_id: str, seq: int, error: Exception) -> None:
        super().__init__(path, f"commit {seq} of run {run_id!r} was refused by validate=: {error!r}")
        self.run_id = run_id
        self.seq = seq


class MessageTooLarge(StoreError):
    """One message is larger than the limit. Nothing was sent."""

    def __init__(self, path: str, size: int, limit: int) -> None:
        super().__init__(path, f"a message of {size:,} bytes is over the limit of {limit:,}; send where the data is")
        self.size = size
        self.limit = limit


class CorruptMessage(StoreError):
    """A message, or a dead letter, is damaged, foreign, or not where it belongs.

    A message becomes a dead letter, bytes and all, and the ones after it are taken.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, f"{reason}; it is kept as a dead letter, and the messages after it are taken")
        self.reason = reason


class MissingKey(StoreError):
    """A file is sealed under a key that is not in the keyring. Nothing was written; its header can be read."""

    def __init__(self, path: str, key_id: str) -> None:
        super().__init__(path, f"it is sealed under key {key_id!r}, which is not here; add that key to the keyring")
        self.key_id = key_id


class MissingExtra(StoreError):
    """Reading or writing this takes a library that comes with an extra of actorflow."""

    def __init__(self, path: str, what: str, extra: str) -> None:
        super().__init__(path, f"{what} takes a library that is not installed: pip install 'actorflow[{extra}]'")
        self.extra = extra


class CommitUnknown(StoreError):
    """It stayed unclear whether a commit took effect. The actor stops and restarts from storage."""


class Fenced(StoreError):
    """Another owner claimed the run. This one starts nothing and acknowledges nothing any more."""


class CorruptCheckpoint(StoreError):
    """A checkpoint file is damaged, foreign, or not where it belongs.

    The run is quarantined by this verdict of reading: nothing is written
    after a damaged commit, and no earlier one silently takes its place.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, f"{reason}; the run is left as it is (a copy from a backup is the remedy)")
        self.reason = reason


class UnsupportedFormat(CorruptCheckpoint):
    """The file is whole, but of a format or with a flag that this version of actorflow can't read."""


class NotSealed(CorruptCheckpoint):
    """A file is protected less than the store requires.

    Either it was written before that was so, or somebody has put it there:
    what it says is not believed.
    """

    def __init__(self, path: str, found: str, required: str) -> None:
        super().__init__(
            path,
            f"it is {found}, and this store requires {required}; if it was written before the sealing was turned on, "
            f"open the store with require={found!r} and rekey the run",
        )
        self.found = found
        self.required = required


class BadKeyring(ActorflowError, ValueError):
    """These keys can't be used. ``place`` is the file or variable they come from; no key is ever shown."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}")
        self.place = place
