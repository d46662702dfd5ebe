"""WorkerProcess: one worker process, as the runtime that started it sees it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio import CapacityLimiter, to_thread
from msgspec import MsgspecError, Raw

from actorflow.errors import BadUpdate, NodeError, NotInWorker, WorkerDied
from actorflow.runtime.workers.context import carry_out, who_of
from actorflow.runtime.workers.raised import unpack_error
from actorflow.runtime.workers.returned import unpack
from actorflow.runtime.workers.wire import (
    LENGTH,
    Call,
    Load,
    Loaded,
    Logged,
    NotHere,
    Raised,
    Refused,
    Returned,
    Told,
    decode_reply,
    framed,
    length_of,
)

if TYPE_CHECKING:
    from actorflow.graph.node import Node
    from actorflow.graph.plan import Plan
    from actorflow.graph.remote import Remote
    from actorflow.graph.schema import Schema
    from actorflow.runtime.context import NodeContext
    from actorflow.runtime.workers.wire import Answer, Note, Request

LOAD_TIMEOUT = 60.0
"""Seconds that importing a node's module may take in a worker process."""

LOOK_EVERY = 1.0
"""Seconds after which a silent process is asked whether it lives: what it forked may hold its socket open."""

END_TIMEOUT = 10.0
"""Seconds that are waited for a killed process to be gone; only a broken device keeps one longer."""

_CHUNK = 256 * 1024  # bytes read at once
_START = (
    "import sys; sys.path[:] = sys.argv[4:]; sys.argv[1:], given = [], sys.argv[1:4]; "
    "from actorflow.runtime.workers.worker import serve; serve(int(given[0]), int(given[1]), given[2])"
)

_logger = logging.getLogger("actorflow.node")


class WorkerProcess:
    """One worker process. It has at most one call at a time; when a call is cut short, it is killed."""

    def __init__(self, backend: str) -> None:
        """Start it; blocking."""
        self._socket, theirs = socket.socketpair()
        reading, self._lifeline = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and our own module
                [
                    *(sys.executable, *_flags(), "-c", _START),
                    *(str(theirs.fileno()), str(reading), backend),
                    *(entry or str(Path.cwd()) for entry in sys.path),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), reading),
                process_group=0,  # a Ctrl-C is the runtime's to handle; and what it starts is killed with it
            )
        except BaseException:
            self._socket.close()
            os.close(self._lifeline)
            raise
        finally:
            theirs.close()
            os.close(reading)
        self._socket.settimeout(0.0)
        self._received = bytearray()
        self._loaded: set[Remote] = set()
        self._calls = 0
        self._busy = False  # in a call, or in one that was cut short
        self._ended = False

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def is_fit(self) -> bool:
        """Whether it can take a call."""
        return not self._busy and self._process.poll() is None

    def has(self, remote: Remote) -> bool:
        """Whether it has imported this node."""
        return remote in self._loaded

    async def load(self, node: Node, remote: Remote) -> None:
        """Have it import what the node needs.

        Raises:
            WorkerDied: it ended, or took longer than a minute.
            What importing raised.
        """
        if remote in self._loaded:
            return
        with anyio.move_on_after(LOAD_TIMEOUT):
            answer = await self._ask(node, Load(self._next(), remote), None)
            if isinstance(answer, Raised):
                raise unpack_error(answer, ())
            self._loaded.add(remote)
            return
        raise WorkerDied(node.name, None, f"did not import {remote.fn.module} within {LOAD_TIMEOUT:g} s")

    async def call(self, plan: Plan, node: Node, schema: Schema, given: tuple[Any, ...], ctx: NodeContext) -> Any:
        """Call the function of a node that it has imported; what the function returned, or raises.

        Args:
            plan: of the graph.
            node: whose function.
            schema: of the graph's state.
            given: what the function takes: the state, an item or what was sent; a handler the state and the message.
            ctx: the context of the attempt, whether the function takes one or not.

        Raises:
            WorkerDied: it ended.
            BadUpdate: what the function returned is no update, or can't be encoded.
            NotInWorker: the function asked its context for what only this process has.
        """
        remote = node.isolated
        assert remote is not None  # noqa: S101 - who calls has asked
        who = who_of(ctx) if node.takes_context else None
        encoded = tuple(Raw(schema.codecs.encode(value)) for value in given)
        request = Call(self._next(), remote, encoded, who)
        match await self._ask(node, request, ctx):
            case Returned() as returned:
                return unpack(returned, plan, node.name, schema)
            case Refused(problem=problem, field=field):
                raise BadUpdate(node.name, problem, field=field)
            case NotHere(name=name):
                raise NotInWorker(node.name, name)
            case Raised() as raised:
                raise unpack_error(raised, _named(node))
            case Loaded():
                raise WorkerDied(node.name, None, "answered what was not asked")

    def dismiss(self) -> None:
        """Tell it that there is nothing more to do: it ends by itself."""
        self._busy = True
        self._socket.close()

    def end(self, *, grace: float = 0.0) -> None:
        """Kill it and what it started, and wait until it is gone; blocking. The second time does nothing.

        Args:
            grace: seconds that it may take to end by itself.
        """
        if self._ended:
            return
        self._ended = True
        self.dismiss()
        if grace > 0.0:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
        with suppress(ProcessLookupError, PermissionError):  # nobody is left; macOS says the latter of a dead one
            os.killpg(self._process.pid, signal.SIGKILL)
        try:
            self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            _logger.warning("worker process %d was killed and is not gone after %g s", self.pid, END_TIMEOUT)
        os.close(self._lifeline)

    # -- messages -----------------------------------------------------------------

    def _next(self) -> int:
        self._calls += 1
        return self._calls

    async def _ask(self, node: Node, request: Request, ctx: NodeContext | None) -> Answer:
        """Send a request and wait for its answer; meanwhile do for the function what its context asks for."""
        try:
            data = framed(request)
        except ValueError as error:
            problem = f"node {node.name!r}: what it takes can't go to a worker process: {error}"
            raise NodeError(node.name, problem) from error
        self._busy = True  # until it has answered: whatever happens in between, it is not asked again
        try:
            await self._send(data)
            while True:
                reply = await self._receive()
                if reply.call != request.call:
                    continue  # of a thread that an earlier call has left behind
                if isinstance(reply, Told | Logged):
                    carry_out(reply, ctx)
                else:
                    self._busy = False
                    return reply
        except _Gone:
            raise await self._death(node) from None
        except (MsgspecError, ValueError) as error:
            raise await self._death(node, f"sent what is no message: {error}") from error

    async def _send(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)
            except OSError:
                raise _Gone from None

    async def _receive(self) -> Answer | Note:
        received = self._received
        while len(received) < LENGTH or len(received) < LENGTH + length_of(received):
            try:
                chunk = self._socket.recv(_CHUNK)
            except BlockingIOError:
                with anyio.move_on_after(LOOK_EVERY) as looking:
                    await anyio.wait_readable(self._socket)
                if looking.cancelled_caught and self._process.poll() is not None:
                    raise _Gone from None
                continue
            except OSError:
                raise _Gone from None
            if not chunk:
                raise _Gone
            received += chunk
        end = LENGTH + length_of(received)
        reply: Answer | Note = decode_reply(received[LENGTH:end])
        del received[:end]
        return reply

    async def _death(self, node: Node, reason: str | None = None) -> WorkerDied:
        """What became of it. It is gone afterwards."""
        grace = 0.0 if reason else END_TIMEOUT  # its end of the socket is closed: it is about to end by itself
        with anyio.CancelScope(shield=True):  # bounded by END_TIMEOUT, twice
            await to_thread.run_sync(lambda: self.end(grace=grace), limiter=CapacityLimiter(1))
        return WorkerDied(node.name, self._process.returncode, reason)


class _Gone(Exception):
    """The process is not there any more."""


def _named(node: Node) -> tuple[type[Exception], ...]:
    """The exception classes that the declaration of this node names."""
    named = () if node.on_error is None else node.on_error.catch
    for retry in node.retry:
        match retry.on:
            case tuple() as kinds:
                named += kinds
            case type() as kind:
                named += (kind,)
            case _:  # a function, which is asked
                pass
    return named


def _flags() -> list[str]:
    """The options this interpreter was started with, such as -O and -W, as multiprocessing hands them on, too."""
    return subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001
