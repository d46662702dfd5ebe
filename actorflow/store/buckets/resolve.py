"""Resolve: a URL, as the backend that keeps a store there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.store.buckets.azure import AzureBackend
from actorflow.store.buckets.gcs import GcsBackend
from actorflow.store.buckets.other import OtherBackend
from actorflow.store.buckets.place import parse_place
from actorflow.store.buckets.proven import ProvenBackend
from actorflow.store.buckets.s3 import S3Backend
from actorflow.store.wrappers import RetryingBackend

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.store.backend import Backend
    from actorflow.store.buckets.bucket import BucketBackend, Options
    from actorflow.store.buckets.place import Place

_BACKENDS: dict[str, Callable[[Place, Options], BucketBackend]] = {
    "s3": S3Backend,
    "s3a": S3Backend,
    "gs": GcsBackend,
    "gcs": GcsBackend,
    "az": AzureBackend,
    "abfs": AzureBackend,
    "abfss": AzureBackend,
}


def bucket_backend(url: str, storage_options: Options) -> Backend:
    """The backend for ``url``.

    Asks the bucket nothing yet. A server that is not the cloud's own proves itself before the first put.

    Args:
        url: ``s3://bucket/folder``, ``gs://``, ``az://``, or the URL of any other file system of fsspec.
        storage_options: What the file system takes; what is not there, it finds in its environment.

    Raises:
        BadStoreUrl: no such URL, a library that is not installed, or options that it does not take.
        UnsafeStore: such a bucket can't keep a store.
    """
    place = parse_place(url)
    backend = _BACKENDS.get(place.scheme, OtherBackend)(place, storage_options)
    return RetryingBackend(ProvenBackend(backend))
