"""Text: how values from a store come to a terminal: nothing in them can move its cursor or run in its shell."""

from __future__ import annotations

import json
import shlex
from typing import Any

import msgspec

Json = dict[str, "Json"] | list["Json"] | str | float | bool | None

LONG_LIST = 10
LONG_TEXT = 400


def visible(text: str) -> str:
    """The text with everything that can't be seen (control characters, marks of direction) as escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def quoted(word: str) -> str:
    """A word as a shell takes it, also if it is a run id made to annoy; an id like ``-x`` comes after ``--``."""
    if word.isprintable():
        safe = shlex.quote(word)
    else:
        escaped = word.replace("\\", "\\\\").replace("'", "\\'")
        safe = "$'" + "".join(char if char.isprintable() else _ansi_c(char) for char in escaped) + "'"
    return f"-- {safe}" if word.startswith("-") else safe


def _ansi_c(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


def json_line(value: Any) -> str:
    """A value as one line of JSON in ASCII: bytes as base64, NaN as null."""
    return json.dumps(_jsonable(value))


def json_whole(value: Any) -> str:
    """A value as indented JSON in ASCII: nothing is left out."""
    return json.dumps(_jsonable(value), indent=2)


def json_brief(value: Any) -> str:
    """A value as indented JSON for people, with long lists and texts cut short."""
    text = json.dumps(_cut(_jsonable(value)), indent=2, ensure_ascii=False)
    return "\n".join(visible(line) for line in text.split("\n"))


def _jsonable(value: Any) -> Json:
    plain: Json = json.loads(msgspec.json.encode(msgspec.to_builtins(value, str_keys=True)))
    return plain


def _cut(value: Json) -> Json:
    match value:
        case dict():
            return {key: _cut(inner) for key, inner in value.items()}
        case list() if len(value) > LONG_LIST:
            return [*(_cut(inner) for inner in value[:LONG_LIST]), f"... {len(value) - LONG_LIST:,} more in --json"]
        case list():
            return [_cut(inner) for inner in value]
        case str() if len(value) > LONG_TEXT:
            return f"{value[:LONG_TEXT]}... {len(value) - LONG_TEXT:,} characters more in --json"
        case _:
            return value
