"""Cache: the results of a node, kept in the store for the next run that would compute the same."""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, cast

from msgspec import Struct, msgpack

from actorflow.graph.signature import is_async, is_generator
from actorflow.graph.timeouts import is_time

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))
_MAX_DEPTH = 50  # functions inside functions


class Cache(Struct, frozen=True, kw_only=True):
    """Keeps what a node returned, so that no run of this store computes it again.

    A result is found by the names of graph and node, the fields of the state,
    the code of the node's function, and the key: where any of these differs,
    the node runs. What the function *calls* is not looked into; if that
    changes, or the result depends on more than the key, say so by a ``version``.

    A hit is recorded as a finish like any other, marked as cached. Errors, and
    results of a node that asked somebody, are never kept. The cache is no part
    of any run: the folder ``cache`` of a store may be deleted at any time.

    Args:
        key: ``(state) -> key``, or of an item or input: all that the result depends on, as anything
            that can be kept in a state. By default the whole state.
        ttl: seconds after which a result is computed again; None: it lasts.
        version: stands for the function's code, in which case changing the code changes nothing.
            Needed where the code can't be read or does not say it all: it was made by
            a function and uses what that was given.

    Example:
        >>> import anyio
        >>> from actorflow import Cache, Graph, Runtime, State
        >>> class Page(State):
        ...     url: str
        ...     text: str = ""
        >>> pages = Graph("pages", Page)
        >>> @pages.node(cache=Cache(key=lambda page: page.url, ttl=3600))
        ... async def fetch(page: Page):
        ...     print("fetching", page.url)
        ...     return {"text": f"the text of {page.url}"}
        >>> async def main():
        ...     async with Runtime("memory://") as rt:
        ...         for _ in range(2):
        ...             print((await rt.run(pages, Page(url="a"))).text)
        >>> anyio.run(main)
        fetching a
        the text of a
        the text of a
    """

    key: Callable[[Any], Any] | None = None
    ttl: float | None = None
    version: str | int | None = None

    def __post_init__(self) -> None:
        if self.ttl is not None and not (is_time(self.ttl) and math.isfinite(self.ttl)):
            raise ValueError(f"Cache(ttl={self.ttl!r}): give seconds, more than 0, or None for no end")


class Cached(Struct, frozen=True):
    """A node's cache as the runtime uses it: ``code`` names what computes the result."""

    key: Callable[[Any], Any] | None
    ttl: float | None
    code: bytes


def cached_of(cache: Cache, fn: Callable[..., Any]) -> Cached:
    """A declared cache, as the runtime uses it. Only one that `problems_of_cache` finds nothing wrong with."""
    parts: list[bytes] = []
    if cache.version is not None:
        parts.append(msgpack.encode(cache.version))
    else:
        parts.append(digest_of_code(fn))
    if cache.key is not None:
        try:
            parts.append(digest_of_code(cache.key))
        except Unreadable:
            if cache.version is None:  # then it stands for the key as well
                raise
    return Cached(cache.key, cache.ttl, hashlib.blake2b(msgpack.encode(parts), digest_size=32).digest())


def problems_of_cache(cache: object, fn: Callable[..., Any]) -> Iterator[str]:
    """Why this can't be the cache of a node with this function."""
    if not isinstance(cache, Cache):
        yield f"cache={cache!r}: give a Cache"
        return
    key: Any = cache.key
    if key is not None and (not callable(key) or is_async(key) or is_generator(key)):
        yield "Cache(key=) must be a plain sync function of the state, pure and quick"
    elif cache.version is None:
        try:
            cached_of(cache, fn)
        except Unreadable as problem:
            yield f"cache: {problem}; say Cache(version=), and change it whenever the result would"


class Unreadable(Exception):
    """Code does not say all that it does."""


def digest_of_code(fn: Callable[..., Any]) -> bytes:
    """A hash of what a function does, as far as its own code says it; the same in each process of one Python version.

    The functions that it calls are not looked into: they may change unnoticed.

    Raises:
        Unreadable: it has no code in Python, or holds values from around it that may be anything.
    """
    hasher = hashlib.blake2b(digest_size=32)
    for part in _parts(fn, _MAX_DEPTH):
        hasher.update(len(part).to_bytes(8) + part)
    return hasher.digest()


def _parts(fn: Any, depth: int) -> Iterator[bytes]:
    """All that says what a function does, each beginning with what kind of thing it is."""
    if depth == 0:
        raise Unreadable("its functions lie too deep inside each other")
    if isinstance(fn, functools.partial):
        yield b"partial"
        yield from _parts(fn.func, depth - 1)
        yield from _value("an argument", (fn.args, sorted(fn.keywords.items())), depth)
    elif isinstance(fn, FunctionType):
        yield from _code(fn.__code__)
        yield from _value("a default", (fn.__defaults__, sorted((fn.__kwdefaults__ or {}).items())), depth)
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            try:
                held = cell.cell_contents
            except ValueError:  # not assigned yet, in the function around it
                raise Unreadable(f"it uses {name!r}, which is assigned later around it") from None
            if held is not fn:  # one that calls itself
                yield from _value(repr(name), held, depth)
    elif inspect.ismethod(fn) and isinstance(fn.__self__, type):
        yield fn.__self__.__qualname__.encode()
        yield from _parts(fn.__func__, depth - 1)
    else:
        raise Unreadable(f"{fn!r} is no plain function, so its code can't be read")


def _code(code: CodeType) -> Iterator[bytes]:
    yield b"code"
    yield code.co_code + code.co_exceptiontable
    yield " ".join((*code.co_names, *code.co_varnames, *code.co_freevars)).encode()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant)
        else:
            yield _constant(constant)


def _constant(constant: object) -> bytes:
    if isinstance(constant, frozenset):  # its order is another one in each process
        return b"set" + b"".join(sorted(map(_constant, cast("frozenset[object]", constant))))
    if isinstance(constant, tuple):
        return b"(" + b",".join(map(_constant, cast("tuple[object, ...]", constant))) + b")"
    return f"{type(constant).__name__} {constant!r}".encode("utf-8", "surrogatepass")


def _value(what: str, value: object, depth: int) -> Iterator[bytes]:
    """What a function holds beside its code, if that can be told."""
    if isinstance(value, _PLAIN):
        yield _constant(value)
    elif isinstance(value, tuple | list):
        yield type(value).__name__.encode()  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        for one in cast("list[object]", value):
            yield from _value(what, one, depth)
        yield b"end"
    elif isinstance(value, type | BuiltinFunctionType | ModuleType):
        name = getattr(value, "__qualname__", value.__name__)
        yield f"{getattr(value, '__module__', '')}:{name}".encode()
    elif callable(value):
        yield from _parts(value, depth - 1)
    else:
        raise Unreadable(f"it holds {what}, a {type(value).__name__} that may be anything")
