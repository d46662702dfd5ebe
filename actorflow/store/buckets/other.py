"""Other file systems of fsspec: none is believed to create exclusively; each must prove it first."""

from __future__ import annotations

import errno
import inspect
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from actorflow.errors import BadStoreUrl
from actorflow.store.buckets.answers import Answer, Meaning, raised
from actorflow.store.buckets.bucket import ALONE, BucketBackend, Options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.store.buckets.place import Place

# What fsspec can open, and what can't be a store whatever it proves: it only reads, keeps a copy of its own in
# between, or is one file that is written anew. Folders and memory have backends of our own.
_REFUSED = frozenset(
    {"arrow_hdfs", "asynclocal", "async_wrapper", "blockcache", "cached", "data", "dir", "file", "filecache", "generic"}
    | {"git", "github", "gist", "http", "https", "jlab", "jupyter", "libarchive", "local", "memory", "reference"}
    | {"root", "simplecache", "tar", "zip"}
)

_MEANING = {
    errno.ENOSPC: Meaning.FULL,
    errno.EDQUOT: Meaning.FULL,
    errno.EFBIG: Meaning.FULL,
    errno.ENOSYS: Meaning.UNSUPPORTED,
    errno.EOPNOTSUPP: Meaning.UNSUPPORTED,
}


class OtherBackend(BucketBackend):
    """Files or objects of any file system that fsspec knows.

    Its listings are sorted here, and nothing is known of the order in which the service lists.
    """

    ascends = False

    def __init__(self, place: Place, options: Options) -> None:
        """Make the file system; many connect at once.

        Raises:
            BadStoreUrl: fsspec knows no such scheme, its library is missing, or it can't be a store.
        """
        super().__init__(place)
        fsspec: Any = import_module("fsspec")
        if place.scheme in _REFUSED:
            raise BadStoreUrl(place.url, f"{place.scheme}:// can't be a store; give a folder, or the URL of a bucket")
        try:
            filesystem: Any = fsspec.get_filesystem_class(place.scheme)
        except ValueError as error:
            raise BadStoreUrl(place.url, f"fsspec knows no {place.scheme}://") from error
        except ImportError as error:
            raise BadStoreUrl(place.url, f"its library is not installed: {error}") from error
        try:
            from_url = filesystem._get_kwargs_from_urls(place.url)  # noqa: SLF001 - as fsspec.url_to_fs does it
            self._fs: Any = filesystem(**{**from_url, **options, **ALONE})
            self._root = f"{filesystem._strip_protocol(place.url).rstrip('/')}/"  # noqa: SLF001 - likewise
        except (TypeError, ValueError, KeyError) as error:
            raise BadStoreUrl(place.url, f"its file system does not take these storage_options: {error}") from error
        except Exception as error:
            raise self._error(error, "") from error
        self._pipes = _takes_mode(filesystem)

    @property
    def endpoint(self) -> str | None:
        """Always one that must prove itself."""
        return f"{self.place.scheme}://{self.place.bucket}"

    def _create(self, name: str, data: bytes) -> None:
        try:
            self._create_in_folder(name, data)
        except FileNotFoundError:
            self._fs.makedirs(name.rpartition("/")[0], exist_ok=True)
            self._create_in_folder(name, data)

    def _create_in_folder(self, name: str, data: bytes) -> None:
        if self._pipes:
            self._fs.pipe_file(name, data, mode="create")
            return
        with self._fs.open(name, "xb") as file:
            file.write(data)

    def _read(self, name: str) -> bytes:
        self._fs.invalidate_cache()
        return bytes(self._fs.cat_file(name))

    def _names(self, prefix: str) -> Sequence[str]:
        self._fs.invalidate_cache()
        try:
            found = self._fs.find(prefix.rstrip("/"))
        except FileNotFoundError:
            return []
        return sorted(name for name in found if name.startswith(prefix))

    def _remove(self, names: Sequence[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                self._fs.rm_file(name)

    def _answer(self, error: Exception) -> Answer:
        if isinstance(error, FileExistsError):
            return Answer(Meaning.TAKEN, str(error))
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return Answer(Meaning.MISSING, str(error))
        if isinstance(error, PermissionError):
            return Answer(Meaning.DENIED, str(error))
        if isinstance(error, NotImplementedError):
            return Answer(Meaning.UNSUPPORTED, str(error))
        if isinstance(error, OSError) and (meaning := _MEANING.get(error.errno or 0)) is not None:
            return Answer(meaning, str(error))
        return raised(error)


def _takes_mode(filesystem: Any) -> bool:
    """Whether it has a `pipe_file` of its own that knows ``mode``; the inherited one looks first and then writes."""
    inherited: Any = import_module("fsspec").AbstractFileSystem
    for name in ("_pipe_file", "pipe_file"):
        method = getattr(filesystem, name, None)
        if method is not None and method is not inherited.pipe_file:
            return "mode" in inspect.signature(method).parameters
    return False
