"""What every part of a `Runtime` stands on: that it is open, and what it knows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from weakref import WeakSet

    from actorflow.graph.graph import Graph
    from actorflow.runtime.claiming import Limits
    from actorflow.runtime.lives import Lives
    from actorflow.runtime.validation import Validate
    from actorflow.store.backend import Backend


class OpenRuntime(ABC):
    """The store and the lives of a runtime, while it is entered."""

    url: str
    max_crashes: int
    migration_timeout: float  # seconds
    _graphs: dict[str, Graph[Any]]
    _replaced: WeakSet[Graph[Any]]  # by reloads
    _limits: Limits
    _store: str | os.PathLike[str] | Backend
    _storage_options: Mapping[str, Any] | None
    _validate: Validate | None

    @abstractmethod
    def _open(self) -> Lives:
        """What lives here.

        Raises:
            RuntimeClosed: the runtime was not entered, or has been left.
        """

    @abstractmethod
    def _writable(self) -> Lives:
        """What lives here, for a caller that is going to write.

        Raises:
            RuntimeClosed: as above.
            StoreDenied: this runtime only looks.
        """
