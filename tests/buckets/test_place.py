"""URLs of stores: what they name, and those that are refused before anything is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actorflow.errors import BadStoreUrl, UnsafeStore
from actorflow.store.buckets.azure import AzureBackend
from actorflow.store.buckets.gcs import GcsBackend
from actorflow.store.buckets.place import parse_place
from actorflow.store.buckets.resolve import bucket_backend

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("url", "scheme", "bucket", "folder"),
    [
        ("s3://bucket", "s3", "bucket", ""),
        ("s3://bucket/", "s3", "bucket", ""),
        ("S3://bucket/runs", "s3", "bucket", "runs/"),
        ("gs://bucket/a/b/", "gs", "bucket", "a/b/"),
        ("az://container/a%20b/c*[d]", "az", "container", "a%20b/c*[d]/"),
        ("abfss://box@account.dfs.core.windows.net/x", "abfss", "box@account.dfs.core.windows.net", "x/"),
    ],
)
def test_a_url_names_a_bucket_and_a_folder(url: str, scheme: str, bucket: str, folder: str) -> None:
    """To the letter: nothing is decoded, and only the scheme is folded."""
    place = parse_place(url)

    assert (place.scheme, place.bucket, place.folder) == (scheme, bucket, folder)
    assert place.url == url.rstrip("/")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("s3://", "names no bucket"),
        ("s3:///folder", "names no bucket"),
        ("bucket/folder", "scheme://bucket/folder"),
        ("s3://bucket/../other", r"not \.\."),
        ("s3://bucket/./x", r"not \."),
        ("s3://bucket//x", "not empty"),
        ("s3://bucket/x//", "not empty"),
        ("s3://bucket/x?versionId=1", "no query"),
        ("s3://bucket/x#y", "no query"),
        ("s3://bucket/x\n", "control characters"),
        ("s3://bucket/x\0y", "control characters"),
        ("s3://bucket/a\\b", "backslashes"),
        ("simplecache::s3://bucket/x", "chained"),
        ("zip://a.zip::s3://bucket/x", "chained"),
    ],
)
def test_an_odd_url_is_refused(url: str, why: str) -> None:
    """By name, with the reason; nothing is guessed."""
    with pytest.raises(BadStoreUrl, match=why):
        bucket_backend(url, {})


def test_a_password_in_a_url_is_not_repeated() -> None:
    """It is refused, and the message does not carry it into a log."""
    with pytest.raises(BadStoreUrl, match="no passwords") as caught:
        parse_place("s3://AKIA:hunter2@bucket/x")

    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in caught.value.path


@pytest.mark.parametrize(
    "scheme",
    ["http", "https", "github", "zip", "tar", "data", "simplecache", "filecache", "reference", "file", "memory"],
)
def test_what_can_not_be_a_store_is_refused(scheme: str) -> None:
    """Whatever it might prove: it only reads, keeps copies in between, or has a backend of our own."""
    with pytest.raises(BadStoreUrl, match="can't be a store"):
        bucket_backend(f"{scheme}://place/folder", {})


def test_a_scheme_that_nobody_knows_is_refused() -> None:
    """It is named."""
    with pytest.raises(BadStoreUrl, match="knows no nowhere://"):
        bucket_backend("nowhere://place", {})


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [("s3://b", "s3fs", "s3"), ("gs://b", "gcsfs.core", "gcs"), ("az://b", "adlfs", "azure")],
)
def test_a_library_that_is_missing_is_named(url: str, module: str, extra: str, monkeypatch: Any) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(__import__("sys").modules, module, None)

    with pytest.raises(BadStoreUrl, match=rf'pip install "actorflow\[{extra}\]"'):
        bucket_backend(url, {})


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://b", {"no_such_option": 1}),
        ("s3://b", {"config_kwargs": {"no_such_option": 1}}),
        ("gs://b", {"token": "anon", "access": "no-such-access"}),
        ("az://b", {"anon": True}),  # and no account
    ],
)
def test_options_that_the_library_does_not_take_are_refused_at_once(
    url: str, options: dict[str, Any], monkeypatch: Any
) -> None:
    """When the store is opened, not at the first commit."""
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(BadStoreUrl, match="storage_options"):
        bucket_backend(url, options)


def test_google_is_asked_as_its_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was passed: credentials are those that Google's own tools would find."""
    key = tmp_path / "key.json"
    key.write_text('{"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "of-team-7"}')
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")

    backend = GcsBackend(parse_place("gs://bucket/x"), {})

    assert backend._fs.credentials.credentials.refresh_token == "of-team-7"
    assert backend.endpoint is None


def test_azure_is_asked_as_its_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was passed: account and key are those that adlfs documents."""
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "team7")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0")

    backend = AzureBackend(parse_place("az://box/x"), {})

    assert backend._container.url == "https://team7.blob.core.windows.net/box"
    assert backend._container.credential.account_key == "c2VjcmV0"
    assert backend.endpoint is None


def test_a_directory_bucket_is_refused() -> None:
    """Its listings are in no order, so the second look after a claim would prove nothing."""
    with pytest.raises(UnsafeStore, match="lists in no order"):
        bucket_backend("s3://runs--euw1-az1--x-s3/x", {})
