"""The golden run of format 1: made of constants only, so that its files can be compared byte for byte.

``python -m tests.store.golden`` writes them, and once more in each way of
sealing, whose files hold random salts and can only be read again. They are
written once per format: a change that alters them is another format.
"""

from __future__ import annotations

from pathlib import Path

from actorflow.store.frames import FilePart, Header, Kind, Owner
from actorflow.store.framing import encode_file, encode_frame
from actorflow.store.keyring import Keyring
from actorflow.store.keys import checkpoint_name
from actorflow.store.sealing import PLAIN, Sealing

FOLDER = Path(__file__).parents[1] / "golden" / "format1"

KEYS = Keyring({"golden-2": bytes(range(32)), "golden-1": bytes(range(32, 64))})
SEALINGS = {
    "compressed": Sealing(compress="zstd"),
    "mac": Sealing("mac", keys=KEYS),
    "mac-compressed": Sealing("mac", keys=KEYS, compress="zstd"),
    "sealed": Sealing("sealed", keys=KEYS),
    "sealed-compressed": Sealing("sealed", keys=KEYS, compress="zstd"),
}
GROWN = b"\xa4pads\xd9\xc8" + b"Lunar South Pole. " * 11 + b"ok"  # enough to be worth compressing

PART = FilePart(
    run_id="Ärtemis/1",
    life=1,
    store=bytes(range(16)),
    graph="lunar-mission",
    topology=b"\x01" * 16,
    schema="Mission",
    version=1,
    fields=(("destination", "str", False), ("crew_size", "int", True)),
    codec=1,
    writer="actorflow/0.1.0",
)
SECOND_PART = FilePart(
    run_id=PART.run_id,
    life=1,
    store=PART.store,
    graph=PART.graph,
    topology=b"\x02" * 16,
    schema="Mission",
    version="2026-11",
    fields=(*PART.fields, ("risks", "list[str]", True)),
    codec=1,
    writer="actorflow/0.2.0",
)


def owner(number: int) -> Owner:
    """The number-th incarnation."""
    return Owner(
        machine="0123456789abcdef",
        boot="fedcba9876543210",
        host="moon",
        pid=1000 + number,
        incarnation=f"{number:016x}",
        actor=bytes([number]) * 8,
    )


def files(sealing: Sealing = PLAIN, *, grown: bytes = b"") -> dict[str, bytes]:
    """Three files: a spawn with two commits, a rollover with a new schema, a claim with its copy and a release.

    Args:
        sealing: how they are sealed.
        grown: what each body has more than in the plain files.
    """
    chain: list[tuple[Header, bytes]] = []

    def frame(
        kind: Kind, epoch: int, part: FilePart, *, carried: bool, snapshot: int, status: str = "running"
    ) -> bytes:
        raw, digest = encode_file(part)
        seq = len(chain)
        body = b"" if kind == "claim" and seq else bytes([0x81, 0xA3]) + b"seq" + bytes([seq]) + grown
        header = Header(
            kind=kind,
            seq=seq,
            epoch=epoch,
            nonce=bytes([seq]) * 16,
            owner=owner(epoch),
            crashes=epoch - 1,
            opening=1,
            status=status,
            due=1_800_000_000 if seq == 2 else None,
            marks=b"",
            node=None if kind == "claim" else "define_objective",
            parent=chain[-1][1] if chain else b"",
            snapshot=snapshot,
            file=digest,
            time=1_795_000_000.25 + seq,
            tags={"team": "blue", "ö": ""} if seq == 1 else {},
            raw=len(body),
        )
        carries = {"file": raw} if carried else {}
        data, frame_digest = encode_frame(header, body, path="golden", sealing=sealing, **carries)
        chain.append((header, frame_digest))
        return data

    first = [
        frame("claim", 1, PART, carried=True, snapshot=0),
        frame("commit", 1, PART, carried=False, snapshot=0),
        frame("commit", 1, PART, carried=False, snapshot=0),
    ]
    second = [
        frame("commit", 1, SECOND_PART, carried=True, snapshot=3),
        frame("commit", 1, SECOND_PART, carried=False, snapshot=3),
    ]
    third = [
        second[-1],
        frame("claim", 2, SECOND_PART, carried=True, snapshot=3),
        frame("release", 2, SECOND_PART, carried=False, snapshot=3, status="finished"),
    ]
    return {checkpoint_name(seq): b"".join(frames) for seq, frames in ((0, first), (3, second), (5, third))}


if __name__ == "__main__":
    runs = {FOLDER: files()}
    runs |= {FOLDER.with_name(f"format1-{name}"): files(way, grown=GROWN) for name, way in SEALINGS.items()}
    for folder, written in runs.items():
        if folder.exists():
            continue  # never again over what was released
        folder.mkdir(parents=True)
        for name, data in written.items():
            (folder / name).write_bytes(data)
