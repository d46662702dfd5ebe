"""The account: however often tellers and the bank are killed, each deposit counts once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.examples.conftest import Start


def test_the_sum_is_exact_whoever_is_killed(start: Start) -> None:
    """Five processes send 300 deposits, some of them twice or thrice; one of them and the bank die on the way.

    Planted: deposits that are sent without an id make more of the money.
    """
    lines = start("-m", "bank_account", "300", "5")

    assert lines[:5] == [
        "10 tellers at 5 counters",
        "  75 deposits: kill counter 0",
        "  150 deposits: kill bank",
        "  225 deposits: kill counter 0",
        "4,650 were paid in by 300 deposits, and 4,650 are there",
    ]
    assert re.fullmatch(r"\d+ deposits a second", lines[5])
    assert lines[6:] == ["rejected: there are only 4,650", "1 left"]
