"""What all buckets share: which answer becomes which error, and what counts as one of our keys."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from actorflow.errors import BadStoreUrl, StoreDenied, StoreError, StoreFull, StoreUnavailable, UnsafeStore
from actorflow.runtime.committer import Committer
from actorflow.store.backend import Missing
from actorflow.store.buckets.answers import Answer, raised, said
from actorflow.store.buckets.bucket import BucketBackend, send
from actorflow.store.buckets.place import parse_place
from actorflow.testing.backend_contract import BackendContract

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actorflow.store.backend import Steps


class Refusal(Exception):
    """A service's answer, as a client library might raise it."""

    def __init__(self, code: str, status: int = 0) -> None:
        super().__init__(f"{code} it is")
        self.code = code
        self.status = status


class Shelf(BucketBackend):
    """A service in a dict; `refuse` is its answer to everything, and `listed` what it lists."""

    def __init__(self) -> None:
        super().__init__(parse_place("shelf://bucket/folder"))
        self.data: dict[str, bytes] = {}
        self.refuse: Exception | None = None
        self.listed: list[str] | None = None

    @property
    def endpoint(self) -> str | None:
        return None

    def _create(self, name: str, data: bytes) -> None:
        if self.refuse:
            raise self.refuse
        if self.data.setdefault(name, data) is not data:
            raise Refusal("PreconditionFailed", 412)

    def _read(self, name: str) -> bytes:
        if self.refuse:
            raise self.refuse
        if name not in self.data:
            raise Refusal("NoSuchKey", 404)
        return self.data[name]

    def _names(self, prefix: str) -> Sequence[str]:
        if self.refuse:
            raise self.refuse
        found = sorted(self.data) if self.listed is None else self.listed
        return [name for name in found if name.startswith(prefix)]

    def _remove(self, names: Sequence[str]) -> None:
        if self.refuse:
            raise self.refuse
        for name in names:
            self.data.pop(name, None)

    def _answer(self, error: Exception) -> Answer:
        if isinstance(error, Refusal):
            return said(status=error.status, code=error.code, words=str(error))
        return raised(error)


class TestShelf(BackendContract):
    """The contract holds for what is shared."""

    @pytest.fixture
    def backend(self) -> Shelf:
        """An empty one."""
        return Shelf()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Refusal("AccessDenied", 403), StoreDenied),
        (Refusal("ExpiredToken", 400), StoreDenied),
        (Refusal("", 401), StoreDenied),
        (Refusal("QuotaExceeded", 403), StoreFull),
        (Refusal("EntityTooLarge", 400), StoreFull),
        (Refusal("", 413), StoreFull),
        (Refusal("", 507), StoreFull),
        (Refusal("NotImplemented", 501), UnsafeStore),
        (Refusal("NoSuchBucket", 404), BadStoreUrl),
        (Refusal("ContainerNotFound", 404), BadStoreUrl),
        (Refusal("ConditionalRequestConflict", 409), StoreUnavailable),
        (Refusal("SlowDown", 503), StoreUnavailable),
        (Refusal("InternalError", 500), StoreUnavailable),
        (Refusal("", 404), StoreUnavailable),
        (TimeoutError(), StoreUnavailable),
        (ConnectionResetError("reset by peer"), StoreUnavailable),
        (type("NoCredentialsError", (Exception,), {})("Unable to locate credentials"), StoreDenied),
        (type("RefreshError", (type("GoogleAuthError", (Exception,), {}),), {})("expired"), StoreDenied),
    ],
)
def test_an_answer_becomes_the_error_that_says_what_to_do(answer: Exception, kind: type[StoreError]) -> None:
    """For every call alike; it names the object, and what was said is its cause."""
    shelf = Shelf()
    shelf.refuse = answer

    for call in (
        lambda: shelf.put_new("k/a", b"x"),
        lambda: shelf.get("k/a"),
        lambda: shelf.list("k/"),
        lambda: shelf.delete(["k/a"]),
    ):
        with pytest.raises(StoreError) as caught:
            call()
        assert type(caught.value) is kind
        assert caught.value.path.startswith("shelf://bucket/folder/")
        assert caught.value.__cause__ is answer


def test_only_the_services_own_word_makes_a_key_free() -> None:
    """Corrupt is not absent, nor is unreadable: a 404 of who knows whom, or of the whole bucket, is no `Missing`."""
    shelf = Shelf()

    with pytest.raises(Missing):
        shelf.get("k/a")
    for answer in (Refusal("", 404), Refusal("404", 404), Refusal("NoSuchBucket", 404)):
        shelf.refuse = answer
        with pytest.raises(StoreError):
            shelf.get("k/a")


def test_only_a_put_can_find_a_key_taken() -> None:
    """To any other question, a failed precondition is no answer."""
    shelf = Shelf()
    shelf.refuse = Refusal("PreconditionFailed", 412)

    assert not shelf.put_new("k/a", b"x")
    with pytest.raises(StoreUnavailable):
        shelf.get("k/a")


def test_folders_that_a_web_console_made_are_no_keys() -> None:
    """They are empty objects whose names end in a slash."""
    shelf = Shelf()
    shelf.data = {"folder/": b"", "folder/runs/": b"", "folder/runs/a": b"x", "other": b"y"}

    assert shelf.list("") == shelf.list("runs/") == ["runs/a"]


def test_a_listing_that_does_not_ascend_is_refused() -> None:
    """The second look after a claim would prove nothing there; between folders, the order does not matter."""
    shelf = Shelf()

    shelf.listed = ["folder/a/2", "folder/a/3", "folder/a-b/1", "folder/a-b/1"]
    assert shelf.list("") == ["a-b/1", "a/2", "a/3"]

    shelf.listed = ["folder/a/2", "folder/a/1"]
    with pytest.raises(UnsafeStore, match="lists 'a/1' after 'a/2'"):
        shelf.list("a/")


class Client:
    """As a file system of fsspec has one: an event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def close(self) -> None:
        """Let its thread end."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture
def client() -> Iterator[Client]:
    """One whose thread ends with the test."""
    client = Client()
    yield client
    client.close()


async def test_a_client_runs_on_asyncio_whatever_runs_here(client: Client) -> None:
    """Some are built on anyio, which goes by the context that they are called in: trio's was seen to reach them."""

    async def work() -> None:
        await anyio.lowlevel.checkpoint()

    def put() -> Steps[None]:
        sent = send(client, work)
        yield sent
        sent.result(timeout=0)

    async with anyio.create_task_group() as tasks:
        await Committer(tasks, files=256, apart=True).commit(put(), alone=True)
