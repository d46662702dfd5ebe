"""S3: objects created with ``If-None-Match: *``, through s3fs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from actorflow.errors import BadStoreUrl, StoreUnavailable, UnsafeStore
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
    send,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from actorflow.store.buckets.place import Place

_BULK = 1000  # keys in one DeleteObjects, by its definition
_CONNECTIONS = 64
_UNASKED = 256 * 1024  # bytes that are sent without asking whether the server would take them

# A put that the client repeats meets its own object. So nothing is repeated, but what aiohttp does by itself
# when a kept-alive connection turns out to be dead.
_CONFIG: Options = {
    "connect_timeout": CONNECT_SECONDS,
    "read_timeout": READ_SECONDS,
    "retries": {"mode": "standard", "max_attempts": 0},
    "max_pool_connections": _CONNECTIONS,
    # Our frames carry their own digests, and many servers don't know the checksums that would be added.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
    # Otherwise the client describes itself and its machine anew in each request: a tenth of what a small put costs it.
    "user_agent": "actorflow",
}


class S3Backend(BucketBackend):
    """Objects in an S3 bucket, or in one of a server that speaks S3."""

    def __init__(self, place: Place, options: Options) -> None:
        """Connect; no request is sent, but credentials may be looked for on the network.

        Raises:
            BadStoreUrl: s3fs is missing, or doesn't know such options.
            UnsafeStore: a bucket whose listings don't ascend, or a client too old for conditional writes.
        """
        super().__init__(place)
        if place.bucket.endswith("--x-s3"):
            raise UnsafeStore(place.url, "it is a directory bucket, which lists in no order; use a general purpose one")
        filesystem = load("s3fs", "S3FileSystem", place=place, extra="s3")
        config = {**_CONFIG, **options.get("config_kwargs", {})}
        try:
            self._fs: Any = filesystem(**{**options, **ALONE, "config_kwargs": config})
            self._fs.retries = 1
            self._fs.connect()
        except (TypeError, ValueError, KeyError) as error:
            raise BadStoreUrl(place.url, f"s3fs does not take these storage_options: {error}") from error
        except Exception as error:
            raise self._error(error, "") from error
        self._check_client()

    @property
    def endpoint(self) -> str | None:
        """None for AWS."""
        url = str(self._fs.s3.meta.endpoint_url)
        host = urlsplit(url).hostname or ""
        return None if host.endswith((".amazonaws.com", ".amazonaws.com.cn")) else url

    def _create(self, name: str, data: bytes) -> None:
        run(self._fs, self._put, name, data)

    def _send(self, name: str, data: bytes) -> Future[None]:
        return send(self._fs, self._put, name, data)

    async def _put(self, name: str, data: bytes) -> None:
        # Of bytes the client makes a file, and asks the server for leave to send that: each commit would wait twice.
        body = bytearray(data) if len(data) <= _UNASKED else data
        await self._fs._call_s3("put_object", Bucket=self.place.bucket, Key=name, Body=body, IfNoneMatch="*")  # noqa: SLF001 - it is call_s3

    def _read(self, name: str) -> bytes:
        return run(self._fs, self._fetch, name)

    async def _fetch(self, name: str) -> bytes:
        # Not by cat_file, which asks for the size first.
        reply = await self._fs._call_s3("get_object", Bucket=self.place.bucket, Key=name)  # noqa: SLF001 - it is call_s3
        async with reply["Body"] as body:
            data: bytes = await body.read()
        if len(data) != reply["ContentLength"]:
            raise StoreUnavailable(f"s3://{self.place.bucket}/{name}", "the answer was cut short")
        return data

    def _names(self, prefix: str) -> Iterator[str]:
        token: str | None = None
        while True:
            after = {"ContinuationToken": token} if token else {}
            page = self._call("list_objects_v2", Prefix=prefix, **after)
            yield from (entry["Key"] for entry in page.get("Contents", ()))
            if not page["IsTruncated"]:
                return
            before, token = token, page.get("NextContinuationToken")
            if not token or token == before:
                raise StoreUnavailable(f"s3://{self.place.bucket}/{prefix}", "the listing was cut short")

    def _remove(self, names: Sequence[str]) -> None:
        if len(names) == 1:  # a run's marker at its end: for one, a request in bulk takes twice as long
            self._remove_one(names[0])
            return
        for start in range(0, len(names), _BULK):
            keys = [{"Key": name} for name in names[start : start + _BULK]]
            reply = self._call("delete_objects", Delete={"Objects": keys, "Quiet": True})
            for failed in reply.get("Errors", ()):
                if failed.get("Code") != "NoSuchKey":
                    answer = said(code=failed.get("Code", ""), words=failed.get("Message", "not deleted"))
                    raise answer.error(f"s3://{self.place.bucket}/{failed.get('Key')}")

    def _remove_one(self, name: str) -> None:
        try:
            self._call("delete_object", Key=name)
        except Exception as error:
            answer = self._answer(error)
            if answer.meaning is not Meaning.MISSING:
                raise answer.error(f"s3://{self.place.bucket}/{name}") from error

    def _call(self, operation: str, **arguments: Any) -> Any:
        return self._fs.call_s3(operation, Bucket=self.place.bucket, timeout=CALL_SECONDS, **arguments)

    def _answer(self, error: Exception) -> Answer:
        # s3fs makes several kinds of OSError of an answer, by its code; the answer itself is the cause.
        response: Any = getattr(error.__cause__, "response", None) or getattr(error, "response", None)
        if response is None:
            return raised(error)
        told: Any = response.get("Error", {})
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return said(status=status, code=str(told.get("Code", "")), words=str(told.get("Message") or error))

    def _check_client(self) -> None:
        """s3fs drops what its client doesn't know, so an older one would put without the condition, silently."""
        put = self._fs.s3.meta.service_model.operation_model("PutObject")
        if "IfNoneMatch" not in put.input_shape.members:
            raise UnsafeStore(self.place.url, "the installed botocore can't create exclusively; update it to 1.36")
