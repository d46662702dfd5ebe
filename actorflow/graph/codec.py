"""Codecs: how values of types that msgspec does not know become plain values, and typed ones again.

A graph registers them, in code. Nothing in a file names a codec or a class
(guarantee 12): which one decodes a value follows from the type of its field.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeGuard, TypeVar

import msgspec
from msgspec import Struct, msgpack

T = TypeVar("T")

_decode = msgpack.Decoder().decode


class Codec(Struct, Generic[T], frozen=True):
    """How one type is stored: ``encode`` makes a plain value of it, ``decode`` makes it of that again.

    Plain are None, bool, int, float, str, bytes, and lists and dicts of these. Both functions are
    pure, and ``decode(encode(value)) == value``. Changing what ``encode`` returns is a change of schema: give
    the State a new version and a migration.

    A value of a subclass is encoded by the codec of its base, and comes back as what ``decode`` makes: as a
    rule the base, since nothing that is stored names a class. Where the subclass matters, let it have a codec and a
    field of its own.

    Example:
        >>> from actorflow import Codec, Graph, State
        >>> class Money:
        ...     def __init__(self, cents: int) -> None:
        ...         self.cents = cents
        >>> class Order(State):
        ...     total: Money
        >>> shop = Graph("shop", Order, types=[Codec(Money, lambda money: money.cents, Money)])
    """

    type: type[T]
    encode: Callable[[T], Any]
    decode: Callable[[Any], T]


class Codecs:
    """The codecs of one graph, as what encodes and decodes its values."""

    def __init__(self, codecs: tuple[Codec[Any], ...] = ()) -> None:
        self.by_type = {codec.type: codec for codec in codecs}
        self.registered = tuple(self.by_type.values())
        self._encoder = msgpack.Encoder(enc_hook=self._encode) if codecs else msgpack.Encoder()
        self._steady = msgpack.Encoder(enc_hook=self._encode if codecs else None, order="deterministic")

    def encode(self, value: Any) -> bytes:
        """The bytes of a value. Raises what msgspec raises, and ValueError for what a codec raised."""
        return self._encoder.encode(value)

    def steady(self, value: Any) -> bytes:
        """`encode`, with sets and dicts in an order that is the same in each process, where they can be ordered."""
        try:
            return self._steady.encode(value)
        except TypeError:  # keys or elements that can't be compared with each other
            return self.encode(value)

    def plain(self, value: Any) -> Any:
        """The decoded copy of the encoded value: what a reader of the file would see."""
        return _decode(self._encoder.encode(value))

    def typed(self, plain: Any, type_: Any) -> Any:
        """A plain value as that type, the caller's own. Raises msgspec.ValidationError if it does not fit."""
        return self.decode(self._encoder.encode(plain), type_)

    def decode(self, data: bytes, type_: Any) -> Any:
        """Encoded bytes as that type. Raises msgspec.ValidationError if they do not fit."""
        return msgpack.decode(data, type=type_, dec_hook=self._decode)

    def convert(self, builtin: Any, type_: Any) -> Any:
        """A value as JSON has it as that type. Raises msgspec.ValidationError if it does not fit."""
        return msgspec.convert(builtin, type_, dec_hook=self._decode)

    def ordered(self, value: Any) -> Any:
        """A typed value as builtins, with sets and dicts in an order that is the same in each process.

        Raises TypeError for keys or elements that can't be compared with each other.
        """
        return msgspec.to_builtins(value, enc_hook=self._encode, order="deterministic")

    def _encode(self, value: Any) -> Any:
        codec = next((self.by_type[base] for base in type(value).__mro__ if base in self.by_type), None)
        if codec is None:
            raise TypeError(f"a {type(value).__name__} can't be encoded, and the graph has no Codec for it")
        try:
            return codec.encode(value)
        except Exception as error:
            raise ValueError(f"the codec of {codec.type.__name__} could not encode it: {error!r}") from error

    def _decode(self, type_: type[Any], plain: Any) -> Any:
        codec = self.by_type.get(type_)
        if codec is None:
            raise TypeError(f"a {type_.__name__} can't be decoded, and the graph has no Codec for it")
        try:
            return codec.decode(plain)
        except Exception as error:
            raise msgspec.ValidationError(f"the codec of {type_.__name__} could not decode it: {error!r}") from error


NO_CODECS = Codecs()


def problems_of_codecs(codecs: tuple[Any, ...]) -> list[str]:
    """What is wrong with the codecs of a graph as declared."""
    problems: list[str] = []
    seen: set[type[Any]] = set()
    for codec in codecs:
        declared: Any = codec.type if _is_codec(codec) else None
        if not isinstance(declared, type):
            problems.append(f"types={codec!r}: give Codec(type, encode, decode)")
            continue
        if declared in seen:
            problems.append(f"types: two codecs for {declared.__name__}")
        seen.add(declared)
        if not isinstance(msgspec.inspect.type_info(declared), msgspec.inspect.CustomType):
            problems.append(f"types: msgspec stores {declared.__name__} by itself, and would never ask the codec")
    return problems


def _is_codec(given: object) -> TypeGuard[Codec[Any]]:
    return isinstance(given, Codec)
