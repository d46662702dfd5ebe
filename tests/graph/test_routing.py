"""Routing: END, Goto, and the targets that an annotation names."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import pytest

from actorflow.graph.routing import END, End, Goto, targets_in


def some_node(state: object) -> None:
    """A function that can stand for a node."""


def test_end_shows_as_what_the_user_writes() -> None:
    """END looks the same in code and in messages, and a copy of it is END."""
    assert repr(END) == str(END) == "END"
    assert copy.deepcopy(END) is END
    assert isinstance(END, End)


def test_goto_keeps_its_targets_in_order_and_its_update() -> None:
    """What a node hands back is what the engine gets."""
    goto = Goto("a", some_node, END, update={"n": 1})

    assert goto.targets == ("a", some_node, END)
    assert goto.update == {"n": 1}
    assert repr(goto) == "Goto('a', some_node, END, update={'n': 1})"
    assert repr(Goto("a")) == "Goto('a')"


def test_goto_can_not_be_changed() -> None:
    """A Goto that was returned stays what it was."""
    with pytest.raises(AttributeError):
        Goto("a").update = {}  # type: ignore[misc]


@pytest.mark.parametrize(
    ("annotation", "targets"),
    [
        (Literal["a", "b"], ("a", "b")),
        (Literal["a"] | End, ("a", END)),
        (Literal["a", End.END], ("a", END)),
        (End, (END,)),
        (Literal["a"] | Literal["b", "a"], ("a", "b")),  # noqa: PYI030 - as aliases are combined
        (list[Literal["a", "b"]], ("a", "b")),
        (Sequence[Literal["a"]] | Literal["b"], ("a", "b")),
        (tuple[Literal["a"], ...], ("a",)),
        (tuple[Literal["a"], Literal["b"]], ("a", "b")),
    ],
)
def test_an_annotation_names_the_targets(annotation: Any, targets: tuple[str | End, ...]) -> None:
    """Literal, End, unions and sequences of them say where a branch may lead."""
    assert targets_in(annotation) == targets


@pytest.mark.parametrize(
    "annotation",
    [
        str,
        list[str],
        Literal["a"] | str,  # noqa: PYI051 - the point
        Literal[1],
        None,
        Literal["a"] | None,
        Any,
        dict[str, Literal["a"]],
    ],
)
def test_an_annotation_that_does_not_say_all_targets_says_none(annotation: Any) -> None:
    """Half an answer would let a branch lead where nothing was declared."""
    assert targets_in(annotation) is None
