"""This machine: an identity that outlives a reboot, and one that does not."""

from __future__ import annotations

import functools
import hashlib
import os
import uuid

_MACHINE = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_BOOT = "/proc/sys/kernel/random/boot_id"


@functools.cache
def boot_id() -> str:
    """Another after each boot; constant where the system has none, since locks end with a boot anyway."""
    return _name(_read(_BOOT) or "no boot id")


@functools.cache
def machine_id() -> str:
    """The same for as long as the machine is installed.

    Hashed, as machine-id(5) asks for. A machine without one, mostly a
    container, goes by its boot; the last resort is a network address.
    """
    found = next((text for text in map(_read, _MACHINE) if text), None) or _read(_BOOT)
    return _name(found or f"{uuid.getnode():x}")


@functools.cache
def pid_space() -> int:
    """Which processes see each other's numbers: containers of one machine don't. 0 where there is but one space."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


@functools.cache
def host_name() -> str:
    """For people only."""
    return os.uname().nodename


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""


def _name(identity: str) -> str:
    return hashlib.blake2b(identity.encode(), digest_size=8, person=b"actorflow-1").hexdigest()
