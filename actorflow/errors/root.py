"""The root of all errors, and what belongs to no branch."""

from __future__ import annotations


class ActorflowError(Exception):
    """The root of all errors that actorflow raises on purpose."""


class RuntimeClosed(ActorflowError, RuntimeError):
    """The runtime was not entered, or has been left."""

    def __init__(self) -> None:
        super().__init__("this Runtime is not open; use it inside `async with Runtime(...) as rt:`")


class RemoteError(Exception):
    """A user's exception as it was recorded: type name, message and traceback text; and the node, if one handles it.

    Nothing is unpickled to rebuild the original (no code from data), so this
    stands in its place as the ``__cause__`` of `RunFailed`.
    """

    def __init__(self, type_name: str, message: str, traceback: str = "", *, node: str | None = None) -> None:
        # not super(): a worker's error is also an instance of a class that may be made of anything
        Exception.__init__(self, f"{type_name}: {message}" if message else type_name)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback
        self.node = node
        if traceback:
            self.add_note(traceback.rstrip())

    def __str__(self) -> str:
        return str(self.args[0])
