"""README and docs say what happens: their code runs, and it prints what they show."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import NOTES, PAGES, ROOT, blocks, run_page

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_runs_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    """Every Python and shell block runs, in order, in an empty folder, and prints what the page shows."""
    run_page(page, tmp_path)


@pytest.mark.parametrize("page", NOTES, ids=lambda page: page.name)
def test_the_code_in_a_design_note_runs(page: Path, tmp_path: Path) -> None:
    """Design notes are held to their Python; their commands are for a checkout."""
    run_page(page, tmp_path, languages=("python",))


@pytest.mark.parametrize(
    "text",
    [
        "```python\nassert 1 == 2\n```\n",
        "```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n",
        "```sh\nfalse\ntrue\n```\n",
        "```python\nprint(1)\n```\n\n<!-- output -->\n```text\n2\n```\n",
        "```sh\necho 1 and more\n```\n\n<!-- output -->\n```text\n1 ...\n2\n```\n",
        "<!-- file: a.py -->\n```python\nprint(1)\n```\n```sh\npython a.py\n```\n<!-- output -->\n```text\n2\n```\n",
    ],
)
def test_a_page_that_is_wrong_is_found(text: str, tmp_path: Path) -> None:
    """The check can fail: each planted page says something that is not so."""
    (tmp_path / "planted.md").write_text(text, "utf-8")

    with pytest.raises(AssertionError):
        run_page(tmp_path / "planted.md", tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_fence_is_understood(page: Path) -> None:
    """No block is passed over in silence because its fence or the comment before it is misspelt."""
    text = page.read_text("utf-8")

    fences = [line for line in text.splitlines() if line.startswith(("```", "~~~"))][::2]
    marks = [line for line in text.splitlines() if line.startswith(("<!-- output", "<!-- file", "<!-- not run"))]

    plain = [fence for fence in fences if not fence.startswith("```{")]
    found = [*blocks(page)]
    assert [f"```{block.language}" for block in found] == plain
    assert {block.language for block in found} <= {"python", "sh", "text", "mermaid"}
    assert [f"<!-- {block.mark} -->" for block in found if block.mark] == marks


@pytest.mark.parametrize("system", ["LangGraph", "LangGraph4j", "OpenArmature", "SynapseKit", "Burr"])
def test_each_system_that_users_come_from_is_shown_beside_actorflow(system: str, tmp_path: Path) -> None:
    """Their code, which is not run here, and ours, which is; what is the same, what is better, what is not there."""
    sections = (ROOT / "docs/coming-from.md").read_text("utf-8").split("\n## ")
    (section,) = (text for text in sections if text.startswith(f"{system}\n"))
    (tmp_path / "section.md").write_text(section, "utf-8")

    marks = [(block.language, block.mark.partition(":")[0]) for block in blocks(tmp_path / "section.md")]

    assert marks[0][1] == "not run"
    assert ("python", "") in marks
    assert [part for part in ("**The same.**", "**Better.**", "**Not there.**") if part not in section] == []


def test_a_page_that_silences_the_log_does_so_for_itself(tmp_path: Path) -> None:
    """The tests after it hear what is logged."""
    (tmp_path / "planted.md").write_text("```python\nimport logging\n\nlogging.disable()\n```\n", "utf-8")

    run_page(tmp_path / "planted.md", tmp_path)

    assert logging.root.manager.disable == logging.NOTSET
