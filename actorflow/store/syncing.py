"""Syncing folders: one sync of a folder makes every name survive that was in it before the sync began."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 4096  # folders remembered; whoever is forgotten is synced once more


class FolderSyncs:
    """When each folder was last synced, so that many who made names in it need one sync. Thread-safe."""

    def __init__(self) -> None:
        self._moments = itertools.count(1)
        self._lock = threading.Lock()
        self._synced: dict[str, int] = {}  # the moment at which the last sync that succeeded began
        self._failed = 0  # the moment at which the last one had failed, of whichever folder

    def moment(self) -> int:
        """Now; each is later than those before."""
        return next(self._moments)

    def survives(self, folder: str, made: int) -> bool:
        """Whether a name that was there at this moment has been synced by somebody.

        The system may tell only one of those who have a folder open that its sync has failed. So what was made before
        a failure is not taken to survive because somebody else's sync has succeeded since.
        """
        with self._lock:
            return self._failed < made < self._synced.get(folder, 0)

    def sync(self, folder: str, made: int, sync: Callable[[], None]) -> None:
        """Make a name survive that was in the folder at this moment: by a sync, if nobody's came after it."""
        if self.survives(folder, made):
            return
        began = self.moment()
        try:
            sync()
        except BaseException:
            with self._lock:
                self._failed = self.moment()
            raise
        with self._lock:
            if len(self._synced) >= _MOST:
                self._synced.clear()
            self._synced[folder] = max(began, self._synced.get(folder, 0))
