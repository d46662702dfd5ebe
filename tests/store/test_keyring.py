"""The keyring: where keys come from, and that they go nowhere."""

from __future__ import annotations

import base64
import copy
import pickle
import re
from typing import TYPE_CHECKING

import pytest

from actorflow.errors import BadKeyring, MissingKey
from actorflow.store.keyring import Keyring, new_key
from actorflow.store.sealing import Sealing

if TYPE_CHECKING:
    from pathlib import Path

SECRET = b"never to be seen by anybody else"
TEXT = base64.b64encode(SECRET).decode()


def test_the_first_key_writes_and_all_read() -> None:
    """Order is what rotation is made of."""
    keys = Keyring({"b": SECRET, "a": bytes(32)})

    assert keys.writer == "b"
    assert keys.key("a", "f") == bytes(32)
    assert "a" in keys
    with pytest.raises(MissingKey, match=r"f\.ckpt: .* key 'c'"):
        keys.key("c", "f.ckpt")


def test_keys_come_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several are parted by white space."""
    monkeypatch.setenv("ACTORFLOW_KEYS", f"{new_key('new')} old:{TEXT}\n")

    keys = Keyring.from_env()

    assert keys.writer == "new"
    assert keys.key("old", "f") == SECRET


def test_keys_come_from_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    """Mode 0600 or less, comments and empty lines allowed."""
    file = tmp_path / "keys"
    file.write_text(f"# since 2026\n\n{new_key('new')}\nold:{TEXT}\n")
    for mode in (0o644, 0o640, 0o606, 0o620):
        file.chmod(mode)
        with pytest.raises(BadKeyring, match="chmod 600"):
            Keyring.from_file(file)
    for mode in (0o600, 0o400):
        file.chmod(mode)

        assert Keyring.from_file(file).key("old", "f") == SECRET


def test_each_new_key_is_another() -> None:
    """32 random bytes under an id that can stand in a frame."""
    assert new_key("k") != new_key("k")
    assert re.fullmatch(r"k:[A-Za-z0-9+/]{43}=", new_key("k"))
    with pytest.raises(BadKeyring):
        new_key("a key")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is no key"),
        (TEXT, "entry 1 is not id:base64"),
        (f"ok:{TEXT} {TEXT}:ok", "the key of entry 2 is no base64"),
        (f"{TEXT}:{TEXT}", "entry 1 has no id"),
        (f":{TEXT}", "entry 1 has no id"),
        (f"{'k' * 65}:{TEXT}", "entry 1 has no id"),
        (f"k:{TEXT[:-4]}", "key 'k' has 30 bytes and not 32"),
        (f"k:{TEXT} k:{TEXT}", "key 'k' is there twice"),
        (f"k:{SECRET.hex()}", "key 'k' has 48 bytes"),
        ("k:\N{SNOWMAN}", "no base64"),
    ],
)
def test_what_is_no_key_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, reason: str
) -> None:
    """The place, the entry and the reason; never the text itself."""
    monkeypatch.setenv("KEYS", text)
    file = tmp_path / "keys"
    file.write_text(text, "utf-8")
    file.chmod(0o600)

    for load in (lambda: Keyring.from_env("KEYS"), lambda: Keyring.from_file(file)):
        with pytest.raises(BadKeyring, match=reason) as caught:
            load()
        assert TEXT[:12] not in repr(caught.value)
        assert SECRET.hex()[:12] not in repr(caught.value)


def test_a_keyring_that_is_not_there_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable or the file, and why."""
    monkeypatch.delenv("ACTORFLOW_KEYS", raising=False)

    with pytest.raises(BadKeyring, match=r"\$ACTORFLOW_KEYS: it is not set"):
        Keyring.from_env()
    with pytest.raises(BadKeyring, match="it can't be read: No such file"):
        Keyring.from_file(tmp_path / "keys")
    with pytest.raises(BadKeyring, match="there is no key"):
        Keyring({})
    with pytest.raises(BadKeyring, match="has 5 bytes"):
        Keyring({"k": b"short"})


def test_keys_are_never_shown_copied_or_pickled() -> None:
    """Only ids are in what is printed, also of what holds a keyring."""
    keys = Keyring({"new": SECRET, "old": bytes(32)})

    assert repr(keys) == "<Keyring: writes 'new', reads 'old'>"
    assert "never" not in repr(Sealing("mac", keys=keys)) + str(keys)
    for escape in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="never pickled"):
            escape(keys)
