"""The arena: one store, the processes over it, and everything that is done to them for so long.

All processes work for as long as the soak lasts; at random moments something
happens to one of them, to the network or to a file. Every now and then all are
stopped where they are, and the oracle judges. In the end they are killed, and
one more process, that nobody disturbs, must bring every run to its end.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from actorflow.errors import CorruptCheckpoint
from actorflow.store.keys import encode_id, log_prefix
from actorflow.store.local import TEMP
from actorflow.store.store import open_store
from tests.servers.ceph import Ceph
from tests.servers.moto import Moto
from tests.servers.place import buckets_of
from tests.servers.proxy import Proxy
from tests.soak.damage import Damage, damage_file, damage_object
from tests.soak.figures import Figures
from tests.soak.herd import LEAVING, Herd
from tests.soak.network import BadNetwork, OneAtATime
from tests.soak.oracle import Oracle
from tests.soak.worker import Job

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["local", "ceph", "moto"]

TICK = 0.05  # seconds between two looks at what is due
SLOWEST = 4  # times as long as it should, at most, where too little comes about
DRAIN = 150.0  # seconds that the last process may take
WEIGH_EVERY = 5.0  # seconds between two looks at the memory of the process that lives longest
DISTURBED = 0.7  # of the events come with a fault of the network, where there is one


class Breach(AssertionError):
    """The oracle found something; the message has what is needed to look at it."""


@dataclass(slots=True)
class Arena:
    """One soak of one store. The seed decides everything but timing."""

    folder: Path
    kind: Kind
    seed: int
    seconds: float
    workers: int = 3
    at_once: int = 4  # runs that each of them begins
    rest: float = 5.0  # seconds between two events, at most
    judged: float = 20.0  # seconds between two judgements, at most
    again: float = 0.25  # of the messages are sent twice
    bug: str = ""
    least: int = 0  # commits that must be acknowledged before it is over, on however slow a machine
    figures: Figures = field(default_factory=Figures)
    _chance: random.Random = field(init=False)
    _herd: Herd = field(init=False)
    _oracle: Oracle = field(init=False)
    _network: BadNetwork | None = None
    _client: Any = None  # of the bucket, past the network and the store
    _url: str = ""
    _damage: tuple[Damage, float] | None = None  # and until when
    _direct: dict[str, Any] | None = None  # storage options, past the network
    _stood: list[tuple[float, float]] = field(default_factory=list)  # when nobody moved

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def soak(self) -> Figures:
        """All of it; the figures.

        Raises:
            Breach: something is wrong; the files are kept.
        """
        began = time.monotonic()
        with ExitStack() as stack:
            self._open(stack, until=began + self.seconds * SLOWEST + LEAVING + DRAIN)
            stack.callback(self._herd.end)
            for number in range(self.workers):
                self._herd.start("carry", spared=number == 0)
            self._herd.start("collect")
            self._endure(began + self.seconds)
            self._finish()
        self.figures.seconds = time.monotonic() - began
        self.figures.events["kill"] = self._herd.kills
        if self._network is not None:
            self.figures.faults = self._network.met()
        self.figures.take(self._oracle, self._herd.died, self._stood)
        return self.figures

    # -- before and after -------------------------------------------------------------

    def _open(self, stack: ExitStack, *, until: float) -> None:
        self.folder.mkdir(parents=True)
        log = self.folder / "log"
        log.touch()
        through: dict[str, Any] | None = None
        self._url = str(self.folder / "store")
        if self.kind != "local":
            server = stack.enter_context(Ceph() if self.kind == "ceph" else Moto())
            proxy = stack.enter_context((OneAtATime if self.kind == "moto" else Proxy)(server.endpoint))
            self._network = BadNetwork(proxy, self._chance)
            self._url, through = server.place(through=proxy.endpoint)
            self._direct = {**through, "endpoint_url": server.endpoint}
            self._client = stack.enter_context(buckets_of(server.endpoint, server.key, server.secret))
        open_store(self._url, storage_options=through).close()  # made by one who lives: it is not what is tested
        self._oracle = Oracle(self._url, self._direct, log)
        like = Job(
            url=self._url,
            storage_options=through,
            log=log,
            errors=self.folder / "errors",
            until=until,
            at_once=self.at_once,
            again=self.again,
            bug=self.bug,
        )
        self._herd = Herd(like, self._chance)

    def _finish(self) -> None:
        """Everybody dies; one more process, alone, brings all runs to their end, and nothing is left lying about."""
        self._restore()
        if self._network is not None:
            self._network.heal()
        self._herd.end()
        self._check(self._oracle.listen())
        self._herd.version = 2
        last = self._herd.start("finish", ids=tuple(self._oracle.open_runs))
        last.process.join(DRAIN)
        code = last.process.exitcode
        self._herd.end()
        self._check(self._oracle.examine(ended=True))
        if code != 0:
            self._check([f"the last process, which nobody disturbed, ended with {code}"])
        if self.kind == "local":
            self._check([f"left behind: {path}" for path in _left_behind(Path(self._url))])

    # -- the time between ---------------------------------------------------------------

    def _endure(self, end: float) -> None:
        events: dict[str, tuple[int, Callable[[], object]]] = {  # with how often each is chosen
            "kill": (4, self._herd.kill_one),
            "kill during recovery": (2, self._kill_a_recovery),
            "pause": (4, self._herd.pause_one),
            "clock jump": (2, self._herd.jump_a_clock),
            "bit turned": (4, self._turn_a_bit),
            "change of the code": (1, self._herd.change_the_code),
        }
        names, weights = list(events), [weight for weight, _ in events.values()]
        every = min(self.judged, self.seconds / 3)
        judges = weighs = time.monotonic() + every
        latest = end + self.seconds * (SLOWEST - 1)
        while (now := time.monotonic()) < end or (now < latest and self._oracle.told["acknowledged"] < self.least):
            self._wait(min(self._chance.uniform(0.2, self.rest), max(end - now, 1.0)))
            (name,) = self._chance.choices(names, weights)
            self.figures.events[name] += events[name][1]() is not False
            if self._network is not None and self._chance.random() < DISTURBED:
                self._network.disturb()
            if time.monotonic() >= weighs:
                weighs = time.monotonic() + WEIGH_EVERY
                self.figures.weights.append((time.monotonic(), self._herd.weigh()))
            if time.monotonic() >= judges:
                self._judge()
                judges = time.monotonic() + every

    def _wait(self, seconds: float) -> None:
        """Let that much time pass, and do meanwhile what falls due."""
        end = time.monotonic() + seconds
        while True:
            self._check(self._herd.tend())
            if self._network is not None:
                self._network.forget()
            if self._damage is not None and time.monotonic() >= self._damage[1]:
                self._restore()
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(TICK, left))

    def _kill_a_recovery(self) -> None:
        """One is killed, and another a moment later, while it takes up what the first one left."""
        self._herd.kill_one()
        self._wait(self._chance.uniform(0.1, 1.5))
        self._herd.kill_one()

    def _turn_a_bit(self) -> bool:
        """In the newest file of a run that goes on; whoever reads it must refuse it, or read what it was."""
        runs = self._oracle.open_runs
        if self._damage is not None or not runs:
            return False
        run = self._chance.choice(runs)
        before = self._digests(run)
        if not before:
            return False
        self._oracle.victims.add(run)
        damage = self._damaged(encode_id(run))
        if damage is None:
            return False
        self._damage = (damage, time.monotonic() + self._chance.uniform(0.5, 5.0))
        after = self._digests(run)
        if after is None:
            self.figures.events["bit turned, and refused"] += 1
            return True
        wrong = [seq for seq in before.keys() & after.keys() if before[seq] != after[seq]]
        if wrong or (after and max(after) < max(before)):
            self._check([f"{run}: with a bit turned it reads as another run, from commit {min(wrong, default=-1)} on"])
        return True

    def _damaged(self, encoded: str) -> Damage | None:
        if self._client is None:
            return damage_file(Path(self._url), encoded, self._chance)
        place = urlsplit(self._url)
        return damage_object(self._client, place.netloc, place.path.strip("/"), encoded, self._chance)

    def _restore(self) -> None:
        if self._damage is not None:
            self._damage[0].restore()
            self._damage = None

    def _digests(self, run: str) -> dict[int, bytes] | None:
        """The commits of a run by number; None: it is refused as damaged."""
        store = open_store(self._url, storage_options=self._direct, readonly=True)
        try:
            return {frame.header.seq: frame.digest for frame in store.log(run).read(first=0)}
        except CorruptCheckpoint:
            return None
        finally:
            store.close()

    # -- judging --------------------------------------------------------------------------

    def _judge(self) -> None:
        self._restore()
        began = time.monotonic()
        with self._herd.standing_still():
            self._check(self._oracle.examine())
        self._stood.append((began, time.monotonic()))
        self.figures.rounds += 1

    def _check(self, problems: list[str]) -> None:
        if not problems:
            return
        if self._client is not None:
            self._save([problem.partition(": ")[0] for problem in problems])
        errors = self.folder / "errors"
        told = errors.read_text("utf-8", "replace")[-3000:] if errors.exists() else ""
        head = f"Arena(kind={self.kind!r}, seed={self.seed}, bug={self.bug!r}), files in {self.folder}"
        raise Breach("\n".join([head, f"{len(problems)} problems", *problems[:20], told]))

    def _save(self, runs: list[str]) -> None:
        """What a bucket holds of these runs, as files: its server ends with us."""
        place = urlsplit(self._url)
        for run in dict.fromkeys(runs):
            prefix = f"{place.path.strip('/')}/{log_prefix(encode_id(run))}"
            page = self._client.list_objects_v2(Bucket=place.netloc, Prefix=prefix)
            for key in (entry["Key"] for entry in page.get("Contents", ())):
                path = self.folder / "objects" / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._client.get_object(Bucket=place.netloc, Key=key)["Body"].read())


def soak(folder: Path, kind: Kind, seed: int, seconds: float, **more: Any) -> Figures:
    """One arena from beginning to end; see `Arena`."""
    return Arena(folder, kind, seed, seconds, **more).soak()


def _left_behind(store: Path) -> list[str]:
    """Temporary files and locks of the dead, when the last one has left."""
    return [
        str(path)
        for path in sorted(store.rglob("*"))
        if path.name.startswith(TEMP) or (path.is_file() and path.relative_to(store).parts[0] == "hosts")
    ]
