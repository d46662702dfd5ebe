"""Declaring: what a graph is told of itself beside its nodes: edges, branches, how steps are undone, migrations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from actorflow.graph.declaration import Declaration, DeclaredBranch, DeclaredEdge
from actorflow.graph.message import Message
from actorflow.graph.migrate import Migration, Plain, migrate, migrations_of, register
from actorflow.graph.routing import NodeRef, Target
from actorflow.graph.schema import Schema, schema_of
from actorflow.graph.signature import site_of_caller
from actorflow.graph.state import State, Version
from actorflow.graph.undo import DeclaredUndo

if TYPE_CHECKING:
    from actorflow.graph.declaration import DeclaredNode
    from actorflow.graph.decorators import BranchDecorator
    from actorflow.graph.plan import Plan
    from actorflow.graph.retry import Retries

S = TypeVar("S", bound=State)
B = TypeVar("B", bound=Target | Sequence[Target])
U = TypeVar("U", bound=Callable[..., Any])


class Declaring(Generic[S]):
    """The part of a graph that takes down what is declared. Nothing is checked meanwhile."""

    def __init__(self, state_type: type[S], declaration: Declaration) -> None:
        self.state_type = state_type
        self._declaration = declaration
        self._compiled: tuple[Plan, tuple[str, ...]] | None = None  # as of the newest declaration

    @property
    def schema(self) -> Schema:
        """The State as the engine sees it, with the codecs of this graph."""
        return schema_of(self.state_type, self._declaration.types)

    def edge(self, source: NodeRef | Sequence[NodeRef], target: Target) -> None:
        """Declare an edge; from several sources a join, as with ``after=``. Loops are edges like any other."""
        self._compiled = None
        self._declaration.edges.append(DeclaredEdge(source, target, site_of_caller()))

    @overload
    def branch(
        self, fn: Callable[[S], B], /, *, after: NodeRef, to: Target | Sequence[Target] | None = None
    ) -> Callable[[S], B]: ...
    @overload
    def branch(self, /, *, after: NodeRef, to: Target | Sequence[Target] | None = None) -> BranchDecorator[S]: ...
    def branch(
        self,
        fn: Callable[[S], Any] | None = None,
        /,
        *,
        after: NodeRef,
        to: Target | Sequence[Target] | None = None,
    ) -> Any:
        """Declare a branch: a function that names the next nodes when ``after`` has finished.

        It is a plain function of the state with the node's update merged, pure
        and quick, and returns one target or a list of them. All branches and
        edges of a node contribute.

        Args:
            fn: the function, if this is not used as a decorator.
            after: the node after which it is asked.
            to: its targets, where the annotation (``-> Literal["publish", "revise"]``) does not say them.
        """

        def declare(fn: Callable[[S], Any]) -> Callable[[S], Any]:
            self._compiled = None
            self._declaration.branches.append(DeclaredBranch(fn, after, to))
            return fn

        return declare if fn is None else declare(fn)

    @overload
    def undo(self, fn: U, /, *, name: str | None = None, retry: Retries = None) -> U: ...
    @overload
    def undo(self, /, *, name: str | None = None, retry: Retries = None) -> Callable[[U], U]: ...
    def undo(self, fn: Any = None, /, *, name: str | None = None, retry: Retries = None) -> Any:
        """Declare a function that undoes what a step did: see ``undo=`` of `Context.step`.

        It takes the result of the step and, if it has a second parameter, a
        `Context`, whose ``idempotency_key`` is this undoing's own. A run finds it
        by its name, after any restart and under newer code: no code is stored.

        Args:
            fn: sync (it runs in a worker thread) or async. What it returns does not matter.
            name: the function's own by default; unique among the graphs of a run.
            retry: how it is tried again; a step whose undoing fails stays to be undone.

        Example:
            >>> from actorflow import Graph, State
            >>> class Trip(State):
            ...     city: str
            >>> trip = Graph("trip", Trip)
            >>> @trip.undo
            ... async def cancel_hotel(booking: str) -> None:
            ...     print("cancelled", booking)
        """

        def declare(fn: Any) -> Any:
            self._compiled = None
            self._declaration.undos.append(DeclaredUndo(fn, name, retry))
            return fn

        return declare if fn is None else declare(fn)

    @overload
    def migrate(self, function: Callable[[Any], Any], /) -> Migration: ...
    @overload
    def migrate(self, /, *, from_: Version, to: Version) -> Callable[[Callable[[Plain], Plain]], Migration]: ...
    def migrate(
        self,
        function: Callable[[Any], Any] | None = None,
        /,
        *,
        from_: Version | None = None,
        to: Version | None = None,
    ) -> Any:
        """Declare a migration and register it on this graph; else as the function `migrate`.

        Raises:
            DuplicateMigration: there is one between these versions already.
        """

        def declare(migration: Migration) -> Migration:
            migrations = [*self._declaration.migrations, migration]
            gives = migration.gives
            schema = schema_of(gives) if gives is not None and issubclass(gives, Message) else self.schema
            register(schema, migrations_of(schema, migrations))
            self._compiled = None
            self._declaration.migrations = migrations
            return migration

        if function is not None:
            return declare(migrate(function))
        if from_ is None or to is None:
            raise TypeError("say from_= and to=, or type the function from one versioned State to another")
        between = migrate(from_=from_, to=to)

        def declare_plain(plain: Callable[[Plain], Plain]) -> Migration:
            return declare(between(plain))

        return declare_plain

    def _declare(self, node: DeclaredNode) -> None:
        self._compiled = None
        self._declaration.nodes.append(node)
