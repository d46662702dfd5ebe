"""State: a versioned, immutable msgspec Struct, and what a node may return to change it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, dataclass_transform

from msgspec import Struct, StructMeta, field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.graph.migrate import Migration

Update = Mapping[str, Any]
"""What a node returns: new values, or what a field's reducer takes, by field name."""

Version = int | str


class StateMeta(StructMeta):
    """Gives `State` classes a schema name and version beside their fields."""

    schema_name: str
    schema_version: Version | None
    migrations: tuple[Migration, ...]

    def __new__(  # noqa: PYI034 - Self is not allowed in a metaclass
        mcls: type[StateMeta],
        class_name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        version: Version | None = None,
        name: str | None = None,
        migrations: Iterable[Migration] = (),
        **config: Any,
    ) -> StateMeta:
        """Make the class; ``version``, ``name`` and ``migrations`` are ours, the rest is msgspec's."""
        config.setdefault("kw_only", True)
        cls = super().__new__(mcls, class_name, bases, namespace, **config)
        cls.schema_name = class_name if name is None else name
        cls.schema_version = version
        cls.migrations = tuple(migrations)
        return cls


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
class State(Struct, metaclass=StateMeta, frozen=True, kw_only=True):
    """The data of a run. Subclass it; give it a version, so that saved runs can be migrated.

    Fields are typed and keyword-only; an instance never changes: a node returns
    an `Update`. A field with a reducer (``Annotated[T, reducer]``) merges what
    several nodes return, one without is overwritten.

    A schema is known in files by its name (``name=``; by default the bare name
    of the class, never its module) and its version (an int or a str; a State
    without version can't be migrated).

    Example:
        >>> from typing import Annotated
        >>> from actorflow import State, extend
        >>> class Mission(State, version=1):
        ...     destination: str
        ...     crew_size: int = 0
        ...     trace: Annotated[list[str], extend] = []
        >>> Mission(destination="Moon").crew_size
        0
    """
