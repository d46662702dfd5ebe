"""What each call costs: counted at the server's door, and refused there."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from actorflow.errors import BadStoreUrl, StoreDenied, StoreError, StoreFull, StoreUnavailable, UnsafeStore
from actorflow.store.buckets.azure import AzureBackend
from actorflow.store.buckets.gcs import GcsBackend
from actorflow.store.buckets.place import parse_place
from actorflow.store.buckets.s3 import S3Backend
from tests.buckets.conftest import bare
from tests.servers.gcs import failed
from tests.servers.proxy import Proxy, Says

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.place import Place


@pytest.fixture
def door(moto: Any) -> Iterator[Proxy]:
    """Before moto's server."""
    with Proxy(moto.endpoint) as proxy:
        yield proxy


def asked(proxy: Proxy) -> list[str]:
    """The methods of the requests since last asked."""
    methods = [request.method for request in proxy.seen]
    proxy.seen.clear()
    return methods


def test_on_s3_each_call_is_one_request(moto: Any, door: Proxy) -> None:
    """No look before a put, no size before a read, a thousand names a page; also for what is empty or not there."""
    backend = bare(moto.place(through=door.endpoint))

    assert backend.put_new("k/a", b"x" * 100_000)
    assert asked(door) == ["PUT"]
    assert not backend.put_new("k/a", b"y")
    assert asked(door) == ["PUT"]
    assert backend.put_new("k/empty", b"")
    assert asked(door) == ["PUT"]
    assert (len(backend.get("k/a")), backend.get("k/empty")) == (100_000, b"")
    assert asked(door) == ["GET", "GET"]
    with pytest.raises(LookupError):
        backend.get("k/b")
    assert asked(door) == ["GET"]
    assert backend.list("k/") == ["k/a", "k/empty"]
    assert asked(door) == ["GET"]


@pytest.mark.parametrize(("size", "asked"), [(0, False), (450, False), (256 * 1024, False), (1024 * 1024, True)])
def test_only_what_is_large_is_announced_to_s3_before_it_is_sent(moto: Any, size: int, asked: bool) -> None:
    """Each commit would wait for two answers; of a large value a refusal saves more than that.

    Seen to fail for the small ones with plain bytes, as which the client announces everything.
    """
    url, options = moto.place()
    backend = S3Backend(parse_place(url), options)
    sent: list[dict[str, Any]] = []
    backend._fs.s3.meta.events.register(
        "before-send.s3.PutObject", lambda request, **_: sent.append({**request.headers})
    )
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)

    assert backend.put_new("k/a", data)

    assert ["Expect" in headers for headers in sent] == [asked]
    assert backend.get("k/a") == data


def test_s3_is_told_in_few_words_who_asks(moto: Any, door: Proxy) -> None:
    """What the client would say of itself and its machine takes as long to put together as to sign the request.

    Seen to fail without ``user_agent``.
    """
    url, options = moto.place(through=door.endpoint)
    backend = S3Backend(parse_place(url), {**options, "config_kwargs": {"user_agent_extra": "team-7"}})

    backend.put_new("k/a", b"x")

    (agent,) = (dict(request.headers)["User-Agent"] for request in door.seen)
    assert agent.split()[0] == "actorflow"
    assert agent.split()[-1] == "team-7"  # what a user adds is there
    assert len(agent.split()) <= 3


def test_on_s3_many_are_deleted_by_a_thousand(moto: Any, door: Proxy) -> None:
    """By their exact names, the last one too."""
    backend = bare(moto.place(through=door.endpoint))
    for key in ("k/0", "k/1000", "k/1499", "k/1500", "k/*"):
        backend.put_new(key, b"")
    asked(door)

    backend.delete(f"k/{number}" for number in range(1500))

    assert asked(door) == ["POST", "POST"]
    assert backend.list("k/") == ["k/*", "k/1500"]


def test_on_s3_one_is_deleted_by_itself(moto: Any, door: Proxy) -> None:
    """A run does so at its end; for one key a deletion in bulk is more work for everybody."""
    backend = bare(moto.place(through=door.endpoint))
    backend.put_new("k/a", b"")
    asked(door)

    backend.delete(["k/a"])
    backend.delete(["k/a"])  # which is not there any more

    assert asked(door) == ["DELETE", "DELETE"]
    assert backend.list("k/") == []
    door.arm(Says(404, "NoSuchKey"), lambda request: request.method == "DELETE")
    backend.delete(["k/a"])  # of a server that says so
    door.arm(Says(403, "AccessDenied"), lambda request: request.method == "DELETE")
    with pytest.raises(StoreDenied, match="k/a"):
        backend.delete(["k/a"])


def test_elsewhere_a_put_and_a_get_are_one_request_too(gcs: Any) -> None:
    """On Google Cloud Storage, also when nothing is in it, or what looks like the end of a multipart message."""
    with Proxy(gcs.endpoint) as proxy:
        backend = bare(gcs.place(through=proxy.endpoint))
        for key, data in (("k/a", b"x"), ("k/b", b""), ("k/c", b"\r\n--==0==--\n--==0==--")):
            assert backend.put_new(key, data)
            assert backend.get(key) == data
            assert asked(proxy) == ["POST", "GET"]


def test_google_is_sent_no_put_twice_by_its_client(gcs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself it repeats one whose reply was lost, and would tell only of the refusal that followed."""
    insert, answers = gcs.objects.insert, ["the reply is lost", "the token is no longer good"]

    def troubled(bucket: str, name: str, data: bytes, **condition: Any) -> Any:
        if answers.pop(0) == "the reply is lost":
            insert(bucket, name, data, **condition)
            return failed(503, "backendError", "try again")
        return failed(403, "forbidden", "no more")

    monkeypatch.setattr(gcs.objects, "insert", troubled)
    backend = bare(gcs.place())

    with pytest.raises(StoreUnavailable):
        backend.put_new("k/a", b"x")

    assert len(answers) == 1
    assert backend.get("k/a") == b"x"


def test_on_azure_a_put_and_a_get_are_one_request_too(azurite: Any) -> None:
    """What is empty is asked for twice, since its first byte can't be had."""
    with Proxy(azurite.endpoint) as proxy:
        backend = bare(azurite.place(through=proxy.endpoint))

        assert backend.put_new("k/a", b"x" * 100_000)
        assert not backend.put_new("k/a", b"")
        assert len(backend.get("k/a")) == 100_000

        assert asked(proxy) == ["PUT", "PUT", "GET"]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", StoreDenied),
        (400, "ExpiredToken", StoreDenied),
        (403, "QuotaExceeded", StoreFull),
        (507, "InsufficientStorage", StoreFull),
        (501, "NotImplemented", UnsafeStore),
        (404, "NoSuchBucket", BadStoreUrl),
        (409, "ConditionalRequestConflict", StoreUnavailable),
        (503, "SlowDown", StoreUnavailable),
        (500, "InternalError", StoreUnavailable),
    ],
)
def test_what_s3_says_is_understood_and_not_asked_again(
    moto: Any, door: Proxy, status: int, code: str, kind: type[StoreError]
) -> None:
    """The client library makes six kinds of error of it and would ask five times; the answer is in the cause."""
    backend = bare(moto.place(through=door.endpoint))
    for call in (lambda: backend.put_new("k/a", b"x"), lambda: backend.get("k/a"), lambda: backend.list("k/")):
        door.arm(Says(status, code), lambda request: True)
        with pytest.raises(StoreError, match=code) as caught:
            call()
        assert type(caught.value) is kind
        assert len(asked(door)) == 1


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (401, "required", StoreDenied),
        (403, "forbidden", StoreDenied),
        (413, "uploadTooLarge", StoreFull),
        (501, "notImplemented", UnsafeStore),
        (409, "conflict", StoreUnavailable),
        (503, "backendError", StoreUnavailable),
    ],
)
def test_what_google_says_is_understood(
    gcs: Any, monkeypatch: pytest.MonkeyPatch, status: int, reason: str, kind: type[StoreError]
) -> None:
    """The client library makes errors of several kinds of it, one of them without a number."""
    monkeypatch.setattr(gcs.objects, "insert", lambda *_, **__: failed(status, reason, "it is so"))
    backend = bare(gcs.place())

    with pytest.raises(StoreError, match="it is so") as caught:
        backend.put_new("k/a", b"x")

    assert type(caught.value) is kind
    assert caught.value.path.endswith("k/a")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AuthorizationFailure", StoreDenied),
        (409, "ContainerDisabled", StoreDenied),
        (413, "RequestBodyTooLarge", StoreFull),
        (404, "ContainerNotFound", BadStoreUrl),
        (409, "ContainerBeingDeleted", StoreUnavailable),
        (503, "ServerBusy", StoreUnavailable),
        (None, "", StoreUnavailable),
    ],
)
def test_what_azure_says_is_understood(
    monkeypatch: pytest.MonkeyPatch, status: int | None, code: str, kind: type[StoreError]
) -> None:
    """By its own code, then by the status; without either nobody answered."""
    from azure.core.exceptions import HttpResponseError

    answer = HttpResponseError("it is so")
    answer.status_code = status
    answer.error_code = code  # type: ignore[attr-defined]
    backend = AzureBackend(parse_place("az://box/x"), {"account_name": "team7", "account_key": "c2VjcmV0"})

    async def refuse(*_: object, **__: object) -> None:
        raise answer

    monkeypatch.setattr(backend._container, "upload_blob", refuse)
    with pytest.raises(StoreError, match="it is so") as caught:
        backend.put_new("k/a", b"x")

    assert type(caught.value) is kind
    assert caught.value.path.endswith("k/a")


def test_a_conflict_in_other_words_is_one(moto: Any, door: Proxy) -> None:
    """AWS adds which condition failed, others don't; the library makes different errors of the two."""
    backend = bare(moto.place(through=door.endpoint))

    class Terse(Says):
        def meet(self, exchange: Any) -> Any:
            reply = super().meet(exchange)
            return reply._replace(body=reply.body.replace(b"<Condition>If-None-Match</Condition>", b""))

    for fault in (Says(412, "PreconditionFailed"), Terse(412, "PreconditionFailed")):
        door.arm(fault, lambda request: request.method == "PUT")
        assert not backend.put_new("k/a", b"x")


def test_a_key_that_could_not_be_deleted_is_an_error(moto: Any, door: Proxy) -> None:
    """A deletion in bulk says what failed in a reply that is no error; it is not passed over."""
    backend = bare(moto.place(through=door.endpoint))

    class Refuses(Says):
        def meet(self, exchange: Any) -> Any:
            failed = "<Error><Key>k/a</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
            body = f"<DeleteResult>{failed}</DeleteResult>".encode()
            return super().meet(exchange)._replace(status=200, body=body)

    door.arm(Refuses(200, ""), lambda request: request.method == "POST")

    with pytest.raises(StoreDenied, match="k/a"):
        backend.delete(["k/a", "k/b"])


def test_a_listing_that_is_cut_short_is_an_error(moto: Any, door: Proxy) -> None:
    """Half a listing would hide the newest commit."""
    backend = bare(moto.place(through=door.endpoint))

    class Short(Says):
        def meet(self, exchange: Any) -> Any:
            body = b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"
            return super().meet(exchange)._replace(status=200, body=body)

    door.arm(Short(200, ""), lambda request: True)

    with pytest.raises(StoreUnavailable, match="cut short"):
        backend.list("k/")


def test_a_bucket_that_is_not_there_is_named(moto: Any, azurite: Any) -> None:
    """Nothing is made for you, and a missing bucket is never taken for an empty one."""
    for backend in (
        S3Backend(parse_place("s3://no-such-bucket/x"), moto.place().storage_options),
        AzureBackend(parse_place("az://no-such-bucket/x"), azurite.place().storage_options),
    ):
        for call in (lambda b=backend: b.get("k"), lambda b=backend: b.list(""), lambda b=backend: b.put_new("k", b"")):
            with pytest.raises(BadStoreUrl, match="no such bucket"):
                call()


def test_a_server_that_does_not_listen_is_unavailable() -> None:
    """At once, and by name."""
    with socket.socket() as deaf:  # nobody else gets its port meanwhile
        deaf.bind(("127.0.0.1", 0))
        options = {"key": "k", "secret": "s", "endpoint_url": f"http://127.0.0.1:{deaf.getsockname()[1]}"}
        backend = S3Backend(parse_place("s3://bucket/x"), options)

        with pytest.raises(StoreUnavailable, match="s3://bucket/x/k"):
            backend.put_new("k", b"")


def test_without_credentials_access_is_denied(monkeypatch: Any, tmp_path: Any) -> None:
    """It says that none were found, instead of trying on."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    backend = S3Backend(parse_place("s3://bucket/x"), {"endpoint_url": "http://127.0.0.1:9"})

    with pytest.raises(StoreDenied, match="credentials"):
        backend.put_new("k", b"")


def test_a_client_that_would_drop_the_condition_is_refused(moto: Any) -> None:
    """s3fs leaves out what its client does not know: an old one would overwrite, without a word."""
    backend = S3Backend(*_parsed(moto.place()))
    backend._fs.s3.meta.service_model.operation_model("PutObject").input_shape.members.pop("IfNoneMatch")

    with pytest.raises(UnsafeStore, match="botocore"):
        backend._check_client()


def test_google_is_reached_by_the_plain_class(gcs: Any) -> None:
    """The one that gcsfs exports asks each bucket over gRPC first, which hangs where there is none."""
    import gcsfs.core

    backend = GcsBackend(*_parsed(gcs.place()))

    assert type(backend._fs) is gcsfs.core.GCSFileSystem


def _parsed(place: Place) -> tuple[Any, dict[str, Any]]:
    return parse_place(place.url), place.storage_options
