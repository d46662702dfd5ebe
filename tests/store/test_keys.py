"""Keys: any legal run id has a name of its own, also where the file system folds case or normalises."""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow.errors import BadRunId
from actorflow.store import keys
from actorflow.store.keys import EARLIEST, Sleeper, asleep_key, due_prefixes, parse_asleep

LEGAL = (
    st.text(min_size=1, max_size=90)
    .map(lambda text: unicodedata.normalize("NFC", text))
    .filter(lambda text: "\0" not in text and not re.search("[\ud800-\udfff]", text) and 0 < len(text.encode()) <= 512)
)
HOSTILE = ["..", ".", "/x", "a*", "A", "a b", "a/b", "~x", "~h0", "-a", "nul", "com1.txt", "a.", "a\\b", "?", "é"]


@pytest.mark.parametrize("run_id", ["a", "0", "artemis", "run-1.2_3", "a.b.c", "x" * 100, "nulls", "common"])
def test_a_tame_id_is_its_own_name(run_id: str) -> None:
    """Short, lower-case ids are readable on disk."""
    assert keys.encode_id(run_id) == run_id


@pytest.mark.parametrize("run_id", HOSTILE)
def test_a_hostile_id_becomes_a_tame_name(run_id: str) -> None:
    """Whatever could mean something to a file system is encoded, and comes back."""
    name = keys.encode_id(run_id)

    assert re.fullmatch(r"~[0-9a-v]+", name)
    assert keys.decode_id(name) == run_id


@pytest.mark.parametrize(
    ("run_id", "problem"),
    [
        ("", "empty"),
        ("a\0b", "NUL"),
        ("\ud800", "surrogate"),
        ("e\u0301", "NFC"),
        ("x" * 513, "513 bytes"),
        ("é" * 257, "514 bytes"),
    ],
)
def test_an_impossible_id_is_refused(run_id: str, problem: str) -> None:
    """The error says what is wrong with it."""
    with pytest.raises(BadRunId, match=problem):
        keys.encode_id(run_id)


@given(LEGAL, LEGAL)
def test_two_ids_never_share_a_name(one: str, other: str) -> None:
    """Also not on file systems that fold case or normalise Unicode: names are lower-case ASCII."""
    names = [unicodedata.normalize("NFD", keys.encode_id(run_id)).casefold() for run_id in (one, other)]

    assert (names[0] == names[1]) == (one == other)


@given(LEGAL)
def test_names_are_safe_everywhere(run_id: str) -> None:
    """At most 100 tame characters, no trailing dot, no device of Windows."""
    name = keys.encode_id(run_id)

    assert re.fullmatch(r"[a-z0-9~][a-z0-9._-]{0,99}", name)
    assert not name.endswith(".")
    assert keys.decode_id(name) in (run_id, None)
    assert (keys.decode_id(name) is None) == name.startswith("~h")


@given(st.text(min_size=1, max_size=4), st.text(min_size=100, max_size=120, alphabet="aé~"))
def test_a_hashed_name_is_no_encoded_one(short: str, long: str) -> None:
    """Base32hex of UTF-8 never starts with h: that would be a continuation byte."""
    long = unicodedata.normalize("NFC", long + "x" * 10)

    assert keys.encode_id(long).startswith("~h")
    with suppress(BadRunId):
        assert not keys.encode_id(short).startswith("~h")


@pytest.mark.parametrize("name", ["", "A", "..", "~", "~!", "~h" + "0" * 52, "~vvvv", "a.", "~c5", "~c4======"])
def test_what_is_no_name_of_ours_decodes_to_nothing(name: str) -> None:
    """A stranger's file in a listing is skipped; a name that encodes an id another way is a stranger's."""
    assert keys.decode_id(name) is None


@given(LEGAL, st.integers(1, 10**6))
def test_an_active_marker_tells_run_and_opening(run_id: str, opening: int) -> None:
    """Although ids may contain dots and digits."""
    name = keys.encode_id(run_id)

    assert keys.parse_active(keys.active_key(name, opening)) == (name, opening)


def test_checkpoint_names_sort_as_numbers() -> None:
    """A listing by name is a listing by number."""
    numbers = [0, 1, 9, 10, 99, 100, 2**63]

    names = [keys.checkpoint_name(number) for number in numbers]

    assert names == sorted(names)
    assert [keys.checkpoint_seq(name) for name in names] == numbers
    assert keys.checkpoint_seq("1.ckpt") is None


def test_ended_keys_sort_by_time() -> None:
    """The newest summary is the last of the listing."""
    listed = [keys.ended_key("a", 9.5), keys.ended_key("a", 10.25), keys.ended_key("b", 1e9)]

    assert listed == sorted(listed)
    assert [keys.parse_ended(key) for key in listed] == ["a", "a", "b"]


_MOMENTS = st.integers(min_value=EARLIEST, max_value=4_102_444_800)


@given(_MOMENTS, _MOMENTS, _MOMENTS)
def test_what_is_due_between_two_moments_lies_in_one_of_few_folders(one: int, other: int, due: int) -> None:
    """In exactly one if its hour is among theirs, in none otherwise; and years apart are some two hundred folders."""
    since, until = sorted((one, other))
    key = asleep_key(Sleeper("r", 1, due))

    prefixes = due_prefixes(until, since=since)

    is_between = since // 3600 <= due // 3600 <= until // 3600
    assert sum(key.startswith(prefix) for prefix in prefixes) == is_between
    assert len(prefixes) <= 2 * (23 + 30 + 11) + 74


@given(st.integers(), st.integers(min_value=0, max_value=2**64 - 1))
def test_an_asleep_marker_says_who_sleeps_and_until_when(due: int, seq: int) -> None:
    """To the second; what was due before there was an actorflow is overdue, and what is due in 8,000 years never is."""
    sleeper = Sleeper("~a.1", seq, due)

    found = parse_asleep(asleep_key(sleeper))

    assert found is not None
    assert (found.run, found.seq) == ("~a.1", seq)
    assert found.due == (None if due >= 253_402_300_800 else max(due, EARLIEST))
