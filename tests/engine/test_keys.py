"""Keys: others know what a run does by them, so that they are the same in every execution and in every release."""

from __future__ import annotations

from actorflow.engine.keys import key_of, run_key, turn_key

MESSAGE = bytes(16)


def test_keys_are_those_of_every_release() -> None:
    """An idempotency key that somebody was told by older code is known again."""
    assert run_key("ada", 1).hex() == "1656dbb05c79b60324e9323064cd32cc"
    assert turn_key("ada", 1, MESSAGE).hex() == "e286cf062a2aadf6bbcd798d3b1b85f9"


def test_the_key_of_a_turn_is_the_same_whoever_else_asked() -> None:
    """Planted: hashing a message into what all turns of a run begin with, and not into a copy of it."""
    first = turn_key("ada", 1, MESSAGE)

    others = {turn_key("ada", 2, MESSAGE), turn_key("bob", 1, MESSAGE), turn_key("ada", 1, b"another")}

    assert turn_key("ada", 1, MESSAGE) == first == key_of(run_key("ada", 1), b"turn", MESSAGE)
    assert len(others - {first}) == 3


def test_parts_that_read_alike_have_keys_of_their_own() -> None:
    """Where one part ends and the next begins is part of the key."""
    assert key_of(b"ab", b"c") != key_of(b"a", b"bc")
