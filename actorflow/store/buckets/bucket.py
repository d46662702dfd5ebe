"""BucketBackend: what all backends over fsspec share, whichever service is behind them."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from actorflow.errors import BadStoreUrl, StoreError, UnsafeStore
from actorflow.store.backend import Backend, Missing
from actorflow.store.buckets.answers import Answer, Meaning

if TYPE_CHECKING:
    from concurrent.futures import Future

    from actorflow.store.backend import Steps
    from actorflow.store.buckets.place import Place

T = TypeVar("T")

Options = Mapping[str, Any]
"""What a user passes through to a file system of fsspec: each library has its own."""

CONNECT_SECONDS = 5
READ_SECONDS = 15
CALL_SECONDS = 60
"""What bounds a call: to connect, to wait for the next bytes, and in all. Closing a runtime waits for calls."""

_AT_ONCE = 32
_BUNDLE = 256  # requests within one bound of time

# An instance of its own: shared ones cache listings, in which an object that another process made is not there.
ALONE: Options = {"use_listings_cache": False, "skip_instance_cache": True, "asynchronous": False}


class BucketBackend(Backend):
    """Objects under a folder of a bucket. Thread-safe; every call is bounded in time.

    Nothing is sent twice by us; client libraries and the network may do so.
    """

    readers = 16
    ascends = True  # and each listing is checked for it

    def __init__(self, place: Place) -> None:
        self.place = place
        self._root = place.folder

    def __str__(self) -> str:
        return self.place.url

    @property
    @abstractmethod
    def endpoint(self) -> str | None:
        """What serves this bucket, if it must first prove that it creates exclusively; None for the cloud's own."""

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """One request, conditional on there being nothing. An object is durable, whatever is asked."""
        del durable
        try:
            self._create(self._root + key, data)
        except Exception as error:  # noqa: BLE001 - raised again as ours
            return self._not_put(error, key)
        return True

    def putting_new(self, key: str, data: bytes) -> Steps[bool]:
        """`put_new` in steps: the request is sent, and then there is its answer."""
        try:
            sent = self._send(self._root + key, data)
            yield sent
            if sent is not None:
                sent.result(timeout=0)
        except Exception as error:  # noqa: BLE001 - raised again as ours
            return self._not_put(error, key)
        return True if sent is not None else self.put_new(key, data)

    def get(self, key: str) -> bytes:
        """The object's bytes."""
        try:
            return self._read(self._root + key)
        except Exception as error:
            if self._answer(error).meaning is Meaning.MISSING:
                raise Missing(key) from None
            raise self._error(error, key) from error

    def list(self, prefix: str) -> list[str]:
        """All keys below ``prefix``. What isn't ours by its name, as the empty "folders" of web consoles, is not."""
        try:
            names = list(self._names(self._root + prefix))
        except Exception as error:
            raise self._error(error, prefix) from error
        keys = [name[len(self._root) :] for name in names if not name.endswith("/")]
        self._check_order(keys, prefix)
        return sorted(set(keys))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete exactly these, in bulk where the service can."""
        try:
            self._remove([self._root + key for key in keys])
        except Exception as error:
            raise self._error(error, "") from error

    @abstractmethod
    def _create(self, name: str, data: bytes) -> None:
        """Create the object if it is not there; raise if it is."""

    def _send(self, name: str, data: bytes) -> Future[None] | None:  # noqa: ARG002 - for those who can
        """`_create` in the thread of a client that has one, without waiting for it; None: there is no such client."""
        return None

    @abstractmethod
    def _read(self, name: str) -> bytes: ...

    @abstractmethod
    def _names(self, prefix: str) -> Iterable[str]:
        """The names of all objects that begin with ``prefix``, in the order in which the service lists them."""

    @abstractmethod
    def _remove(self, names: Sequence[str]) -> None:
        """Delete these objects; those that are not there are no error."""

    @abstractmethod
    def _answer(self, error: Exception) -> Answer:
        """What an exception of the client library says."""

    def _not_put(self, error: Exception, key: str) -> Literal[False]:
        """False: somebody's object is there."""
        if self._answer(error).meaning is not Meaning.TAKEN:
            raise self._error(error, key) from error
        return False

    def _error(self, error: Exception, key: str) -> StoreError:
        if isinstance(error, StoreError):
            return error
        return self._answer(error).error(f"{self}/{key}")

    def _check_order(self, keys: Sequence[str], prefix: str) -> None:
        """The second look after a claim proves something only where a listing goes upwards through a folder."""
        before = ""
        for key in keys:
            if key < before and key.rpartition("/")[0] == before.rpartition("/")[0]:
                raise UnsafeStore(f"{self}/{prefix}", f"it lists {key!r} after {before!r}; listings must ascend")
            before = key


def run(filesystem: Any, work: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """What ``work`` returns, run in the event loop of fsspec's thread, where its clients live."""
    sync: Any = import_module("fsspec.asyn").sync
    result: T = sync(filesystem.loop, work, *arguments, timeout=CALL_SECONDS)
    return result


def send(filesystem: Any, work: Callable[..., Awaitable[T]], *arguments: Any) -> Future[T]:
    """`run`, without waiting for it."""

    async def bounded() -> T:
        async with asyncio.timeout(CALL_SECONDS):
            return await work(*arguments)

    loop = filesystem.loop  # raises in a forked child
    return asyncio.run_coroutine_threadsafe(bounded(), loop)


def run_many(filesystem: Any, work: Callable[[str], Awaitable[None]], names: Sequence[str]) -> None:
    """``work`` for each name, many at once: for deletions, where none can be relied on that takes them in bulk."""

    async def bundle(names: Sequence[str]) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(name: str) -> None:
            async with gate:
                await work(name)

        await asyncio.gather(*map(one, names))

    for start in range(0, len(names), _BUNDLE):
        run(filesystem, bundle, names[start : start + _BUNDLE])


def load(module: str, name: str, *, place: Place, extra: str) -> Any:
    """A class of a client library, none of which ships types or is needed by those who use no bucket.

    Raises:
        BadStoreUrl: the library is not installed.
    """
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        raise BadStoreUrl(
            place.url, f'{place.scheme}:// needs what is not installed ({error}): pip install "actorflow[{extra}]"'
        ) from error
