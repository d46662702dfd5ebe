"""Other file systems of fsspec: the honest ones are used, the rest is found out by trial."""

from __future__ import annotations

import errno
import io
import threading
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from actorflow.errors import BadStoreUrl, StoreDenied, StoreError, StoreFull, StoreUnavailable, UnsafeStore
from actorflow.store.buckets.other import OtherBackend
from actorflow.store.buckets.place import parse_place
from actorflow.store.buckets.resolve import bucket_backend
from actorflow.testing.backend_contract import BackendContract


class Shared(MemoryFileSystem):
    """Files in memory, of its own and under its own name; each kind below differs in how it creates."""

    cachable = False
    lock: ClassVar[threading.Lock] = threading.Lock()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.store = {}
        cls.pseudo_dirs = [""]
        cls.protocol = cls.__name__.lower()
        fsspec.register_implementation(cls.protocol, cls, clobber=True)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix(f"{cls.protocol}://").strip("/")

    def write(self, path: str, data: bytes) -> None:
        """Put a whole file there at once."""
        self.store[path] = MemoryFile(self, path, data)


class Honest(Shared):
    """Creates exclusively, as it is asked to by ``mode``."""

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        path = self._strip_protocol(path)
        with self.lock:
            if mode == "create" and path in self.store:
                raise FileExistsError(path)
            self.write(path, value)


class SlowFile(MemoryFile):
    """It is there before its bytes are: in a race, until somebody has read it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.read_by_another = threading.Event()

    def write(self, data: Any) -> int:
        if len(data) > 1000:
            self.read_by_another.wait(30)
        return super().write(data)


class Opens(Shared):
    """Creates exclusively, but only what is opened so; the bytes come after the name, as on a disk."""

    pipe_file = fsspec.AbstractFileSystem.pipe_file

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        if mode != "xb":
            return super()._open(path, mode, **kwargs)
        with self.lock:
            if path in self.store:
                raise FileExistsError(path)
            file = SlowFile(self, path)
            self.store[path] = file
        return file

    def cat_file(self, path: str, start: Any = None, end: Any = None, **kwargs: Any) -> bytes:
        data: bytes = super().cat_file(path, start, end, **kwargs)
        self.store[self._strip_protocol(path)].read_by_another.set()
        return data


class Upload(io.BytesIO):
    """Sent as a whole when it is closed, unless something is there."""

    def __init__(self, fs: Shared, path: str) -> None:
        super().__init__()
        self._fs = fs
        self._path = path

    def close(self) -> None:
        if not self.closed:
            data = self.getvalue()
            super().close()
            with self._fs.lock:
                if self._path in self._fs.store:
                    raise FileExistsError(self._path)
                self._fs.write(self._path, data)


class Uploads(Shared):
    """Creates exclusively what is opened so; its own `pipe_file` knows no ``mode`` and writes over what is there."""

    def pipe_file(self, path: str, value: bytes, **kwargs: Any) -> None:
        self.write(self._strip_protocol(path), value)

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        return Upload(self, path) if mode == "xb" else super()._open(path, mode, **kwargs)


class Ignores(Shared):
    """Takes ``mode``, and writes over what is there all the same."""

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        self.write(self._strip_protocol(path), value)


class Drops(Shared):
    """Has a `pipe_file` of its own that knows no ``mode``; opening exclusively is not known either."""

    def pipe_file(self, path: str, value: bytes, **kwargs: Any) -> None:
        self.write(self._strip_protocol(path), value)

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        return super()._open(path, mode.replace("x", "w"), **kwargs)


class Refuses(Honest):
    """Answers every question with `refusal`."""

    refusal: ClassVar[Exception] = OSError()

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        raise self.refusal

    def cat_file(self, path: str, start: Any = None, end: Any = None, **kwargs: Any) -> bytes:
        raise self.refusal


class TestHonest(BackendContract):
    """The contract, by ``pipe_file(mode="create")``."""

    @pytest.fixture
    def backend(self) -> OtherBackend:
        """An empty one."""
        Honest.store.clear()
        return OtherBackend(parse_place("honest://host/folder"), {})


class TestUploads(BackendContract):
    """The contract, by opening with ``"xb"``."""

    @pytest.fixture
    def backend(self) -> OtherBackend:
        """An empty one."""
        Uploads.store.clear()
        return OtherBackend(parse_place("uploads://host/folder"), {})


def test_what_passes_the_trial_is_used() -> None:
    """And keeps the verdict; the whole path is in the folder that the URL names."""
    Honest.store.clear()
    backend = bucket_backend("honest://host/folder", {})

    assert backend.put_new("k/a", b"x")
    assert not backend.put_new("k/a", b"y")

    assert backend.list("k/") == ["k/a"]
    assert len(backend.list("probe/")) == 1
    assert all(path.startswith("/host/folder/") for path in Honest.store)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ignores://host/x", "created one key twice"),
        ("drops://host/x", "created one key twice"),
        ("opens://host/x", "half of what is being created can be read"),
    ],
)
def test_what_does_not_create_exclusively_is_refused(url: str, why: str) -> None:
    """Planted, each of them: nothing is kept there, not even a verdict. Opening exclusively shows half a file."""
    backend = bucket_backend(url, {})

    with pytest.raises(UnsafeStore, match=why):
        backend.put_new("actorflow.json", b"{}")

    assert backend.list("") == []


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (PermissionError("no"), StoreDenied),
        (OSError(errno.ENOSPC, "no room"), StoreFull),
        (OSError(errno.EDQUOT, "no quota"), StoreFull),
        (OSError(errno.EIO, "broken"), StoreUnavailable),
        (NotImplementedError("no such mode"), UnsafeStore),
        (TimeoutError(), StoreUnavailable),
        (RuntimeError("session is closed"), StoreUnavailable),
    ],
)
def test_what_it_raises_becomes_ours(refusal: Exception, kind: type[StoreError], monkeypatch: Any) -> None:
    """With the path in it."""
    monkeypatch.setattr(Refuses, "refusal", refusal)
    backend = OtherBackend(parse_place("refuses://host/x"), {})

    for call in (lambda: backend.put_new("k", b""), lambda: backend.get("k")):
        with pytest.raises(StoreError, match="refuses://host/x/k") as caught:
            call()
        assert type(caught.value) is kind


def test_options_that_it_does_not_take_are_refused() -> None:
    """When it is opened."""

    class Strict(Honest):
        def __init__(self, *, use_listings_cache: bool = False, asynchronous: bool = False) -> None:
            super().__init__()

    with pytest.raises(BadStoreUrl, match="storage_options"):
        OtherBackend(parse_place("strict://host/x"), {"colour": "red"})


def test_its_listings_are_not_believed_to_ascend() -> None:
    """They are sorted here, in whatever order they came; also seen through what is in front of it."""
    assert not bucket_backend("honest://bucket/folder", {}).ascends
    assert bucket_backend("s3://bucket/folder", {}).ascends
