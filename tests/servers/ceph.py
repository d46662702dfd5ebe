"""Ceph: a real object store behind a real S3 server, from the packages of the distribution.

One monitor, one object daemon that keeps everything in memory, one gateway:
about 200 MiB and three seconds to start. On Debian and Ubuntu the packages
are ceph-mon, ceph-osd, radosgw and ceph-common.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.servers.place import S3Server, dying_with_us, free_port

if TYPE_CHECKING:
    from types import TracebackType

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")

_CONFIG = """
[global]
fsid = {fsid}
mon host = [v1:127.0.0.1:{mon_port}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
auth supported = none
run dir = {root}/run
admin socket = {root}/run/$name.asok
pid file = {root}/run/$name.pid
log file = {root}/log/$name.log
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd pool default pg num = 4
osd pool default pgp num = 4
mon max pg per osd = 1000
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 4294967296
mon data avail crit = 1
# Each new pool and process is a change of the map, and the monitor would collect them for a second.
paxos propose interval = 0.05
paxos min wait = 0.01
rgw dynamic resharding = false
rgw enable usage log = false
rgw enable ops log = false
[mon]
mon data = {root}/mon
[osd]
osd data = {root}/osd
[client.rgw.a]
rgw data = {root}/rgw
# Without tcp_nodelay each small reply waits 44 ms for Nagle's algorithm.
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw thread pool size = 64
"""


class Ceph(S3Server):
    """One cluster of one's own on loopback, gone with its folder when it is left."""

    key = "test"
    secret = "testsecret"

    @staticmethod
    def missing() -> list[str]:
        """The programs that are not installed."""
        return [program for program in PROGRAMS if shutil.which(program) is None]

    def __enter__(self) -> Self:
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._folder = tempfile.TemporaryDirectory(prefix="actorflow-ceph-", ignore_cleanup_errors=True)
        try:
            self._start(Path(self._folder.name))
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop()

    def _start(self, root: Path) -> None:
        for name in ("mon", "osd", "run", "log", "rgw"):
            (root / name).mkdir()
        port, mon_port, fsid, osd = free_port(), free_port(), str(uuid.uuid4()), str(uuid.uuid4())
        self._config = root / "ceph.conf"
        self._config.write_text(_CONFIG.format(root=root, fsid=fsid, port=port, mon_port=mon_port))
        self.endpoint = f"http://127.0.0.1:{port}"

        monmap = str(root / "monmap")
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v1:127.0.0.1:{mon_port}]", monmap)
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap)
        self._daemon("ceph-mon", "-i", "a")
        self._ask("osd", "new", osd, "0")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._boot_osd()
        user = ("--uid=test", "--display-name=test", f"--access-key={self.key}", f"--secret={self.secret}")
        self._run("radosgw-admin", "user", "create", *user)
        self._daemon("radosgw", "-n", "client.rgw.a")
        _wait_for(port)
        self.make_bucket()

    def _boot_osd(self) -> None:
        """It gives up now and then: told "wrong fsid" when it asks before it has heard which cluster it is in."""
        end = time.monotonic() + 20
        osd = self._daemon("ceph-osd", "-i", "0")
        while "1 up" not in self._ask("osd", "stat"):
            if osd.poll() is not None:
                osd = self._daemon("ceph-osd", "-i", "0")
            if time.monotonic() > end:
                raise TimeoutError("ceph-osd does not come up")

    def _ask(self, *arguments: str) -> str:
        """Ask the monitor. Before it has got up it refuses: "problem getting command descriptions"."""
        end = time.monotonic() + 20
        while True:
            try:
                return self._run("ceph", *arguments)
            except subprocess.CalledProcessError:
                if time.monotonic() > end:
                    raise

    def _run(self, program: str, *arguments: str) -> str:
        command = [program, "-c", str(self._config), *arguments]
        try:
            return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout
        except subprocess.CalledProcessError as error:
            error.add_note(error.stderr[-2000:])
            raise

    def _daemon(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = dying_with_us([program, "-f", "-c", str(self._config), *arguments])
        self._daemons.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return self._daemons[-1]

    def _stop(self) -> None:
        # The gateway first: without its cluster it would wait for it. What the daemons hold is worth nothing.
        for daemon in reversed(self._daemons):
            daemon.kill()
            daemon.wait()
        self._folder.cleanup()


def _wait_for(port: int) -> None:
    end = time.monotonic() + 40
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return
