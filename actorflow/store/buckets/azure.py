"""Azure Blob Storage: blobs created with ``If-None-Match: *``, through adlfs's client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from actorflow.errors import BadStoreUrl
from actorflow.store.buckets.answers import Answer, Meaning, raised, said
from actorflow.store.buckets.bucket import (
    ALONE,
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
    from collections.abc import Sequence
    from concurrent.futures import Future

    from actorflow.store.buckets.place import Place

_OWN = (".core.windows.net", ".core.chinacloudapi.cn", ".core.usgovcloudapi.net")

# The client would wait for 15 seconds and more before it repeats. A put that it repeats may meet its own blob.
_BOUNDS: Options = {"connection_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS, "retry_total": 0}


class AzureBackend(BucketBackend):
    """Blobs in a container."""

    def __init__(self, place: Place, options: Options) -> None:
        """No request to the container is sent, but credentials may be looked for on the network.

        Raises:
            BadStoreUrl: adlfs is missing, or doesn't know such options, or knows no account.
        """
        super().__init__(place)
        container, at, host = place.bucket.partition("@")
        account = {"account_name": host.partition(".")[0]} if at else {}
        filesystem = load("adlfs", "AzureBlobFileSystem", place=place, extra="azure")
        try:
            self._fs: Any = filesystem(**{**account, **options, **ALONE})
        except (TypeError, ValueError, KeyError) as error:
            raise BadStoreUrl(place.url, f"adlfs does not take these storage_options: {error}") from error
        except Exception as error:
            raise self._error(error, "") from error
        self._container: Any = self._fs.service_client.get_container_client(container)

    @property
    def endpoint(self) -> str | None:
        """None for Microsoft's own."""
        url = urlsplit(str(self._container.url))
        return None if (url.hostname or "").endswith(_OWN) else f"{url.scheme}://{url.netloc}"

    def _create(self, name: str, data: bytes) -> None:
        run(self._fs, self._upload, name, data)

    def _send(self, name: str, data: bytes) -> Future[None]:
        return send(self._fs, self._upload, name, data)

    def _read(self, name: str) -> bytes:
        return run(self._fs, self._download, name)

    def _names(self, prefix: str) -> Sequence[str]:
        return run(self._fs, self._list, prefix)

    def _remove(self, names: Sequence[str]) -> None:
        run_many(self._fs, self._remove_one, names)

    async def _upload(self, name: str, data: bytes) -> None:
        await self._container.upload_blob(name, data, length=len(data), overwrite=False, **_BOUNDS)

    async def _download(self, name: str) -> bytes:
        blob = await self._container.download_blob(name, **_BOUNDS)
        data: bytes = await blob.readall()
        return data

    async def _list(self, prefix: str) -> Sequence[str]:
        # In an account with a hierarchical namespace, folders are listed among the blobs; only this tells them.
        blobs: Any = self._container.list_blobs(name_starts_with=prefix or None, include=["metadata"], **_BOUNDS)
        return [blob.name async for blob in blobs if not _is_folder(blob)]

    async def _remove_one(self, name: str) -> None:
        try:
            await self._container.delete_blob(name, **_BOUNDS)
        except Exception as error:
            if self._answer(error).meaning is not Meaning.MISSING:
                raise

    def _answer(self, error: Exception) -> Answer:
        status = getattr(error, "status_code", None)
        if status is None:
            return raised(error)
        code: Any = getattr(error, "error_code", None) or ""
        return said(status=int(status), code=str(getattr(code, "value", code)), words=str(error).partition("\n")[0])


def _is_folder(blob: Any) -> bool:
    return bool(blob.metadata) and blob.metadata.get("hdi_isfolder") == "true"
