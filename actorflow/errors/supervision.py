"""Errors about supervisors."""

from __future__ import annotations

from actorflow.errors.root import ActorflowError


class SupervisorError(ActorflowError):
    """About one supervisor, named by ``path``."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"supervisor {path!r}: {message}")
        self.path = path

    def __str__(self) -> str:
        return str(self.args[0])


class RestartIntensity(SupervisorError):
    """The children of a supervisor crashed more often than it may restart them; ``__cause__`` is the last crash.

    All of them were stopped. The one that crashed last is ``failed``, the
    others are as their last commit has them: `resume` goes on with each.
    """

    def __init__(self, path: str, run_id: str, max_restarts: int, period: float) -> None:
        super().__init__(
            path,
            f"run {run_id!r} crashed after {max_restarts} restarts of its children within {period:g} s; "
            "all were stopped, and resume() goes on with each",
        )
        self.run_id = run_id
        self.max_restarts = max_restarts
        self.period = period


class SupervisorExists(SupervisorError, ValueError):
    """A supervisor of this name is entered already, in this place of the tree."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "one of this name is entered already; take that one, or another name")


class SupervisorClosed(SupervisorError, RuntimeError):
    """The supervisor was left, or gave up: it takes no more children."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "it has been left; use it inside `async with rt.supervise(...)`")
