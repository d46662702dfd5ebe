"""Lanes and callers: what a run takes, decided from names, marks and a window alone."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack

from actorflow.errors import BadCallerId, WindowFull
from actorflow.store import keys
from actorflow.store.callers import HOUR, Limits, Window, caller_number, content_digest
from actorflow.store.keys import Letter, caller_name
from actorflow.store.lanes import Mark, Marks, header_marks, news, passed, past, switching, take
from tests.models.lanes import Rules, decide
from tests.store.test_keys import LEGAL

NUMBERS = st.integers(0, keys.MAX_NUMBER)
SENDERS = LEGAL.map(keys.encode_id) | LEGAL.map(lambda caller: caller_name("r", caller))
LETTERS = st.builds(Letter, LEGAL.map(keys.encode_id), SENDERS, NUMBERS, NUMBERS)


def letter(sender: str, number: int, generation: int = 1) -> Letter:
    """A letter to run r."""
    return Letter("r", sender, generation, number)


def numbers(letters: tuple[Letter, ...]) -> list[tuple[str, int, int]]:
    """Senders, generations and numbers."""
    return [(found.sender, found.generation, found.number) for found in letters]


# -- names ------------------------------------------------------------------------


@given(LETTERS, LETTERS)
def test_two_letters_never_share_a_key(one: Letter, other: Letter) -> None:
    """Also not on file systems that fold case; and each key gives its letter back, in the inbox as among the dead."""
    assert (keys.inbox_key(one) == keys.inbox_key(other)) == (one == other)
    assert keys.parse_letter(keys.inbox_key(one)) == one == keys.parse_letter(keys.dead_key(one))
    assert re.fullmatch(r"inbox/[0-9a-f]{2}/[a-z0-9~._-]{1,243}", keys.inbox_key(one))


@given(st.text(alphabet="a~-0.", min_size=1, max_size=12), st.text(alphabet="a~-0.", min_size=1, max_size=12))
def test_a_separator_beside_an_encoded_id_is_no_ambiguity(run_id: str, sender: str) -> None:
    """Ids made of separators are the ones that could be misread."""
    sent = Letter(keys.encode_id(run_id), keys.encode_id(sender), 1, 2)

    assert keys.parse_letter(keys.inbox_key(sent)) == sent


def test_what_is_no_letter_is_passed_over() -> None:
    """A stranger's file; one in another run's shard; numbers that nobody writes."""
    good = keys.inbox_key(letter("s", 1))
    folder, _, name = good.rpartition("/")

    for key in (
        "inbox/README",
        f"inbox/{name}",
        f"inbox/00/{name}",
        f"{folder}/deep/{name}",
        good[:-1],
        good.replace("~s~", "~S~"),
        good.replace("~s~", "~~"),
        good.replace("~s~", "~s~s~"),
        f"{folder}/r~s~{'9' * 20}~{1:020d}",
        good.replace("inbox", "outbox"),
    ):
        assert keys.parse_letter(key) is None, key


# -- taking -----------------------------------------------------------------------


def test_only_the_number_after_the_mark_is_taken() -> None:
    """What has a gap before it waits; what is behind the mark may go."""
    marks = Marks({"a": Mark(1, 2)})

    taking = take(marks, [letter("a", 5), letter("a", 3), letter("a", 1), letter("a", 2), letter("b", 2)])

    assert numbers(taking.taken) == [("a", 1, 3)]
    assert taking.marks == Marks({"a": Mark(1, 3)})
    assert numbers(taking.deletable) == [("a", 1, 1), ("a", 1, 2)]
    assert taking.dead == ()


def test_a_newer_generation_waits_for_what_is_contiguous_in_the_old_one() -> None:
    """What the switch leaves behind is dead with the next taking, when the switch is committed, and not before."""
    there = [letter("a", 1, 2), letter("a", 2, 2), letter("a", 1), letter("a", 2), letter("a", 4)]

    first = take(Marks(), there)
    second = take(first.marks, there)

    assert numbers(first.taken) == [("a", 1, 1), ("a", 1, 2), ("a", 2, 1), ("a", 2, 2)]
    assert (first.dead, first.deletable) == ((), ())
    assert second.taken == ()
    assert numbers(second.dead) == [("a", 1, 1), ("a", 1, 2), ("a", 1, 4)]
    assert numbers(second.deletable) == [("a", 2, 1), ("a", 2, 2)]


def test_a_generation_is_not_begun_in_its_middle() -> None:
    """Its first number decides."""
    assert take(Marks(), [letter("a", 2, 2)]).taken == ()
    assert switching(Marks(), [letter("a", 2, 2), letter("a", 1)]) == frozenset()
    assert switching(Marks(), [letter("a", 1, 2)]) == {letter("a", 1, 2)}
    assert switching(Marks({"a": Mark(2, 7)}), [letter("a", 1, 2)]) == frozenset()


@given(st.integers(0, 12))
def test_a_limit_cuts_every_lane_at_a_place_where_it_can_go_on(limit: int) -> None:
    """Lanes get their turns in rotation, and no limit changes what is taken in the end."""
    there = [letter(sender, number) for sender, most in (("a", 7), ("b", 2), ("c", 1)) for number in range(1, most + 1)]
    there += [letter("b", 1, 2)]

    first = take(Marks(), there, limit=limit)
    rest = take(first.marks, there)

    assert len(first.taken) == min(limit, 11)
    assert {found.sender for found in first.taken} == {"a", "b", "c"} or limit < 3
    assert sorted(first.taken + rest.taken) == sorted(there)
    assert rest.marks == Marks({"a": Mark(1, 7), "b": Mark(2, 1), "c": Mark(1, 1)})
    assert limit < 4 or not [found for found in rest.dead if found in rest.taken]


def test_messages_of_callers_stand_in_no_lane() -> None:
    """Their numbers are times."""
    called = letter(caller_name("r", "id"), caller_number(1e9), 0)

    assert take(Marks(), [called]) == take(Marks(), [])


def test_marks_go_forward_one_by_one() -> None:
    """The fold of what was taken refuses what `take` would not have given."""
    marks = Marks().passed(letter("a", 1)).passed(letter("a", 2)).passed(letter("a", 1, 3))

    assert marks == Marks({"a": Mark(3, 1)})
    for wrong in (letter("a", 1, 3), letter("a", 3, 3), letter("a", 3), letter("a", 2, 4), letter("b", 2)):
        with pytest.raises(ValueError, match=r"can't be taken after"):
            marks.passed(wrong)


@given(st.dictionaries(SENDERS, st.builds(Mark, st.integers(1, 9), st.integers(0, 9)), max_size=5), st.randoms())
def test_equal_marks_have_equal_digests(lanes: dict[str, Mark], random: object) -> None:
    """Whatever order they came in; and they survive being stored."""
    shuffled = list(lanes.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    marks = Marks(lanes)

    assert Marks(dict(shuffled)).digest() == marks.digest()
    assert msgpack.decode(msgpack.encode(marks), type=Marks) == marks
    assert marks.passed(letter("another", 1)).digest() != marks.digest()


# -- the header -------------------------------------------------------------------


def test_a_sleeper_is_not_woken_for_what_it_has_taken() -> None:
    """However long the file stays, and if it comes back; but for what comes next."""
    marks = Marks({"a": Mark(2, 3)})
    left = letter(caller_name("r", "x"), 77, 0)
    said = header_marks(marks, [left, letter("a", 3, 2)])

    for old in ([], [letter("a", 3, 2)], [letter("a", 1, 2), left], [letter("a", 9, 1)], [letter("a", 5, 2)]):
        assert not news(said, old), old
    for new in (letter("a", 4, 2), letter("a", 1, 3), letter("b", 1), left._replace(number=78)):
        assert news(said, [left, new]), new


def test_a_deleted_runs_marks_pass_what_goes_with_it() -> None:
    """Up to the last of each lane, of its newest generation; what a lane had come to before, if that is further."""
    marks = Marks({"a": Mark(1, 5), "b": Mark(2, 1)})
    there = [letter("a", 4), letter("a", 7), letter("b", 9), letter("c", 1), letter("c", 1, 3), letter("-x", 8)]

    after = past(marks, there)

    assert after.lanes == {"a": (1, 7), "b": (2, 1), "c": (3, 1)}
    assert past(after, there) == after
    assert passed(header_marks(after), [*there, letter("a", 8), letter("d", 1)]) == there[:-1]


def test_what_a_header_does_not_tell_is_not_passed() -> None:
    """It stays, and who takes it knows the marks."""
    many = Marks({f"s{n}": Mark(1, 9) for n in range(2_000)})

    assert passed(header_marks(many), [letter("s1", 1)]) == passed(b"?", [letter("s1", 1)]) == []


def test_a_header_that_does_not_tell_wakes() -> None:
    """No marks in it, too many for it, or of a later kind: better once for nothing than never."""
    many = Marks({f"s{number}": Mark(1, 1) for number in range(2000)})

    assert len(header_marks(many)) < 100 < len(header_marks(Marks({"a": Mark()})) * 20)
    for said in (b"", header_marks(many), msgpack.encode({"later": 1})):
        assert news(said, [letter("s1", 1)])
        assert not news(said, [])


# -- callers ----------------------------------------------------------------------


def admit(window: Window, *names: str, now: float, limits: Limits, present: tuple[str, ...] = ()) -> Window:
    """These ids, one after the other."""
    for name in names:
        window = window.admitting(name, content_digest(b""), run_id="r", now=now, present=present, limits=limits)
    return window


def test_an_id_counts_once_and_for_one_content() -> None:
    """Sent again it was seen; with another content it is a misuse."""
    window = Window().admitting("x", content_digest(b"1"), run_id="r", now=1.0)

    verdicts = [window.verdict(*said) for said in (("x", content_digest(b"1")), ("x", b"other"), ("y", b"other"))]

    assert verdicts == ["seen", "conflict", "new"]


def test_a_full_window_refuses_rather_than_forgets() -> None:
    """Until the oldest has been there for T hours; then it goes, and no more than must."""
    limits = Limits(ids=3, hours=1.0)
    window = admit(Window(), "a", "b", now=100.0, limits=limits)
    window = admit(window, "c", now=200.0, limits=limits)

    with pytest.raises(WindowFull, match=r"3 messages .* within 1 h") as caught:
        admit(window, "d", now=99.0 + HOUR, limits=limits)

    assert caught.value.wait == pytest.approx(1.0)
    assert list(admit(window, "d", now=100.0 + HOUR, limits=limits).ids) == ["b", "c", "d"]
    assert list(window.ids) == ["a", "b", "c"]


def test_the_last_ids_are_remembered_however_old() -> None:
    """Age alone forgets nothing: at least N are kept."""
    limits = Limits(ids=3, hours=1.0)

    window = admit(admit(Window(), "a", "b", now=0.0, limits=limits), "c", now=1e9, limits=limits)

    assert list(window.ids) == ["a", "b", "c"]


def test_an_id_whose_file_is_still_there_is_not_forgotten() -> None:
    """It would be taken again. The next oldest goes instead, if it may."""
    limits = Limits(ids=2, hours=1.0)
    window = admit(Window(), "a", "b", now=0.0, limits=limits)

    later = admit(window, "c", now=2 * HOUR, present=("a",), limits=limits)

    assert list(later.ids) == ["a", "c"]
    with pytest.raises(WindowFull):
        admit(window, "c", now=2 * HOUR, present=("a", "b"), limits=limits)


def test_a_clock_that_is_set_back_forgets_nothing_early() -> None:
    """Times in the window never decrease."""
    limits = Limits(ids=2, hours=1.0)
    window = admit(Window(), "a", now=10 * HOUR, limits=limits)
    window = admit(window, "b", now=2 * HOUR, limits=limits)

    assert [seen.time for seen in window.ids.values()] == [10 * HOUR, 10 * HOUR]
    with pytest.raises(WindowFull):
        admit(window, "c", now=3.5 * HOUR, limits=limits)


@pytest.mark.parametrize("wrong", [{"ids": 0}, {"hours": -1.0}, {"hours": float("nan")}])
def test_a_window_that_remembers_nothing_is_refused(wrong: dict[str, float]) -> None:
    """Its messages would count as often as they come."""
    with pytest.raises(ValueError, match="remembers nothing"):
        Limits(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("caller", "problem"), [("", "empty"), ("\ud800", "surrogate"), ("x" * 513, "513"), (7, "of type int")]
)
def test_an_impossible_id_is_refused(caller: str, problem: str) -> None:
    """The error names the run and says what is wrong."""
    with pytest.raises(BadCallerId, match=problem) as caught:
        caller_name("r", caller)

    assert caught.value.run_id == "r"


def test_numbers_of_callers_sort_by_time_and_never_repeat() -> None:
    """The same id at another time is another file."""
    made = [caller_number(1.7e9 + step) for step in range(1000)]

    assert made == sorted(set(made))
    assert all(number <= keys.MAX_NUMBER for number in (*made, caller_number(4e9)))


# -- the model --------------------------------------------------------------------


def test_the_code_decides_as_the_model_does() -> None:
    """What was proved of the model is true of `take`: every mark and every listing of two generations of three."""
    names = [(generation, number) for generation in (1, 2) for number in (1, 2, 3)]
    marks = [(1, number) for number in range(4)] + [(2, number) for number in range(1, 4)]

    for mark, chosen in itertools.product(marks, itertools.product((False, True), repeat=len(names))):
        listing = [name for name, there in zip(names, chosen, strict=True) if there]
        model = decide(Rules(), mark, listing)
        taking = take(Marks({"s": Mark(*mark)}), [letter("s", number, generation) for generation, number in listing])
        assert [(found.generation, found.number) for found in taking.taken] == model.taken
        assert [(found.generation, found.number) for found in taking.dead] == model.dead
        assert [(found.generation, found.number) for found in taking.deletable] == model.deletable
        assert tuple(taking.marks.of("s")) == model.mark
