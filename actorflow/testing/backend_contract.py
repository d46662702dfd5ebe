"""The contract of `Backend`, as tests: subclass it, and give it a backend of your own.

    class TestMine(BackendContract):
        @pytest.fixture
        def backend(self) -> Backend:
            return MyBackend(...)

Each test gets a backend that holds nothing yet: a fresh folder or prefix will do.
"""
# ruff: noqa: S101 - tests assert

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from actorflow.store.backend import Backend, Missing, whole


class BackendContract:
    """What every backend must do."""

    @pytest.fixture
    def backend(self) -> Backend:
        """The backend under test, empty."""
        raise NotImplementedError

    def test_what_was_put_is_there(self, backend: Backend) -> None:
        """Every byte of it, at once."""
        data = bytes(range(256)) * 1000

        assert backend.put_new("runs/a/log/1.ckpt", data)
        assert backend.get("runs/a/log/1.ckpt") == data

    def test_a_taken_key_is_left_as_it_is(self, backend: Backend) -> None:
        """Put-if-absent is what fences: the second put changes nothing, and says so."""
        backend.put_new("k/a", b"first")

        assert not backend.put_new("k/a", b"second")
        assert not backend.put_new("k/a", b"")
        assert backend.get("k/a") == b"first"

    @pytest.mark.parametrize("durable", [True, False])
    def test_an_empty_value_is_a_value(self, backend: Backend, *, durable: bool) -> None:
        """Markers are empty: they take their key like others."""
        assert backend.put_new("k/a", b"", durable=durable)
        assert not backend.put_new("k/a", b"x", durable=durable)
        assert backend.get("k/a") == b""

    def test_indexes_are_put_if_absent_too(self, backend: Backend) -> None:
        """``durable=False`` gives up durability, not exclusiveness."""
        assert backend.put_new("ended/1", b"one", durable=False)
        assert not backend.put_new("ended/1", b"two", durable=False)
        assert backend.get("ended/1") == b"one"

    def test_what_is_not_there_is_missing(self, backend: Backend) -> None:
        """Missing is its own answer, also below folders that don't exist."""
        backend.put_new("k/a", b"x")

        for key in ("k/b", "nowhere/else/at/all"):
            with pytest.raises(Missing) as caught:
                backend.get(key)
            assert caught.value.key == key

    def test_a_listing_is_complete_and_ascends(self, backend: Backend) -> None:
        """By whole keys, at any depth, and only below the prefix."""
        keys = ["a/10", "a/9", "a/b/c/d", "a/b/c.x", "a-b/1", "ab/1", "a/~z", "b"]
        for key in keys:
            backend.put_new(key, b"x")

        assert backend.list("") == sorted(keys)
        assert backend.list("a/") == sorted(key for key in keys if key.startswith("a/"))
        assert backend.list("a/b/") == ["a/b/c.x", "a/b/c/d"]
        assert backend.list("nothing/") == []

    def test_a_deletion_takes_exactly_its_keys(self, backend: Backend) -> None:
        """No glob, no prefix, no recursion, and a key that is not there is fine."""
        for key in ("runs/*/1", "runs/a/1", "runs/b/1", "runs/b/10"):
            backend.put_new(key, b"x")

        backend.delete(["runs/*/1", "runs/b/1", "runs/c/1", "nowhere/1"])

        assert backend.list("runs/") == ["runs/a/1", "runs/b/10"]

    def test_a_deleted_key_is_free(self, backend: Backend) -> None:
        """It can be put again, and is missing until then."""
        backend.put_new("k/a", b"one")
        backend.delete(["k/a"])

        with pytest.raises(Missing):
            backend.get("k/a")
        assert backend.put_new("k/a", b"two")

    def test_puts_in_steps_are_puts(self, backend: Backend) -> None:
        """Begun together, of those for one key one is told that it took it."""
        begun = [backend.putting_new(key, data) for key in ("k/a", "k/b") for data in (b"one", b"two")]
        coming = [next(steps) for steps in begun]
        wait([one for one in coming if one is not None])
        taken = [whole(steps) for steps in begun]

        for key, new in (("k/a", taken[:2]), ("k/b", taken[2:])):
            assert sum(new) == 1
            assert backend.get(key) == (b"one" if new[0] else b"two")
            assert not whole(backend.putting_new(key, b"three"))

    def test_of_racing_puts_one_wins_and_is_read_whole(self, backend: Backend) -> None:
        """Exactly one of 8 threads, in each of 25 rounds, and a reader never sees less than all of it."""
        barrier = threading.Barrier(8)

        def race(number: int, turn: int) -> bool:
            key, data = f"race/{turn}", bytes([number]) * 20_000
            barrier.wait()
            won = backend.put_new(key, data)
            seen = backend.get(key)
            assert len(seen) == 20_000
            assert len(set(seen)) == 1
            assert not won or seen == data
            return won

        with ThreadPoolExecutor(8) as pool:
            for turn in range(25):
                assert sum(pool.map(race, range(8), [turn] * 8)) == 1
