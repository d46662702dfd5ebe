"""The backend of a process that dies: up to there everything, from there on nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actorflow.errors import StoreUnavailable
from actorflow.store.backend import Backend, Missing
from actorflow.store.memory import MemoryBackend
from actorflow.testing.backend_contract import BackendContract
from actorflow.testing.crashing import CrashingBackend, Fault, Killed, Operation, Process, parse_faults

if TYPE_CHECKING:
    from actorflow.testing.crashing import Kind


class TestCrashingBackend(BackendContract):
    """As long as nothing befalls it."""

    @pytest.fixture
    def backend(self) -> Backend:
        """In front of a memory backend."""
        return CrashingBackend(MemoryBackend(), Process(None))


@pytest.mark.parametrize(("kind", "there"), [("before", []), ("after", ["b"])])
def test_nothing_of_a_killed_process_reaches_the_store(kind: Kind, there: list[str]) -> None:
    """The operation that killed it took effect or not; whatever it does then has none, and is no Exception."""
    inner = MemoryBackend()
    process = Process(Fault(2, kind))
    backend = CrashingBackend(inner, process)
    backend.list("")

    with pytest.raises(Killed):
        backend.put_new("b", b"")
    with pytest.raises(Killed):
        backend.put_new("c", b"")
    with pytest.raises(Killed):
        backend.delete(["b"])
    with pytest.raises(Killed):
        backend.get("b")

    assert process.dead
    assert process.struck == Operation("put", "b")
    assert process.acknowledged == {}
    assert inner.list("") == there
    assert not issubclass(Killed, Exception)


@pytest.mark.parametrize(("kind", "there"), [("dropped", []), ("landed", ["a"])])
def test_whoever_hears_no_reply_lives_on(kind: Kind, there: list[str]) -> None:
    """And finds out by asking."""
    process = Process(Fault(1, kind))
    backend = CrashingBackend(MemoryBackend(), process)

    with pytest.raises(StoreUnavailable, match="a: no reply came"):
        backend.put_new("a", b"")

    assert backend.list("") == there
    assert backend.put_new("c", b"c")
    assert process.acknowledged == {"c": b"c"}
    assert not process.dead


def test_what_is_missing_is_missing() -> None:
    """An answer of the store is none of its faults."""
    with pytest.raises(Missing):
        CrashingBackend(MemoryBackend(), Process(None)).get("a")


def test_faults_are_written_and_read() -> None:
    """As a report says them, and `explore` takes them."""
    faults = (Fault(7, "after"), Fault(12, "dropped"))

    assert parse_faults("7:after 12:dropped") == faults
    assert " ".join(map(str, faults)) == "7:after 12:dropped"
