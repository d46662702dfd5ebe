"""Compression: bodies to zstd and back, within limits that are checked before memory is spent."""

from __future__ import annotations

import sys
from typing import Any

from actorflow.errors import CorruptCheckpoint, MissingExtra

MAX_RATIO = 200  # how many times its size a body may grow when it is read
_MIN = 128  # bytes; a shorter body hardly gets smaller
_LEVEL = 3
_WINDOW_LOG = 26  # 64 MiB, as large as a body may be: a longer window only takes memory


def need_zstd(path: str) -> None:
    """Refuse now what could not be done later.

    Raises:
        MissingExtra: there is no zstd here.
    """
    _zstd(path)


def compress(body: bytes) -> bytes | None:
    """The body, smaller; None where that gains less than a sixteenth, or more than a reader would believe."""
    if len(body) < _MIN:
        return None
    smaller: bytes = _zstd("a commit").compress(body, _LEVEL)
    if len(smaller) > len(body) - len(body) // 16 or len(body) > MAX_RATIO * len(smaller):
        return None
    return smaller


def decompress(data: bytes, *, raw: int, path: str) -> bytes:
    """The body again, which has ``raw`` bytes or is damaged; not a byte more is made of it.

    The length in the data's own frame is only compared: what bounds the
    memory is the cap on what comes out.

    Raises:
        CorruptCheckpoint: it is no zstd, not of this length, or of a ratio that nobody writes.
        MissingExtra: there is no zstd here.
    """
    if raw > MAX_RATIO * len(data):
        raise CorruptCheckpoint(path, f"{len(data)} bytes say that they are {raw}, more than {MAX_RATIO} times as many")
    zstd = _zstd(path)
    try:
        if zstd.get_frame_info(data).decompressed_size != raw:
            raise CorruptCheckpoint(path, "a compressed body is not as long as its header says")
        options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        reader = zstd.ZstdDecompressor(options=options)
        body: bytes = reader.decompress(data, raw + 1)
    except zstd.ZstdError as error:
        raise CorruptCheckpoint(path, f"a body does not decompress: {error}") from error
    if not reader.eof or reader.unused_data or len(body) != raw:
        raise CorruptCheckpoint(path, "a compressed body is not as long as its header says")
    return body


def _zstd(path: str) -> Any:  # a module, under one of two names
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        raise MissingExtra(path, "zstd compression", "zstd") from None
    return zstd
