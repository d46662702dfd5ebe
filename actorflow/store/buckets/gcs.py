"""Google Cloud Storage: objects created with ``ifGenerationMatch=0``, by its JSON API through gcsfs."""

from __future__ import annotations

from contextlib import suppress
from inspect import unwrap
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from actorflow.errors import BadStoreUrl, StoreUnavailable
from actorflow.store.backend import Missing
from actorflow.store.buckets.answers import Answer, Meaning, raised, said
from actorflow.store.buckets.bucket import (
    ALONE,
    CALL_SECONDS,
    CONNECT_SECONDS,
    READ_SECONDS,
    BucketBackend,
    Options,
    load,
    run,
    run_many,
    send,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from actorflow.store.buckets.place import Place

_OBJECTS = "b/{}/o"
_OBJECT = "b/{}/o/{}"


class GcsBackend(BucketBackend):
    """Objects in a bucket of Google Cloud Storage.

    gcsfs repeats what failed for a passing reason, up to five times, but no put:
    a refusal of the second would hide that the first took effect.
    """

    def __init__(self, place: Place, options: Options) -> None:
        """No request to the bucket is sent, but credentials may be looked for on the network.

        Raises:
            BadStoreUrl: gcsfs is missing, or doesn't know such options.
        """
        super().__init__(place)
        # Not the class that gcsfs exports: that one asks each bucket for its kind over gRPC, and hangs where it can't.
        filesystem = load("gcsfs.core", "GCSFileSystem", place=place, extra="gcs")
        bounds = load("aiohttp", "ClientTimeout", place=place, extra="gcs")
        waiting = bounds(total=CALL_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
        try:
            self._fs: Any = filesystem(**{"requests_timeout": waiting, **options, **ALONE})
        except (TypeError, ValueError, KeyError) as error:
            raise BadStoreUrl(place.url, f"gcsfs does not take these storage_options: {error}") from error
        except Exception as error:
            raise self._error(error, "") from error

    @property
    def endpoint(self) -> str | None:
        """None for Google's own."""
        host = urlsplit(str(self._fs.base)).hostname or ""
        return None if host.endswith(".googleapis.com") else str(self._fs.base)

    def _create(self, name: str, data: bytes) -> None:
        run(self._fs, self._insert, name, data)

    def _send(self, name: str, data: bytes) -> Future[None]:
        return send(self._fs, self._insert, name, data)

    async def _insert(self, name: str, data: bytes) -> None:
        # As media, not by gcsfs's pipe_file: that wraps data in a fixed boundary, which data may contain.
        await unwrap(self._fs._request)(  # noqa: SLF001 - it is `call`, without the wrapper that repeats
            self._fs,
            "POST",
            self._fs.base.removesuffix("storage/v1/") + "upload/storage/v1/" + _OBJECTS,
            self.place.bucket,
            uploadType="media",
            name=name,
            ifGenerationMatch="0",
            headers={"Content-Type": "application/octet-stream"},
            data=data,
        )

    def _read(self, name: str) -> bytes:
        try:
            _, data = self._call("GET", _OBJECT, self.place.bucket, name, alt="media")
        except FileNotFoundError:  # gcsfs keeps no word of what was not found; listing tells a missing bucket
            raise Missing(name) from None
        return bytes(data)

    def _names(self, prefix: str) -> Iterator[str]:
        token: str | None = None
        while True:
            page = self._call(
                "GET",
                _OBJECTS,
                self.place.bucket,
                prefix=prefix or None,
                pageToken=token,
                fields="items/name,nextPageToken",
                json_out=True,
            )
            yield from (item["name"] for item in page.get("items", ()))
            before, token = token, page.get("nextPageToken")
            if not token:
                return
            if token == before:
                raise StoreUnavailable(f"{self}/{prefix}", "the listing was cut short")

    def _remove(self, names: Sequence[str]) -> None:
        run_many(self._fs, self._remove_one, names)

    async def _remove_one(self, name: str) -> None:
        with suppress(FileNotFoundError):
            await self._fs._call("DELETE", _OBJECT, self.place.bucket, name)  # noqa: SLF001 - it is `call`

    def _call(self, method: str, path: str, *names: str, **arguments: Any) -> Any:
        return self._fs.call(method, path, *names, timeout=CALL_SECONDS, **arguments)

    def _answer(self, error: Exception) -> Answer:
        if isinstance(error, FileExistsError):
            return Answer(Meaning.TAKEN, str(error))
        if isinstance(error, Missing):
            return Answer(Meaning.MISSING, str(error))
        if isinstance(error, FileNotFoundError):
            return Answer(Meaning.NO_BUCKET, f"{error} was not found")
        if isinstance(error, OSError) and str(error).startswith("Forbidden"):
            return said(status=403, words=str(error))
        code = getattr(error, "code", None)
        if code is not None and str(code).isdecimal():
            return said(status=int(code), words=str(getattr(error, "message", error)))
        return raised(error)
