"""Golden states: what was released stays readable, and what does not is told with its file and its reason."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import pytest

from actorflow import Codec, Graph, Message, Migration, Runtime, State, migrate
from actorflow.errors import MigrationError
from actorflow.testing import assert_migrates, save_golden

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Mission1(State, version=1, name="Mission"):
    """As it was released first."""

    goal: str
    crew: set[str] = set()
    launch: dt.datetime | None = None


@migrate(from_=1, to=2)
def rename(old: dict[str, Any]) -> dict[str, Any]:
    """The goal is called destination."""
    return {"destination": old["goal"], "crew": old["crew"], "launch": old["launch"]}


class Mission2(State, version=2, name="Mission", migrations=[rename]):
    """As it was released then."""

    destination: str
    crew: set[str] = set()
    launch: dt.datetime | None = None


@migrate(from_=2, to=3)
def add_risk(old: dict[str, Any]) -> dict[str, Any]:
    """A field more."""
    return {**old, "risk": 0.5}


def mission(*migrations: Migration) -> type[State]:
    """The State of now."""

    class Mission(State, version=3, migrations=migrations):
        destination: str
        risk: float
        crew: set[str] = set()
        launch: dt.datetime | None = None

    return Mission


NOON = dt.datetime(2030, 1, 1, 12, tzinfo=dt.UTC)
OLD = Mission1(goal="Moon", crew={"Ada", "Grace"}, launch=NOON)


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A folder with a state of each version."""
    save_golden(OLD, tmp_path)
    save_golden(Mission2(destination="Mars"), tmp_path)
    save_golden(mission()(destination="Venus", risk=1.0), tmp_path)  # type: ignore[call-arg]
    return tmp_path


def complaint(check: Callable[[], None]) -> str:
    """What it says is wrong."""
    with pytest.raises(AssertionError) as caught:
        check()
    return str(caught.value)


def test_states_of_all_versions_become_states_of_the_present_one(golden: Path) -> None:
    """Through as many migrations as it takes, and with the values that a file beside them says."""
    (golden / "Mission-1.json").write_text(
        '{"destination": "Moon", "risk": 0.5, "crew": ["Grace", "Ada"], "launch": "2030-01-01T12:00:00Z"}'
    )

    assert_migrates(mission(rename, add_risk), golden)

    assert sorted(path.name for path in golden.glob("*.golden")) == [
        "Mission-1.golden",
        "Mission-2.golden",
        "Mission-3.golden",
    ]


def test_planted_a_migration_that_loses_something_is_told(golden: Path) -> None:
    """Planted: the crew stays behind. Only what is expected can tell, since no field is missing."""

    @migrate(from_=1, to=2)
    def careless(old: dict[str, Any]) -> dict[str, Any]:
        return {"destination": old["goal"]}

    (golden / "Mission-1.json").write_text('{"crew": ["Ada", "Grace"]}')

    text = complaint(lambda: assert_migrates(mission(careless, add_risk), golden))

    assert text.startswith(f"golden states of 'Mission' in {golden}, at version 3:\n  - Mission-1.golden: ")
    assert "field 'crew' is set(), and Mission-1.json expects" in text
    assert text.count("\n") == 1


def test_all_that_is_wrong_is_told_at_once(golden: Path) -> None:
    """Each with its file and its reason."""

    @migrate(from_=1, to=2)
    def raising(old: dict[str, Any]) -> dict[str, Any]:
        return {"destination": old["no such field"]}

    @migrate(from_=2, to=3)
    def forgetful(old: dict[str, Any]) -> dict[str, Any]:
        return old

    text = complaint(lambda: assert_migrates(mission(raising, forgetful), golden))

    first, *rest = text.splitlines()[1:]
    assert "Mission-1.golden" in first
    assert "raised KeyError('no such field')" in first
    assert "Mission-2.golden" in rest[0]
    assert "risk" in rest[0]


def test_a_version_that_no_migration_leads_from_is_told(golden: Path) -> None:
    """With what is to be written."""
    text = complaint(lambda: assert_migrates(mission(add_risk), golden))

    assert "Mission-1.golden: no migration of 'Mission' leads from version 1 to 3" in text
    assert text.count("\n") == 1


def test_a_state_of_a_later_version_is_told(golden: Path) -> None:
    """The code was rolled back, and the folder was not."""
    text = complaint(lambda: assert_migrates(Mission2, golden))

    assert "Mission-3.golden: the checkpoint has version 3 of 'Mission', this code only knows 2" in text


def test_fields_that_changed_without_a_new_version_are_told(golden: Path) -> None:
    """The mistake that golden states are kept for; a field with a default may be added."""

    class More(State, version=2, name="Mission", migrations=[rename]):
        destination: str
        crew: set[str] = set()
        launch: dt.datetime | None = None
        note: str = ""

    class Other(State, version=2, name="Mission", migrations=[rename]):
        destination: int
        crew: set[str] = set()

    (golden / "Mission-3.golden").unlink()

    assert_migrates(More, golden)
    text = complaint(lambda: assert_migrates(Other, golden))

    assert "Mission-2.golden" in text
    assert "destination" in text


def test_a_present_version_that_was_never_kept_is_told(golden: Path) -> None:
    """With how to keep one: otherwise nothing would be tested when the next version comes."""
    (golden / "Mission-3.golden").unlink()

    text = complaint(lambda: assert_migrates(mission(rename, add_risk), golden))

    assert "none of version 3, which is the present one (there are of 1, 2)" in text
    assert f'save_golden(Mission(...), "{golden}")' in text


def test_a_folder_without_any_is_told(tmp_path: Path) -> None:
    """Also one that is not there: a misspelt folder must not pass."""
    assert "there is none of version 1" in complaint(lambda: assert_migrates(Mission1, tmp_path / "nowhere"))


def test_a_state_that_was_renamed_is_told(golden: Path) -> None:
    """Its saved runs would be refused, too."""

    class Journey(State, version=3):
        destination: str

    assert "there are of 'Mission': was it renamed?" in complaint(lambda: assert_migrates(Journey, golden))


@pytest.mark.parametrize(
    ("data", "says"), [(b"", "damaged"), (b"\x01", "damaged"), (b'["?"]', "damaged"), (b"\xc1", "damaged")]
)
def test_a_damaged_file_is_told(golden: Path, data: bytes, says: str) -> None:
    """And not taken for one of another schema."""
    (golden / "Mission-1.golden").write_bytes(data)

    assert f"Mission-1.golden: it is no golden state, or {says}" in complaint(
        lambda: assert_migrates(mission(rename, add_risk), golden)
    )


def test_a_file_cut_anywhere_is_told(golden: Path) -> None:
    """Whatever is left of it."""
    path = golden / "Mission-1.golden"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert "Mission-1.golden" in complaint(lambda: assert_migrates(mission(rename, add_risk), golden))


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "must be a JSON object"), ("[]", "must be a JSON object"), ('{"crew": 5}', "'crew'"), ('{"x": 1}', "'x'")],
)
def test_expectations_that_are_none_are_told(golden: Path, text: str, says: str) -> None:
    """A typing error in them is no success."""
    (golden / "Mission-2.json").write_text(text)

    said = complaint(lambda: assert_migrates(mission(rename, add_risk), golden))

    assert "Mission-2.json" in said
    assert says in said


def test_a_golden_state_is_never_replaced(tmp_path: Path) -> None:
    """The same one again is fine; another one takes a label, and another shape another version."""
    path = save_golden(OLD, tmp_path)

    assert save_golden(OLD, tmp_path) == path
    with pytest.raises(FileExistsError, match="label="):
        save_golden(Mission1(goal="Mars"), tmp_path)
    assert save_golden(Mission1(goal="Mars"), tmp_path, label="far away/1").name == "Mission-1-far away%2F1.golden"
    assert_migrates(Mission1, tmp_path)


def test_a_state_without_a_version_is_refused(tmp_path: Path) -> None:
    """It could never be migrated."""

    class Plain(State):
        n: int = 0

    with pytest.raises(ValueError, match="has no version"):
        save_golden(Plain(), tmp_path)
    with pytest.raises(ValueError, match="has no version"):
        assert_migrates(Plain, tmp_path)
    assert list(tmp_path.iterdir()) == []


class Money:
    """Of a type that msgspec does not know."""

    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and self.cents == other.cents

    __hash__ = None  # type: ignore[assignment]


def test_a_graph_has_codecs_and_migrations_of_its_own(tmp_path: Path) -> None:
    """They are used as for its runs; without it a State of such types is refused."""

    class Order1(State, version=1, name="Order"):
        price: Money

    class Order(State, version=2):
        total: Money
        rate: float = math.nan

    codec = Codec(Money, lambda money: money.cents, Money)
    old = Graph("shop", Order1, types=[codec])
    new = Graph("shop", Order, types=[codec])

    @new.migrate(from_=1, to=2)
    def total(before: dict[str, Any]) -> dict[str, Any]:
        return {"total": before["price"], "rate": math.nan}

    save_golden(Order1(price=Money(5)), tmp_path, graph=old)
    save_golden(Order(total=Money(7)), tmp_path, graph=new)
    (tmp_path / "Order-1.json").write_text('{"total": 5}')

    assert_migrates(new, tmp_path)
    with pytest.raises(ValueError, match="needs a graph, for its codecs"):
        assert_migrates(Order, tmp_path)


def test_a_message_is_a_state(tmp_path: Path) -> None:
    """What waits in an inbox for days must be read by the code of then."""

    class Deposit1(Message, version=1, name="Deposit"):
        amount: int

    @migrate(from_=1, to=2)
    def in_cents(old: dict[str, Any]) -> dict[str, Any]:
        return {"cents": old["amount"] * 100}

    class Deposit(Message, version=2, migrations=[in_cents]):
        cents: int

    save_golden(Deposit1(amount=3), tmp_path)
    save_golden(Deposit(cents=1), tmp_path)
    (tmp_path / "Deposit-1.json").write_text('{"cents": 300}')

    assert_migrates(Deposit, tmp_path)


@migrate(from_=1, to=3)
def broken(old: dict[str, Any]) -> dict[str, Any]:
    """It never worked."""
    raise ArithmeticError("broken")


@pytest.mark.parametrize("edges", [(rename, add_risk), (broken,), (add_risk,)])
async def test_it_is_what_becomes_of_a_saved_run(golden: Path, store_url: str, edges: tuple[Migration, ...]) -> None:
    """The same state, as a golden one and as that of a run: equal, or refused for the same reason."""

    async def stay(state: Any) -> None:
        return None

    before, now = Graph("mission", Mission1), Graph("mission", mission(*edges))
    for graph in (before, now):
        graph.node(stay)
    (golden / "Mission-1.json").write_text('{"destination": "Moon", "risk": 0.5, "crew": ["Ada", "Grace"]}')

    async with Runtime(store_url) as rt:
        await rt.run(before, OLD, id="x")
    async with Runtime(store_url, graphs=[now], readonly=True) as rt:
        became: Any = None
        refused = ""
        try:
            became = await rt.get("x").result()
        except MigrationError as error:
            refused = f"Mission-1.golden: {error}"

    if refused:
        assert refused in complaint(lambda: assert_migrates(now, golden))
    else:
        assert_migrates(now, golden)
        assert (became.destination, became.risk, became.crew) == ("Moon", 0.5, {"Ada", "Grace"})
    assert bool(refused) == (edges != (rename, add_risk))
