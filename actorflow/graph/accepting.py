"""What a run accepts: the types of messages that its graph handles and that its nodes receive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct

from actorflow.errors import DuplicateMigration
from actorflow.graph.codec import problems_of_codecs
from actorflow.graph.message import problems_of_mailbox, problems_of_message
from actorflow.graph.migrate import migrations_of, register
from actorflow.graph.node import problems_of_parameters
from actorflow.graph.routing import label
from actorflow.graph.schema import Schema, schema_of
from actorflow.graph.signature import is_async, is_generator, placed, site_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actorflow.graph.declaration import Declaration, DeclaredNode
    from actorflow.graph.state import State


class Accepted(Struct, frozen=True):
    """The types of messages of a graph by their schema names, and what is wrong with them."""

    messages: Mapping[str, Schema]
    handlers: Mapping[str, str]  # the node that handles it; others are received
    problems: tuple[str, ...]


def accepted(declaration: Declaration, nodes: Mapping[str, DeclaredNode]) -> Accepted:
    """What a graph accepts.

    Args:
        declaration: the graph.
        nodes: what is declared as its nodes, handlers among them.
    """
    reading = _Reading(declaration)
    problems = list(problems_of_mailbox(declaration.mailbox))
    if declaration.lifetime not in ("run", "actor"):
        problems.append(
            f"lifetime={declaration.lifetime!r}: give 'run' (it ends with its last node) or 'actor' (it then waits "
            "for messages)"
        )
    problems = [f"the graph: {problem}" for problem in problems]
    for name, node in nodes.items():
        if node.message is not None:
            place = placed(f"node {name!r}", site_of(node.fn))
            problems += [f"{place}: {problem}" for problem in reading.handled(name, node.message)]
    given: object = declaration.messages
    if not isinstance(given, list | tuple):
        problems.append(f"the graph: messages={given!r}: give a list of types of messages")
        given = ()
    for type_ in cast("Sequence[object]", given):
        problems += [f"the graph, messages=: {problem}" for problem in reading.received(type_)]
    return Accepted(reading.messages, reading.handlers, (*problems, *reading.problems()))


class _Reading:
    """One pass over the types that a graph names."""

    def __init__(self, declaration: Declaration) -> None:
        self._declaration = declaration
        self._codecs = () if problems_of_codecs(declaration.types) else declaration.types
        self.messages: dict[str, Schema] = {}
        self.handlers: dict[str, str] = {}

    def handled(self, node: str, type_: Any) -> Iterator[str]:
        """Take in what a node handles, and say what is wrong with that."""
        found = list(self._added(type_))
        yield from found
        if found:
            return
        first = self.handlers.setdefault(type_.schema_name, node)
        if first != node:
            yield f"{type_.__name__} is handled already, by {first!r}; a type of messages has one handler"

    def received(self, type_: Any) -> Iterator[str]:
        """Take in what nodes receive, and say what is wrong with that."""
        found = list(self._added(type_))
        yield from found
        if not found and (node := self.handlers.get(type_.schema_name)) is not None:
            yield (
                f"{type_.__name__} is handled by {node!r}, so no node would ever receive one; "
                "take away one of the two, or declare two types"
            )

    def _added(self, type_: Any) -> Iterator[str]:
        problems = list(problems_of_message(type_))
        yield from problems
        if problems:
            return
        name, known = type_.schema_name, self.messages.get(type_.schema_name)
        if known is not None and known.state_type is not type_:
            yield f"there are two types {name!r}, and files tell them apart by name; say Message(..., name=) of one"
        elif name == getattr(self._declaration.state_type, "schema_name", None):
            yield f"the state is a {name!r}, too, and files tell them apart by name; say class ...(Message, name=)"
        elif known is None:
            self.messages[name] = schema_of(type_, self._codecs)

    def problems(self) -> Iterator[str]:
        """What is wrong with the fields and the migrations of the types."""
        for schema in self.messages.values():
            yield from schema.problems
            migrations = migrations_of(schema, self._declaration.migrations)
            try:
                register(schema, migrations)
            except DuplicateMigration as error:
                yield str(error)
            for migration in migrations:
                if migration.takes is not None:
                    yield from schema_of(migration.takes, self._codecs).problems


def problems_of_validate(validate: object, state_type: type[State], message: type[State] | None) -> Iterator[str]:
    """Why this can't say which messages are refused before they are accepted."""
    if validate is None:
        return
    if not callable(validate):
        yield f"validate={validate!r}: give a function (state, msg) that raises for what is to be refused"
    elif is_async(validate) or is_generator(validate):
        yield f"validate: {label(validate)} must be a plain sync function, pure and quick"
    else:
        problems = problems_of_parameters(validate, state_type, ("state", "msg"), message)
        yield from (f"validate: {problem}" for problem in problems)
