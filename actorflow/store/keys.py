"""Keys: where everything lies in a store, and how any run id becomes a safe name.

    actorflow.json                        marker: format and store uuid
    runs/<id>/log/<first seq>.ckpt        the run's history
    runs/<id>/log/<first>-<last>.ckpt     several commits of it, merged (object log)
    runs/<id>/log/<seq>.floor             retention let go of what is below (object log)
    runs/<id>/blobs/<digest>.<epoch>.<n>  its large values
    active/<shard>/<id>.<opening>         what must be recovered
    asleep/<due hour>/<time>-<id>.<seq>   what sleeps until that minute and second of that hour
    asleep/never/<shard>/<id>.<seq>       what sleeps until somebody wants something of it
    asleep/swept/<hour>                   nothing that was due before slept any more when somebody looked
    ended/<microseconds>-<id>             summaries for listings
    hosts/<machine>/<incarnation>.lock    a lock that dies with its process
    inbox/<shard>/<letter>                a message from elsewhere that may not have been taken
    dead/<shard>/<letter>                 one that no run will take, and why
    cache/<digest>                        what a node has returned; no part of any run
    probe/<digest>.json                   that a server passed the probe

A letter is ``<id>~<sender>~<generation>~<n>``, the shard that of the run it is
for. A due hour is ``<year>/<month>/<day>/<hour>``, in UTC: what is overdue is
found by a few listings, however long nobody has looked.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import time
import unicodedata
from datetime import UTC, datetime
from typing import NamedTuple

from actorflow.errors import BadCallerId, BadRunId

MARKER = "actorflow.json"
RUNS = "runs/"
ACTIVE = "active/"
ASLEEP = "asleep/"
SWEPT = "asleep/swept/"
ENDED = "ended/"
HOSTS = "hosts/"
INBOX = "inbox/"
DEAD = "dead/"
PROBE = "probe/"
CACHE = "cache/"

MAX_ID_BYTES = 512
MAX_NAME = 100
MAX_NUMBER = 2**64 - 1  # what msgpack can say

_VERBATIM = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9_-])?")
# Windows takes these names for devices, whatever follows the first dot.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?")
_CHECKPOINT = re.compile(r"([0-9]{20})\.ckpt")
_SPAN = re.compile(r"([0-9]{20})-([0-9]{20})\.ckpt")
_FLOOR = re.compile(r"([0-9]{20})\.floor")
_BLOB = re.compile(r"[0-9a-f]{64}\.([0-9]{1,20})\.[0-9]{1,20}")
_ACTIVE = re.compile(r"active/[0-9a-f]{2}/([^/]+)\.([0-9]{1,20})")
_ASLEEP = re.compile(
    r"asleep/(?:never/[0-9a-f]{2}/|([0-9]{4})/([0-9]{2})/([0-9]{2})/([0-9]{2})/([0-9]{2})([0-9]{2})-)"
    r"([^/]+)\.([0-9]{1,20})"
)
_ISO = "{}-{}-{}T{}:{}:{}Z"
_ENDED = re.compile(r"ended/[0-9]{20}-([^/]+)")
_NAME = rf"~[0-9a-v]{{1,{MAX_NAME - 1}}}|{_VERBATIM.pattern}"
_LETTER = re.compile(rf"({_NAME})~({_NAME}|-[0-9a-v]{{32}})~([0-9]{{20}})~([0-9]{{20}})")


def fresh_id() -> str:
    """A new run id: 48 bits of time in milliseconds, then 80 random bits, in hex; sorts by time."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def encode_id(run_id: str) -> str:
    """The name of a run in keys: injective, also where the file system folds case or normalises Unicode.

    Verbatim if the id is short, lower-case and tame; else ``~`` and base32hex
    of its UTF-8 form; else ``~h`` and a BLAKE2b-256 in base32hex. The last two
    can't meet: a leading ``h`` stands for a first byte 0x88 to 0x8F, which no
    UTF-8 text begins with.

    Raises:
        BadRunId: empty, over 512 bytes, with NUL or lone surrogates, or not in NFC.
    """
    raw = _checked(run_id)
    if _VERBATIM.fullmatch(run_id) and not _DEVICE.fullmatch(run_id):
        return run_id
    name = "~" + _base32(raw)
    if len(name) <= MAX_NAME:
        return name
    return "~h" + _base32(hashlib.blake2b(raw, digest_size=32).digest())


def decode_id(encoded: str) -> str | None:
    """The run id behind a name, or None: hashed (the id is in the header then) or no name of ours."""
    try:
        run_id = _unbase32(encoded[1:]) if encoded.startswith("~") else encoded
        return run_id if encode_id(run_id) == encoded else None
    except (BadRunId, ValueError):
        return None


def shard(encoded: str) -> str:
    """Two hex digits that spread names evenly over 256 folders."""
    return hashlib.blake2b(encoded.encode()).hexdigest()[:2]


def log_prefix(encoded: str) -> str:
    """Where the checkpoints of a run are."""
    return f"{RUNS}{encoded}/log/"


def checkpoint_name(seq: int) -> str:
    """The name of the file whose first own frame is ``seq``: decimal, fixed width, so that names sort as numbers."""
    return f"{seq:020d}.ckpt"


def checkpoint_seq(name: str) -> int | None:
    """The number in a checkpoint's name; None if it is no such name."""
    match = _CHECKPOINT.fullmatch(name)
    return int(match[1]) if match else None


def span_name(first: int, last: int) -> str:
    """The name of the file that holds these commits, merged. No other file ever has it."""
    return f"{first:020d}-{last:020d}.ckpt"


def span_range(name: str) -> tuple[int, int] | None:
    """The first and last number in a merged file's name; None if it is no such name."""
    match = _SPAN.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


def floor_name(seq: int) -> str:
    """The name that says: retention let go of every commit below ``seq``."""
    return f"{seq:020d}.floor"


def floor_seq(name: str) -> int | None:
    """The number in a floor's name; None if it is no such name."""
    match = _FLOOR.fullmatch(name)
    return int(match[1]) if match else None


def blobs_prefix(encoded: str) -> str:
    """Where the large values of a run are."""
    return f"{RUNS}{encoded}/blobs/"


def blob_name(digest: bytes, epoch: int, n: int) -> str:
    """The name of the ``n``-th blob that the owner of ``epoch`` put."""
    return f"{digest.hex()}.{epoch}.{n}"


def blob_epoch(name: str) -> int | None:
    """The epoch in a blob's name; None if it is no such name."""
    match = _BLOB.fullmatch(name)
    return int(match[1]) if match else None


def run_of(key: str) -> str | None:
    """The encoded id in a key below ``runs/``."""
    encoded, slash, _rest = key.removeprefix(RUNS).partition("/")
    return encoded if slash and key.startswith(RUNS) else None


def active_key(encoded: str, opening: int) -> str:
    """The marker of one opening of a run."""
    return f"{ACTIVE}{shard(encoded)}/{encoded}.{opening}"


def parse_active(key: str) -> tuple[str, int] | None:
    """Encoded id and opening of an active marker's key."""
    match = _ACTIVE.fullmatch(key)
    return (match[1], int(match[2])) if match else None


class Sleeper(NamedTuple):
    """What the name of an asleep marker says: who sleeps, since which commit, and until when (seconds since 1970)."""

    run: str
    seq: int
    due: int | None  # None: until somebody wants something of it


EARLIEST = 1_767_225_600
"""The first moment of 2026, seconds since 1970: what was due before counts as due then, and is as late."""

_LATEST = 253_402_300_799  # the last second of the year 9999: what is due later is never due


def asleep_key(sleeper: Sleeper) -> str:
    """The marker of a run that sleeps. No other sleep of any run ever has it."""
    encoded, seq, due = sleeper
    if due is None or due > _LATEST:
        return f"{ASLEEP}never/{shard(encoded)}/{encoded}.{seq}"
    return f"{ASLEEP}{datetime.fromtimestamp(max(due, EARLIEST), UTC):%Y/%m/%d/%H/%M%S}-{encoded}.{seq}"


def parse_asleep(key: str) -> Sleeper | None:
    """Who an asleep marker is of; None for a stranger's key."""
    match = _ASLEEP.fullmatch(key)
    if match is None:
        return None
    *when, encoded, seq = match.groups()
    try:
        due = None if when[0] is None else int(datetime.fromisoformat(_ISO.format(*when)).timestamp())
    except ValueError:  # no such day
        return None
    return Sleeper(encoded, int(seq), due)


def swept_key(until: float) -> str:
    """The mark that says up to which hour nobody was found asleep any more."""
    return f"{SWEPT}{datetime.fromtimestamp(min(max(until, EARLIEST), _LATEST), UTC):%Y%m%d%H}"


def parse_swept(key: str) -> int | None:
    """The beginning of the hour in such a mark, seconds since 1970; None for a stranger's key."""
    try:
        return int(datetime.strptime(f"{key.removeprefix(SWEPT)}+0000", "%Y%m%d%H%z").timestamp())
    except ValueError:
        return None


def due_prefixes(until: float, *, since: float = EARLIEST) -> list[str]:
    """The folders of all hours from one moment to another (seconds since 1970), both included; few, however far apart.

    Whole years, months and days in between are one folder each.
    """
    first, last = (datetime.fromtimestamp(min(max(when, EARLIEST), _LATEST), UTC) for when in (since, until))
    found: list[str] = []
    _cover(first.timetuple()[:4], last.timetuple()[:4], ASLEEP, found)
    return found


_FIRST_OF = (0, 1, 1, 0)  # year, month, day, hour
_LAST_OF = (9999, 12, 31, 23)


def _cover(first: tuple[int, ...], last: tuple[int, ...], above: str, found: list[str]) -> None:
    """Folders below ``above`` for all from ``first`` to ``last``: numbers of what is left of the way to the hours."""
    left = len(first)
    lowest, highest = _FIRST_OF[4 - left :], _LAST_OF[4 - left :]
    for number in range(first[0], last[0] + 1):
        begin = first[1:] if number == first[0] else lowest[1:]
        end = last[1:] if number == last[0] else highest[1:]
        folder = f"{above}{number:0{4 if left == 4 else 2}d}/"
        if (begin, end) == (lowest[1:], highest[1:]):
            found.append(folder)
        else:
            _cover(begin, end, folder, found)


def ended_key(encoded: str, time: float) -> str:
    """``time`` in seconds since 1970; the key holds microseconds, so that keys sort by time."""
    return f"{ENDED}{int(time * 1e6):020d}-{encoded}"


def parse_ended(key: str) -> str | None:
    """Encoded id of a summary's key."""
    match = _ENDED.fullmatch(key)
    return match[1] if match else None


def lock_key(machine: str, incarnation: str) -> str:
    """The lock file of one opening of the store."""
    return f"{HOSTS}{machine}/{incarnation}.lock"


class Letter(NamedTuple):
    """What the name of a message says: for whom it is, from whom, and which number of which generation.

    The run is an encoded id. So is the sender, if it is a run; the name of
    somebody else is made of the id that they gave their message.
    """

    run: str
    sender: str
    generation: int
    number: int

    @property
    def from_caller(self) -> bool:
        """Whether no run sent it: then it stands in no lane, and its number only says when it was sent."""
        return self.sender.startswith("-")


def caller_name(run_id: str, caller_id: str) -> str:
    """The sender's part of a message that came with an id instead of a number. No encoded id begins like it.

    Raises:
        BadCallerId: it is empty, over 512 bytes, or no text.
    """
    if not isinstance(caller_id, str):  # pyright: ignore[reportUnnecessaryIsInstance] - a number is the usual mistake
        raise BadCallerId(run_id, str(caller_id), f"it is of type {type(caller_id).__name__}, not str")
    if not caller_id:
        raise BadCallerId(run_id, caller_id, "it is empty")
    try:
        raw = caller_id.encode()
    except UnicodeEncodeError:
        raise BadCallerId(run_id, caller_id, "it contains a lone surrogate") from None
    if len(raw) > MAX_ID_BYTES:
        raise BadCallerId(run_id, caller_id, f"it has {len(raw)} bytes in UTF-8, the limit is {MAX_ID_BYTES}")
    return "-" + _base32(hashlib.blake2b(raw, digest_size=20).digest())


def inbox_prefix(encoded: str) -> str:
    """The folder with the messages for a run, and for one run in 256 besides."""
    return f"{INBOX}{shard(encoded)}/"


def dead_prefix(encoded: str) -> str:
    """The folder with the dead letters of a run, and of one run in 256 besides."""
    return f"{DEAD}{shard(encoded)}/"


def inbox_key(letter: Letter) -> str:
    """Where a message is until it has been taken."""
    return inbox_prefix(letter.run) + _letter_name(letter)


def dead_key(letter: Letter) -> str:
    """Where a message is that no run will take."""
    return dead_prefix(letter.run) + _letter_name(letter)


def parse_letter(key: str) -> Letter | None:
    """The letter of a key below ``inbox/`` or ``dead/``; None for a stranger's, also one in the wrong folder.

    Nothing but its first character is ever ``~`` in an encoded id, so there
    is one way to read the name, although two of its separators may stand
    beside one that belongs to an id.
    """
    folder, _, name = key.rpartition("/")
    match = _LETTER.fullmatch(name)
    if match is None:
        return None
    letter = Letter(match[1], match[2], int(match[3]), int(match[4]))
    ours = folder[:-2] in (INBOX, DEAD) and folder[-2:] == shard(letter.run)
    return letter if ours and max(letter.generation, letter.number) <= MAX_NUMBER else None


def _letter_name(letter: Letter) -> str:
    return f"{letter.run}~{letter.sender}~{letter.generation:020d}~{letter.number:020d}"


def cache_key(digest: bytes) -> str:
    """Where a result of a node is kept."""
    return CACHE + digest.hex()


def _checked(run_id: str) -> bytes:
    if not isinstance(run_id, str):  # pyright: ignore[reportUnnecessaryIsInstance] - a number is the usual mistake
        raise BadRunId(str(run_id), f"it is of type {type(run_id).__name__}, not str")
    if not run_id:
        raise BadRunId(run_id, "it is empty")
    if "\0" in run_id:
        raise BadRunId(run_id, "it contains NUL")
    try:
        raw = run_id.encode()
    except UnicodeEncodeError:
        raise BadRunId(run_id, "it contains a lone surrogate") from None
    if len(raw) > MAX_ID_BYTES:
        raise BadRunId(run_id, f"it has {len(raw)} bytes in UTF-8, the limit is {MAX_ID_BYTES}")
    if not unicodedata.is_normalized("NFC", run_id):
        raise BadRunId(run_id, 'it is not in Unicode\'s NFC form; use unicodedata.normalize("NFC", id)')
    return raw


def _base32(raw: bytes) -> str:
    return base64.b32hexencode(raw).decode().rstrip("=").lower()


def _unbase32(text: str) -> str:
    try:
        return base64.b32hexdecode(text.upper() + "=" * (-len(text) % 8)).decode()
    except binascii.Error as error:
        raise ValueError(text) from error
