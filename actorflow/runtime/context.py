"""NodeContext: what the runtime hands to a node as its second parameter."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_logger = logging.getLogger("actorflow.node")


@dataclass(frozen=True)
class NodeContext:
    """The `Context` of one attempt."""

    run_id: str
    node: str
    attempt: int
    idempotency_key: str
    context: Any

    @cached_property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that knows the run, the node and the attempt."""
        return logging.LoggerAdapter(_logger, {"run": self.run_id, "node": self.node, "attempt": self.attempt})
