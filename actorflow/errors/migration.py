"""Errors of migrations: a saved state can't be brought to the code's version."""

from __future__ import annotations

from typing import Any

from actorflow.errors.root import ActorflowError


class MigrationError(ActorflowError):
    """A saved state can't be brought to the version of the code. Its files stay as they are."""

    def __init__(self, message: str, *, schema: str, found: Any, wanted: Any) -> None:
        super().__init__(message)
        self.schema = schema
        self.found = found
        self.wanted = wanted


class DuplicateMigration(MigrationError):
    """Two migrations were registered for the same pair of versions."""


class AmbiguousMigration(MigrationError):
    """Two chains of the same length lead from the saved version to the code's."""


class NoMigration(MigrationError, LookupError):
    """No chain of migrations leads from the saved version to the code's."""


class MigrationFailed(MigrationError):
    """A migration raised. The chain stopped there; ``__cause__`` is what it raised."""


class MigrationTimeout(MigrationError, TimeoutError):
    """A migration passed its time limit."""


class BadMigration(MigrationError, TypeError):
    """What a migration returned does not decode as the State it should be."""


class SchemaTooNew(MigrationError):
    """The checkpoint was written by a later version of the schema than the code knows."""


class SchemaDrift(MigrationError, TypeError):
    """Same schema and version, but the fields differ: give the changed State a new version."""
