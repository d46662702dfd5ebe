"""The first use of a type, by several threads at once: msgspec shows the second one a half-made type, and crashes."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PRELUDE = """
import sys, threading
from msgspec import Struct, msgpack
sys.setswitchinterval(1e-6)

def at_once(work):
    start = threading.Barrier(8)
    def body():
        start.wait()
        work()
    threads = [threading.Thread(target=body) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""

_OURS = """
from actorflow.engine.records import Body, Claimed, decode_body, encode_body
from actorflow.store.frames import FilePart
from actorflow.store.framing import encode_file
import actorflow.store.framing as framing

body = encode_body(Body((Claimed(1, 1),)))
at_once(lambda: decode_body(body))
part = FilePart(
    run_id="x", life=1, store=b"", graph="g", topology=b"", schema="S", version=1, fields=(), codec=1, writer=""
)
raw, _ = encode_file(part)
at_once(lambda: framing._decode_file(raw))
"""

_STRUCTS = """
from msgspec import defstruct
from actorflow import State
from actorflow.graph.schema import schema_of

NAMES = [f"field{number}" for number in range(30)]
VALUES = {name: {"a": 1} for name in NAMES}
ENCODED = msgpack.encode(VALUES)

def structs():
    for _ in range(60):
        inner = defstruct("Inner", [("a", "int | None", None), ("b", "list[str] | None", None)])
        yield defstruct("Middle", [(name, "Inner | None", None) for name in NAMES], namespace={"Inner": inner})
"""

_USERS = f"""{_STRUCTS}
from actorflow import Graph, migrate

for middle in structs():
    Old = type(State)("Old", (State,), {{"__annotations__": {{"middle": middle}}}}, version=1, name="S")
    New = type(State)("New", (State,), {{"__annotations__": {{"more": list[middle]}}}}, version=2, name="S")
    def newer(old: Old) -> New:
        return New(more=[old.middle])
    graph = Graph("g", New, migrations=[migrate(newer)])
    graph.node(lambda state: None, name="only")
    assert graph.plan
    at_once(lambda: (schema_of(Old).load({{"middle": VALUES}}), schema_of(New).load({{"more": [VALUES]}})))
"""

_CARELESS = f"""{_STRUCTS}
for middle in structs():
    at_once(lambda: msgpack.decode(ENCODED, type=middle))
"""


@pytest.mark.parametrize(("code", "times"), [(_OURS, 5), (_USERS, 1)], ids=["ours", "users"])
def test_types_first_used_by_several_threads_do_not_crash_the_process(code: str, times: int) -> None:
    """A recovery reads many runs in many threads, and nothing may have been read before."""
    for _ in range(times):
        child = subprocess.run([sys.executable, "-c", _PRELUDE + code], capture_output=True, text=True, check=False)
        assert child.returncode == 0, child.stderr


def test_without_care_the_process_would_crash() -> None:
    """The same with decoders that msgspec makes at their first use: if this passes one day, the care can go."""
    statuses = {
        subprocess.run([sys.executable, "-c", _PRELUDE + _CARELESS], capture_output=True, check=False).returncode
        for _ in range(5)
    }

    assert statuses != {0}
