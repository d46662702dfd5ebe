"""actorflow: graphs that survive."""

from __future__ import annotations

__all__: list[str] = []
