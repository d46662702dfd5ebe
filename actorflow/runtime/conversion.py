"""Conversion: saved values, in the schema that they were saved in, become values of the code's."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from actorflow.engine.operations import Grown, thaw
from actorflow.engine.records import Handed
from actorflow.engine.run import Form
from actorflow.errors import MigrationTimeout, SchemaDrift
from actorflow.graph.migrate import chain, check_table, migrations_of, upgrade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actorflow.engine.operations import Values
    from actorflow.engine.run import Activation, RunState, Scope, Token
    from actorflow.graph.migrate import Migration
    from actorflow.graph.schema import Schema

T = TypeVar("T")


def form_of(schema: Schema) -> Form:
    """What is said of a schema beside what is saved in it."""
    return Form(schema.name, schema.version, schema.table)


class MustMigrate(Exception):
    """Something is in another form than the code's, and this is no place to call a user's code, which may take long.

    Nothing has happened: it is done again, where nobody waits for it but who asked.
    """


class Conversion:
    """From one form of a schema to the code's."""

    def __init__(
        self, schema: Schema, form: Form, migrations: Iterable[Migration], *, time_limit: float | None
    ) -> None:
        """Find the way.

        Args:
            schema: the code's.
            form: as saved.
            migrations: in addition to those of the State.
            time_limit: seconds that a conversion may take; None: nothing is converted here (`MustMigrate`).

        Raises:
            MigrationError: there is no way from the saved version to the code's.
        """
        self._schema, self._form, self._time_limit = schema, form, time_limit
        self._migrates = form.name == schema.name and form.version != schema.version
        if not self._migrates:
            check_table(schema, form.fields, found_name=form.name, found_version=form.version)
            return
        if form.version is None or schema.version is None:
            raise self._drift(
                f"{schema.name!r} has no version {'in the checkpoint' if form.version is None else 'in the code'}, "
                "so it can't be migrated; declare State(..., version=)"
            )
        self._steps = chain(schema, form.version, migrations_of(schema, migrations))

    def values(self, values: Values) -> Values:
        """Saved values as the code has them.

        Raises:
            MigrationError: the migrations fail, or end in something that is no such State.
            MustMigrate: see ``time_limit``.
        """
        if self._time_limit is None:
            raise MustMigrate
        if not self._migrates:
            return _with_defaults(self._schema, values)
        plain = {name: thaw(value) for name, value in values.items()}
        return self._within(lambda: upgrade(self._schema, self._steps, plain))

    def scope(self, run: RunState, scope: Scope) -> None:
        """Everything in a scope: its values, the bases of what is open in it, and what is said of its fields."""
        done: dict[int, Values] = {}
        before: list[Values] = []  # keeps the ids apart while converting

        def once(values: Values) -> Values:  # what was shared stays shared
            if id(values) not in done:
                before.append(values)
                done[id(values)] = self.values(values)
            return done[id(values)]

        old = scope.values
        scope.handed = {name: self.updates(updates, old) for name, updates in scope.handed.items()}
        scope.values = once(old)
        scope.size = None  # to be measured anew
        if scope.before is not None:
            scope.before = once(scope.before)
        for one in list(run.open_in(scope.path)):
            base, one.base = one.base, once(one.base)
            if one.id in run.fans:
                _keep_items(run, one, base)
        self._widen(run, scope)

    def updates(self, kept: Iterable[Handed], values: Values) -> list[Handed]:
        """Updates that are to be merged later: each as the migrations make it where it stands for its whole field.

        Raises:
            SchemaDrift: they can't say what becomes of one.
        """
        return [self._update(one, values) for one in kept]

    def _update(self, one: Handed, values: Values) -> Handed:
        text = {name: text for name, text, _ in self._form.fields}.get(one.field)
        field = self._schema.fields.get(one.field)
        if field is not None and not self._migrates:
            return one
        if field is not None and one.mark in ("", "="):
            return Handed(one.field, one.mark, thaw(self.values({**values, one.field: one.value})[one.field]))
        if field is not None and field.type_text == text:  # of keys and parts nothing else is known
            return one
        raise self._drift(
            f"{self._schema.name!r}: field {one.field!r} has updates that are still to be merged, and a migration "
            f"can't say what becomes of them; keep the field ({text}) until no run has any, or let the run finish "
            "under the code that began it"
        )

    def _widen(self, run: RunState, scope: Scope) -> None:
        """A write to a field that is gone may have gone into any of the new ones."""
        known = frozenset(self._schema.fields)
        added = known - {name for name, _, _ in self._form.fields}

        def wide(names: frozenset[str]) -> frozenset[str]:
            return (names & known) | added if names - known else names

        holders: list[Activation | Token] = [*run.open_in(scope.path), *run.tokens_in(scope.path)]
        for holder in holders:
            holder.unseen = wide(holder.unseen)
        for one in run.open_in(scope.path):
            one.turned = wide(one.turned)
        scope.written = wide(scope.written)

    def _drift(self, message: str) -> SchemaDrift:
        return SchemaDrift(message, schema=self._schema.name, found=self._form.version, wanted=self._schema.version)

    def _within(self, work: Callable[[], T]) -> T:
        """The result of user code that may hang. Past its limit it is left behind in a daemon thread."""
        results: list[T] = []
        errors: list[BaseException] = []

        def body() -> None:
            try:
                results.append(work())
            except BaseException as error:  # noqa: BLE001 - re-raised in the caller's thread
                errors.append(error)

        thread = threading.Thread(target=body, name="actorflow-migration", daemon=True)
        thread.start()
        thread.join(self._time_limit)
        if errors:
            raise errors[0]
        if not results:
            name, found, wanted = self._schema.name, self._form.version, self._schema.version
            raise MigrationTimeout(
                f"the migration of {name!r} from {found!r} to {wanted!r} took longer than "
                f"{self._time_limit:g} s; it was left behind in a thread",
                schema=name,
                found=found,
                wanted=wanted,
            )
        return results[0]


def _keep_items(run: RunState, owner: Activation, before: Values) -> None:
    """The items of an open fan-out are fixed: if their field is gone, or of another length, they stay as they were."""
    fan = run.fans[owner.id]
    if fan.over is None:
        return
    after: Any = thaw(owner.base.get(fan.over))
    if after.__class__ is not list or len(after) != fan.total:
        old = before[fan.over]
        fan.items, fan.over = old.to_list() if type(old) is Grown else list(old), None


def _with_defaults(schema: Schema, values: Values) -> Values:
    missing = [name for name, field in schema.fields.items() if not field.required and name not in values]
    if not missing:
        return values
    empty = {info.name: info for info in msgspec.structs.fields(schema.state_type)}
    added = {
        name: schema.fields[name].check(
            empty[name].default_factory() if empty[name].default is msgspec.NODEFAULT else empty[name].default
        )
        for name in missing
    }
    return {**values, **added}
