"""``python -m actorflow.cli`` is the same as ``actorflow``."""

from __future__ import annotations

from actorflow.cli import main

main()
