"""What those heard who sent messages in a world, and what must be true of the actors that they sent them to."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.simulation.world import Process


class Heard:
    """All that senders tried and were told, by the label of the message, which is its id, too."""

    def __init__(self) -> None:
        self.senders: set[Process] = set()  # that have more to send
        self.tried: dict[str, Any] = {}  # how it is sent once more
        self.kept: set[str] = set()
        self.refused: set[str] = set()
        self.receipts: dict[str, list[list[int]]] = {}  # what was replied, each time that it was

    def violations(
        self, ledger: Mapping[str, Any], agent: Mapping[str, Any], clerks: Mapping[str, list[int]], dead: Iterable[str]
    ) -> list[str]:
        """What is wrong when all is over.

        Args:
            ledger: the values of its state.
            agent: of that.
            clerks: by name, the receipt that each got.
            dead: the labels of messages that nobody handled.
        """
        entries: list[str] = ledger["entries"]
        hired, forwarded = set(ledger["hired"]), agent["entries"]
        sent = {label for label in self.kept if label.startswith("entry") and label not in self.refused}
        sent |= {f"{name}.{number}" for name in hired for number in (1, 2, 3)} | set(forwarded)
        found = _differ("is written", sent, entries)
        found += _differ("was forwarded", {f"agent.{one}" for one in self.kept if one.startswith("agent")}, forwarded)
        found += _differ("was hired", {label for label in self.kept if label.startswith("clerk")}, ledger["hired"])
        found += _differ("rang", {label for label in self.kept if label.startswith("alarm")}, ledger["rang"])
        found += _differ("was told", {f"{name} finished" for name in hired}, ledger["downs"])
        found += [f"{label} is dead" for label in dead if label not in self.refused]
        for lane in (forwarded, *([f"{name}.{number}" for number in (1, 2, 3)] for name in sorted(hired))):
            came = [label for label in entries if label in lane]
            found += [f"{came} came out of order: {lane}"] if came != [one for one in lane if one in came] else []
        told = {label: receipts for label, receipts in self.receipts.items() if label.startswith("entry")}
        told |= {f"agent.{label}": receipts for label, receipts in self.receipts.items() if label.startswith("agent")}
        told |= {f"{name}.3": [receipt] for name, receipt in clerks.items()}
        for label, receipts in told.items():
            at = entries.index(label) + 1 if label in entries else None
            same = all(receipt == receipts[0] for receipt in receipts)
            found += (
                [f"{label} has place {at}, and {receipts} were told"] if not same or receipts[0][:1] != [at] else []
            )
        return found


def _differ(what: str, expected: set[str], found: list[str]) -> list[str]:
    """What is missing, what is there twice, and what nobody wanted."""
    return (
        [f"{label} never {what}" for label in sorted(expected - set(found))]
        + [f"{label} {what} {times} times" for label, times in sorted(Counter(found).items()) if times > 1]
        + [f"{label} {what}, and must not be" for label in sorted(set(found) - expected)]
    )
