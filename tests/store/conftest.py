"""What the tests of the store share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actorflow.store.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.store.store import Store


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A local store of this process."""
    store = open_store(store_url)
    yield store
    store.close()
