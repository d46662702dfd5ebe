"""Text: whatever a value holds, it is harmless on a terminal and whole in a shell."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow.cli.text import json_brief, json_line, quoted, visible


@given(st.text())
def test_visible_text_is_printable(text: str) -> None:
    """No control character, no mark of direction and no surrogate comes through."""
    assert visible(text).isprintable()


@given(st.text(st.characters(categories=["L", "N", "P", "Zs"], max_codepoint=0x24F)))
def test_harmless_text_stays_as_it_is(text: str) -> None:
    """Letters of any language need no escape."""
    if text.isprintable():
        assert visible(text) == text


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    "word", ["plain", "it's", "a b;c", "$HOME", "\x1b[31m'\\x", "line\nbreak", "right\u202eleft", "*"]
)
def test_a_quoted_word_reaches_a_program_as_it_was(word: str) -> None:
    """The commands that errors name can be pasted into a shell."""
    echoed = subprocess.run(["bash", "-c", f"printf %s {quoted(word)}"], capture_output=True, check=True)

    assert quoted(word).isprintable()
    assert echoed.stdout.decode() == word


def test_a_word_like_an_option_comes_after_two_dashes() -> None:
    """A run called -rf is a run."""
    assert quoted("-rf") == "-- -rf"


def test_json_lines_are_ascii_and_hold_what_json_lacks() -> None:
    """Bytes as base64, NaN as null, keys as strings; nothing that a terminal would obey."""
    line = json_line({"b": b"\x00\xff", "nan": float("nan"), 1: "\u202e\x9b", "t": (1, 2)})

    assert line.isascii()
    assert json.loads(line) == {"b": "AP8=", "nan": None, "1": "\u202e\x9b", "t": [1, 2]}


@given(st.recursive(st.text() | st.integers(-9, 9), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_for_people_is_printable_line_by_line(value: object) -> None:
    """Values are as hostile as ids."""
    assert all(line.isprintable() for line in json_brief(value).split("\n"))
