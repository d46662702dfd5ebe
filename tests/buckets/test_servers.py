"""The contract of backends on every server that can be had here, and that each of them can be trusted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from actorflow.store.buckets.resolve import bucket_backend
from actorflow.testing.backend_contract import BackendContract
from tests.buckets.conftest import bare
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from actorflow.store.backend import Backend


class TestOnServers(BackendContract):
    """The contract."""

    @pytest.fixture
    def backend(self, server: Any) -> Backend:
        """In a folder of its own."""
        return bare(server.place())


def test_each_server_proves_itself_once(server: Any) -> None:
    """The first put tries the server; the verdict stays in the store, and the next process goes by it."""
    with Proxy(server.endpoint) as proxy:
        place = server.place(through=proxy.endpoint)
        assert bucket_backend(*place).put_new("k/a", b"x")
        tried = len(proxy.seen)

        backend = bucket_backend(*place)
        assert not backend.put_new("k/a", b"y")

    assert tried > 300
    assert len(proxy.seen) - tried == 2  # the verdict, and the put
    assert [key for key in backend.list("") if key.endswith(".json")] == backend.list("probe/")


@pytest.mark.parametrize("name", ["ceph", "gcs"])
def test_a_listing_of_many_pages_is_whole(name: str, request: pytest.FixtureRequest) -> None:
    """They list a thousand at a time; keys come in order, none twice, and deleted ones are gone at once."""
    backend = bare(request.getfixturevalue(name).place())
    keys = [f"runs/r/log/{number:020d}.ckpt" for number in range(1100)]
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda key: backend.put_new(key, b""), keys))

    assert backend.list("runs/") == keys
    backend.delete(keys[1:])
    assert backend.list("runs/") == keys[:1]
