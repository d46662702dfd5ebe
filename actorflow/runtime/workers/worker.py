"""Worker: the process that calls nodes for a runtime, one at a time, until the runtime is gone.

It is a fresh interpreter, never a fork. What it runs it imports; what it is
given and gives back are values. The main thread is the node's own, as scripts
have it. It ends when its socket is closed, and is ended, whatever it does, when
the runtime's process is gone.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from contextvars import ContextVar
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from actorflow.errors import NotInWorker
from actorflow.graph.codec import NO_CODECS, Codecs
from actorflow.graph.declaration import DeclaredFan
from actorflow.graph.fan import item_type
from actorflow.graph.node import input_type
from actorflow.graph.schema import schema_of
from actorflow.runtime.workers.context import WorkerContext
from actorflow.runtime.workers.raised import pack_error
from actorflow.runtime.workers.returned import pack
from actorflow.runtime.workers.wire import (
    LENGTH,
    Call,
    Load,
    Loaded,
    NotHere,
    Refused,
    decode_request,
    framed,
    length_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.graph.remote import Remote, Takes
    from actorflow.graph.schema import Schema
    from actorflow.runtime.workers.wire import Answer, Note, Request

IMPORTING: ContextVar[bool] = ContextVar("importing", default=False)
"""Whether this is a worker process that is about to import a module: what the module starts must start no workers."""


def serve(descriptor: int, lifeline: int, backend: str) -> None:
    """Answer requests until there are no more.

    Args:
        descriptor: the socket.
        lifeline: the reading end of a pipe that nobody writes to; it is closed when the runtime's process is gone.
        backend: the event loop of async functions, ``asyncio`` or ``trio``.
    """
    for inherited in (descriptor, lifeline):
        os.set_inheritable(inherited, False)  # noqa: FBT003 - the system call's own
    end_with(lifeline)
    channel = Channel(socket.socket(fileno=descriptor))
    loaded: dict[Remote, _Node] = {}
    while (request := channel.receive()) is not None:
        try:
            if isinstance(request, Load):
                loaded[request.remote] = _Node(request.remote, backend)
                answer: Answer = Loaded(request.call)
            else:
                answer = loaded[request.remote].call(request, channel)
        except NotInWorker as error:
            answer = NotHere(request.call, error.attribute)
        except (KeyboardInterrupt, SystemExit):
            raise  # the process ends, which is what the runtime then reports
        except BaseException as error:  # noqa: BLE001 - also a cancellation that a node raises itself is only an error
            answer = pack_error(error, call=request.call)
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # a closed or broken stream is the node's own affair
                stream.flush()
        channel.answer(answer)


class Channel:
    """The socket to the runtime's process."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._sending = threading.Lock()  # a node may log from threads of its own

    def receive(self) -> Request | None:
        """The next request; None: there will be none."""
        prefix = self._read(LENGTH)
        data = self._read(length_of(prefix)) if prefix else b""
        return decode_request(data) if data else None

    def send(self, message: Answer | Note) -> None:
        """Send a message whole. Raises what `framed` raises, and then nothing was sent."""
        data = framed(message)
        with self._sending:
            self._socket.sendall(data)

    def answer(self, answer: Answer) -> None:
        """Send an answer, or else why it can't be sent."""
        try:
            self.send(answer)
        except ValueError as error:
            self.send(Refused(answer.call, f"what it returned is too large: {error}", None))

    def _read(self, size: int) -> bytearray:
        """So many bytes, or none at the end."""
        data = bytearray()
        while len(data) < size:
            chunk = self._socket.recv(min(size - len(data), 1 << 20))
            if not chunk:
                return bytearray()
            data += chunk
        return data


class _Node:
    """A node's function, imported, and the type and codecs of what it takes."""

    def __init__(self, remote: Remote, backend: str) -> None:
        token = IMPORTING.set(True)
        try:
            self._fn: Callable[..., Any] = remote.fn.load()
            schema: Schema | None = None if remote.codecs is None else remote.codecs.load().schema
            message = () if remote.message is None else (remote.message.load(),)
            self._takes = (_type_of(remote.takes, self._fn, schema), *message)
            self._codecs: Codecs = NO_CODECS if schema is None else schema.codecs
        finally:
            IMPORTING.reset(token)
        self._is_item = remote.is_item
        self._backend = backend

    def call(self, request: Call, channel: Channel) -> Answer:
        """Call the function. Raises what it raises."""
        given = zip(request.given, self._takes, strict=True)
        arguments: list[Any] = [self._codecs.decode(bytes(value), type_) for value, type_ in given]
        if request.who is not None:
            arguments.append(WorkerContext(request.who, channel, self._codecs, call=request.call))
        value = self._fn(*arguments)
        if isawaitable(value):
            import anyio  # sync functions are called without it

            value = anyio.run(_await, value, backend=self._backend)
        return pack(value, self._codecs, is_item=self._is_item, call=request.call)


def _type_of(takes: Takes, fn: Callable[..., Any], schema: Schema | None) -> Any:
    if takes.kind is None:
        return input_type(fn)
    kind = takes.kind.load()
    if takes.field is None:
        return kind
    return item_type(DeclaredFan(over=takes.field, into=None), schema or schema_of(kind), Any)


async def _await(value: Any) -> Any:
    return await value


def end_with(lifeline: int) -> None:
    """See to it that this process and what it started end when the other end of this pipe is closed."""
    if sys.platform == "linux":
        import fcntl  # not everywhere, and this module is imported everywhere

        # By the kernel's own hand: a function that never gives the interpreter away can't keep a thread from it.
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
        with suppress(BlockingIOError):
            os.read(lifeline, 1)
            os._exit(1)  # it was closed before the kernel was asked
    else:
        threading.Thread(target=end_after, args=(lifeline,), name="actorflow-lifeline", daemon=True).start()


def end_after(lifeline: int) -> None:
    """Wait until the other end of this pipe is closed, and end this process and what it started."""
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)
