"""Bad input, run ids: any string is kept apart from every other, or refused; none leads out of the store."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from actorflow import Runtime
from actorflow.errors import BadRunId, NoSuchRun
from tests.runtime.graphs import Trail, chain

REFUSED = {
    "": "empty",
    "a\0b": "NUL",
    "\ud800": "surrogate",
    "é" * 300: "600 bytes",
    "x" * 513: "513 bytes",
    unicodedata.normalize("NFD", "é"): "NFC",
}
HOSTILE = [
    ".",
    "..",
    "../../escape",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "*",
    "a*",
    "[a]",
    "?",
    "a",
    "A",
    "ǆ",
    "ǅ",
    "con",
    "CON",
    "nul.txt",
    ".tmp-x",
    "-rf",
    "~",
    "~h",
    "a.",
    "a ",
    " a",
    "\n",
    "\x1b[31mred",
    "\u202eabc",
    "x" * 512,
    "x" * 511 + "y",
    "é" * 256,
    "é",
    "e",
    "file.ckpt",
    "log",
]


@pytest.mark.parametrize(("run_id", "reason"), REFUSED.items(), ids=list(REFUSED.values()))
async def test_an_impossible_id_is_refused_wherever_it_is_given(store_url: str, run_id: str, reason: str) -> None:
    """`run`, `spawn`, `resume`, a handle and `verify` all say `BadRunId` with the reason, and no file is made."""
    async with Runtime(store_url) as runtime:
        before = _files(store_url)

        for attempt in (
            lambda: runtime.run(chain("a"), id=run_id),
            lambda: runtime.spawn(chain("a"), id=run_id),
            lambda: runtime.resume(chain("a"), run_id),
            lambda: runtime.get(run_id).status(),
            lambda: runtime.get(run_id).cancel(),
            lambda: runtime.verify(run_id),
        ):
            with pytest.raises(BadRunId, match=reason):
                await attempt()

        assert _files(store_url) == before
        assert await runtime.runs() == []


async def test_a_number_is_no_run_id(store_url: str) -> None:
    """It is the usual mistake: a row's primary key."""
    async with Runtime(store_url) as runtime:
        with pytest.raises(BadRunId, match="it is of type int, not str"):
            await runtime.run(chain("a"), id=5)  # type: ignore[arg-type]


async def test_hostile_ids_are_runs_like_any_other(store_url: str) -> None:
    """Each is its own run, listed under its own name, and every file stays below the root."""
    outside = Path(store_url).parent
    beside = set(outside.iterdir()) | {Path(store_url)}

    async with Runtime(store_url) as runtime:
        for number, run_id in enumerate(HOSTILE):
            await runtime.run(chain("a"), Trail(n=number), id=run_id)

        assert {info.id for info in await runtime.runs()} == set(HOSTILE)
        for number, run_id in enumerate(HOSTILE):
            assert (await runtime.get(run_id).at()).values["n"] == number
        assert await runtime.verify() == []
    assert set(outside.iterdir()) == beside
    runs = [path.name for path in (Path(store_url) / "runs").iterdir()]
    assert len({unicodedata.normalize("NFC", name.casefold()) for name in runs}) == len(HOSTILE)
    assert all(len(name) <= 100 for name in runs)


async def test_twins_in_case_and_form_do_not_find_each_other(store_url: str) -> None:
    """An id that differs only in case is no such run; one that differs in Unicode's form is refused."""
    async with Runtime(store_url) as runtime:
        await runtime.run(chain("a"), id="Éa")

        with pytest.raises(NoSuchRun, match="éa"):
            await runtime.resume(chain("a"), "éa")
        with pytest.raises(BadRunId, match="NFC"):
            await runtime.resume(chain("a"), unicodedata.normalize("NFD", "Éa"))


def _files(folder: str) -> set[Path]:
    return {path for path in Path(folder).rglob("*") if path.is_file()}
