"""Answers: what a bucket's server or its client library said, told apart by what it means for us.

What matters is what is certain. A refusal took no effect, and a key is free
only if the server says so in its own words. All else leaves open what
happened, which is no answer: `Meaning.UNCLEAR`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from actorflow.errors import BadStoreUrl, StoreDenied, StoreError, StoreFull, StoreUnavailable, UnsafeStore


class Meaning(Enum):
    """What an answer means."""

    TAKEN = "something is under this key"
    MISSING = "nothing is under this key"
    NO_BUCKET = "there is no such bucket"
    DENIED = "not allowed"
    FULL = "no room, or over a limit"
    UNSUPPORTED = "the server can't do this"
    UNCLEAR = "no answer, or one that says nothing of what happened"


_BY_CODE = {
    "NoSuchKey": Meaning.MISSING,
    "BlobNotFound": Meaning.MISSING,
    "PreconditionFailed": Meaning.TAKEN,
    "BlobAlreadyExists": Meaning.TAKEN,
    "NoSuchBucket": Meaning.NO_BUCKET,
    "InvalidBucketName": Meaning.NO_BUCKET,
    "ContainerNotFound": Meaning.NO_BUCKET,
    "ContainerDisabled": Meaning.DENIED,
    "AccessDenied": Meaning.DENIED,  # in the reply to a bulk deletion it comes without a status
    "ExpiredToken": Meaning.DENIED,
    "InvalidToken": Meaning.DENIED,
    "TokenRefreshRequired": Meaning.DENIED,
    "QuotaExceeded": Meaning.FULL,
    "EntityTooLarge": Meaning.FULL,
    "RequestBodyTooLarge": Meaning.FULL,
    "XMinioStorageFull": Meaning.FULL,
    "NotImplemented": Meaning.UNSUPPORTED,
}
# Only where the service gave no word of its own that is listed above. No 404: a wrong endpoint says that, too.
_BY_STATUS = {
    401: Meaning.DENIED,
    403: Meaning.DENIED,
    412: Meaning.TAKEN,
    413: Meaning.FULL,
    501: Meaning.UNSUPPORTED,
    507: Meaning.FULL,
}
# Raised by client libraries before anything is sent, known by name so that none of them need be imported.
_BY_TYPE = {
    "NoCredentialsError": Meaning.DENIED,
    "PartialCredentialsError": Meaning.DENIED,
    "CredentialRetrievalError": Meaning.DENIED,
    "TokenRetrievalError": Meaning.DENIED,
    "SSOError": Meaning.DENIED,
    "ProfileNotFound": Meaning.DENIED,
    "ParamValidationError": Meaning.NO_BUCKET,
    "GoogleAuthError": Meaning.DENIED,
    "ClientAuthenticationError": Meaning.DENIED,
}


@dataclass(frozen=True)
class Answer:
    """One answer, and the words in which it came."""

    meaning: Meaning
    words: str

    def error(self, path: str) -> StoreError:
        """Our error for it, about ``path``."""
        if self.meaning is Meaning.NO_BUCKET:
            return BadStoreUrl(path, f"there is no such bucket: {self.words}; make it first, and check its name")
        if self.meaning is Meaning.DENIED:
            return StoreDenied(path, f"{self.words}; actorflow needs to list, read, create and delete there")
        if self.meaning is Meaning.FULL:
            return StoreFull(path, f"{self.words}; make room, then go on: nothing acknowledged was lost")
        if self.meaning is Meaning.UNSUPPORTED:
            return UnsafeStore(path, f"it does not keep what a store stands on: {self.words}")
        return StoreUnavailable(path, self.words)


def said(*, status: int = 0, code: str = "", words: str) -> Answer:
    """What a server said, by the service's own code and the HTTP status."""
    known = _BY_CODE.get(code) or _BY_STATUS.get(status) or Meaning.UNCLEAR
    label = " ".join(filter(None, (code, str(status or ""))))
    return Answer(known, f"{words} ({label})" if label else words)


def raised(error: Exception) -> Answer:
    """What an exception of a client library means that carries no answer of a server."""
    words = str(error) or type(error).__name__
    for kind in type(error).__mro__:
        if (meaning := _BY_TYPE.get(kind.__name__)) is not None:
            return Answer(meaning, words)
    return Answer(Meaning.UNCLEAR, f"{type(error).__name__}: {words}")
