"""A store that ignores the condition of a put is found out before anything is kept in it."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import pytest

from actorflow.errors import UnsafeStore
from actorflow.store.buckets.resolve import bucket_backend
from actorflow.store.store import open_store
from tests.buckets.conftest import bare
from tests.servers.proxy import Exchange, Lies, Proxy, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.moto import Moto


@pytest.fixture
def liar(moto: Moto) -> Iterator[Proxy]:
    """moto, which checks no signatures, behind a proxy that drops ``If-None-Match``."""
    with Proxy(moto.endpoint) as proxy:
        proxy.arm(Lies(), lambda request: request.method == "PUT", times=10_000)
        yield proxy


def test_such_a_store_gives_one_key_to_two(moto: Moto, liar: Proxy) -> None:
    """Planted: so it would be without a probe. Both are told that it is theirs, and the second replaces the first."""
    backend = bare(moto.place(through=liar.endpoint))

    assert backend.put_new("k", b"one")
    assert backend.put_new("k", b"two")
    assert backend.get("k") == b"two"


def test_it_is_refused(moto: Moto, liar: Proxy) -> None:
    """By the first put, each time anew, with what it did; nothing stays behind."""
    place = moto.place(through=liar.endpoint)
    backend = bucket_backend(*place)

    for _ in range(2):
        with pytest.raises(UnsafeStore, match="two processes could own one run") as caught:
            backend.put_new("actorflow.json", b"{}")

    assert place.url in str(caught.value)
    assert backend.list("") == []


def test_no_store_is_opened_in_it(moto: Moto, liar: Proxy) -> None:
    """Not even its marker is written."""
    place = moto.place(through=liar.endpoint)

    with pytest.raises(UnsafeStore):
        open_store(place.url, storage_options=place.storage_options)

    assert bare(place).list("") == []


def test_who_lies_only_in_a_race_is_found_as_well(moto: Moto) -> None:
    """A gateway that looks first and puts then: one after the other all seems well."""
    with Proxy(moto.endpoint) as proxy:
        seen: set[str] = set()
        asked = Counter[str]()
        again = defaultdict[str, threading.Event](threading.Event)

        def is_new(request: Request) -> bool:
            # Later puts of a key, once the first has been answered, are passed on with their condition.
            if request.method != "PUT" or request.path in seen:
                return False
            asked[request.path] += 1
            if asked[request.path] > 1:
                again[request.path].set()
            return True

        class Forgetful(Lies):
            def meet(self, exchange: Exchange) -> Reply:
                if len(exchange.body()) > 1000:  # in a race, who comes first is answered when another one has come
                    again[exchange.request.path].wait(30)
                reply = super().meet(exchange)
                seen.add(exchange.request.path)
                return reply

        proxy.arm(Forgetful(), is_new, times=10_000)
        backend = bucket_backend(*moto.place(through=proxy.endpoint))

        with pytest.raises(UnsafeStore, match=r"raced|another"):
            backend.put_new("k", b"")
