"""Store: the options that say where runs are, and how every command opens a store."""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click
import msgspec

from actorflow import Runtime
from actorflow.cli.command import Refusal
from actorflow.cli.exits import Exit
from actorflow.cli.given import to_text
from actorflow.cli.sealing import sealing
from actorflow.cli.text import quoted, visible

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
    from signal import Signals

    from actorflow import Graph

F = TypeVar("F", bound="Callable[..., Any]")

DEFAULT = "./.actorflow"

_decode = msgspec.json.Decoder(dict[str, Any]).decode

json_option = click.option("--json", "as_json", is_flag=True, help="Lines of JSON instead of text.")


@dataclass(frozen=True)
class Where:
    """A store as the command line names it."""

    url: str
    options: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return visible(self.url)

    @property
    def option(self) -> str:
        """``--store URL`` as it is typed, after a space; nothing for the store that is looked for anyway."""
        return "" if self.url == DEFAULT else f" --store {quoted(self.url)}"

    @asynccontextmanager
    async def look(self) -> AsyncGenerator[Runtime]:
        """A runtime that only reads; the store must exist."""
        self._refuse_no_folder()
        async with self._runtime(readonly=True) as rt:
            yield rt

    @asynccontextmanager
    async def open(
        self, *, drain: Literal["finish", "park"] = "finish", drain_on: Iterable[Signals] = ()
    ) -> AsyncGenerator[Runtime]:
        """A runtime that reads and writes; the store must exist: a typo never makes an empty one."""
        self._refuse_no_folder()
        if self._folder() is None:
            async with self._runtime(readonly=True):
                pass  # a bucket is asked by looking
        async with self._runtime(drain=drain, drain_on=drain_on) as rt:
            yield rt

    @asynccontextmanager
    async def make(self, *, drain_on: Iterable[Signals] = ()) -> AsyncGenerator[Runtime]:
        """A runtime that reads and writes; the store is made if it is not there."""
        async with self._runtime(drain_on=drain_on) as rt:
            yield rt

    @asynccontextmanager
    async def develop(self, graph: Graph[Any], hook: object, *, context: Any) -> AsyncGenerator[Runtime]:
        """A runtime that goes on with all runs of a graph, tells the hook of them, and finishes what runs when left."""
        runtime = Runtime(
            self.url,
            storage_options=self.options,
            graphs=[graph],
            drain="park",
            debug=True,
            hooks=[hook],
            sealing=sealing(),
        )
        runtime.register(graph, context=context)
        async with runtime as rt:
            yield rt

    def _runtime(
        self,
        *,
        readonly: bool = False,
        drain: Literal["finish", "park"] = "finish",
        drain_on: Iterable[Signals] = (),
    ) -> Runtime:
        # a command does what it was told, and takes up no other run
        return Runtime(
            self.url,
            storage_options=self.options,
            recover="never",
            readonly=readonly,
            drain=drain,
            sealing=sealing(),
            drain_on=drain_on,
        )

    def _folder(self) -> Path | None:
        scheme, separator, rest = self.url.partition("://")
        if not separator:
            return Path(self.url).expanduser()
        return Path(rest) if scheme == "file" else None

    def _refuse_no_folder(self) -> None:
        folder = self._folder()
        if folder is None or (folder / "actorflow.json").exists() or (folder / "runs").exists():
            return
        raise Refusal(
            f"there is no store in {visible(str(folder))!r}; --store or ACTORFLOW_STORE names another one",
            Exit.NOT_FOUND,
            "actorflow run module:graph, which makes one",
        )


def options_option(
    flag: str = "--storage-options", *, envvar: str | None = "ACTORFLOW_STORAGE_OPTIONS"
) -> Callable[[F], F]:
    """An option that takes what fsspec's file system for a bucket takes."""
    return click.option(
        flag,
        metavar="JSON|@FILE",
        callback=_to_options,
        envvar=envvar,
        show_envvar=envvar is not None,
        help="For a bucket: what its fsspec file system takes. Secrets are safer in the environment, or in a file.",
    )


def store_option(function: F) -> F:
    """The options that say where the runs are; the command gets a `Where` as ``store``."""

    @click.option(
        "--store",
        envvar="ACTORFLOW_STORE",
        default=DEFAULT,
        show_default=True,
        show_envvar=True,
        metavar="URL",
        help="The folder or URL where the runs are.",
    )
    @options_option()
    @functools.wraps(function)
    def call(*args: Any, store: str, storage_options: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        return function(*args, store=Where(store, storage_options), **kwargs)

    return call  # type: ignore[return-value] # pyright: ignore[reportReturnType] # it takes what click parses


def _to_options(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, Any] | None:
    text = to_text(ctx, param, value)
    if text is None:
        return None
    try:
        return _decode(text)
    except msgspec.DecodeError as error:  # which says where, and shows nothing of it
        raise click.BadParameter(visible(str(error)), ctx, param) from error
