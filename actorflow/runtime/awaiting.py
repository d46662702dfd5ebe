"""Awaiting: a node waits for a reply, for the end of another run, or for a message, and is left until that comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorflow.engine.events import Taking
from actorflow.engine.operations import thaw
from actorflow.engine.records import Ask
from actorflow.engine.turns import name_of_wait
from actorflow.engine.waits import CHILD, RECEIVE, REPLY
from actorflow.errors import AskFailed, BadMessage, ChildFailed, MigrationError
from actorflow.graph.schema import ENCODE_ERRORS
from actorflow.runtime import clock
from actorflow.runtime.mended import mended
from actorflow.runtime.options import check_texts
from actorflow.runtime.post import run_id_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from actorflow.engine.mail import Letter
    from actorflow.engine.run import Answer, Form
    from actorflow.graph.contacting import HasId
    from actorflow.graph.message import Message
    from actorflow.runtime.means import Means
    from actorflow.runtime.post import Post

LONGEST = 100 * 366 * 86_400
"""Seconds: nobody waits longer than a century."""


class Awaiting:
    """The waits of one attempt for other runs."""

    def __init__(
        self, means: Means, post: Post, *, key_of: Callable[[str], str], stop: Callable[[Ask], NoReturn]
    ) -> None:
        """Nothing is waited for yet.

        Args:
            means: what is recorded with.
            post: what is sent.
            key_of: the key of a wait of this text: of several, which one it is.
            stop: leaves the node until this wait is over.
        """
        self._means = means
        self._post = post
        self._key_of = key_of
        self._stop = stop

    async def reply(
        self, run: str | HasId, message: Message, *, type: Any, within: float | None, key: str | None
    ) -> Any:
        """See `Context.ask`."""
        place, target = self._means.place, run_id_of(run)
        if target == place.run.run_id:
            raise ValueError(f"run {target!r} can't wait for itself to answer; send() it the message")
        due = _due(within)
        key = self._key(REPLY, target, key)
        answer = place.activation.answers.get(key)
        if answer is None:
            self._post.send(target, message, ask=name_of_wait(place.activation, key))
            self._stop(Ask(key, "reply", f"the reply of run {target!r}", payload=target, due=due, asked=clock.now()))
        value, error = self._outcome(answer, f"run {target!r} did not answer in time")
        if error is not None:
            raise AskFailed(target, f"{error[0]}: {error[1]}", error[2])
        return place.schema.codecs.typed(thaw(value), type)

    async def end(self, run: str | HasId, *, type: Any, within: float | None, key: str | None) -> Any:
        """See `Context.result`."""
        place, target = self._means.place, run_id_of(run)
        if target == place.run.run_id:
            raise ValueError(f"run {target!r} can't wait for its own end")
        due = _due(within)
        key = self._key(CHILD, target, key)
        answer = place.activation.answers.get(key)
        if answer is None:
            self._post.watch(target, name_of_wait(place.activation, key))
            self._stop(Ask(key, "child", f"the end of run {target!r}", payload=target, due=due, asked=clock.now()))
        told, error = self._outcome(answer, f"run {target!r} did not end in time")
        if error is not None:
            raise ChildFailed(target, f"{error[0]}: {error[1]}", error[2])
        graph = self._post.graphs.known.get(told["graph"])
        wanted = type if type is not None else (dict if graph is None else graph.schema.state_type)
        name, version, fields = told["form"]
        return await mended(told["values"], (name, version, tuple(tuple(one) for one in fields)), wanted, place)

    async def message(
        self, type_: type[Message], *, where: Callable[[Any], object] | None, within: float | None, key: str | None
    ) -> Any:
        """See `Context.receive`."""
        activation, name = self._means.place.activation, self._checked(type_)
        due = _due(within)
        key = self._key(RECEIVE, name, key)
        newest: bytes | None = None
        if key not in activation.answers:
            for letter in self._letters(name):
                newest = letter.id
                if await self._fits(letter, type_, where, key):
                    await self._means.commit(Taking(activation.id, key, letter.id))
                    if key in activation.answers:  # else somebody else was faster
                        break
        answer = activation.answers.get(key)
        if answer is None:
            due = activation.until.get(key, due)
            self._stop(Ask(key, "receive", name, payload=newest, due=due, asked=clock.now()))
        if answer.value is None:
            return None
        form, values = answer.value
        return await self._typed(form, values, type_)

    def _checked(self, type_: type[Message]) -> str:
        """The name of a type that nodes may take.

        Raises:
            BadMessage: the graph does not declare it, or handles it.
        """
        root, run_id = self._means.place.root, self._means.place.run.run_id
        name = getattr(type_, "schema_name", repr(type_))
        if name in root.handlers:
            problem = f"node {root.handlers[name]!r} handles it; what nodes receive stands in Graph(messages=)"
        elif name not in root.messages:
            problem = f"declare what nodes receive with Graph(messages=[{name}])"
        else:
            return name
        raise BadMessage(run_id, name, sorted(root.messages), problem)

    def _letters(self, name: str) -> list[Letter]:
        run = self._means.place.run
        return [letter for letter in run.mail.queue.values() if run.forms[letter.form].name == name]

    async def _fits(self, letter: Letter, type_: Any, where: Callable[[Any], object] | None, key: str) -> bool:
        """Whether a message is waited for. One that can't be read any more is a dead letter, and nobody waits on it."""
        try:
            message = await self._typed(letter.form, letter.values, type_)
        except (MigrationError, *ENCODE_ERRORS) as error:
            await self._means.commit(Taking(self._means.place.activation.id, key, letter.id, error))
            return False
        return where is None or bool(where(message))

    async def _typed(self, form: str, values: Any, type_: Any) -> Any:
        place = self._means.place
        its: Form = place.run.forms[form]
        return await mended(values, (its.name, its.version, its.fields), type_, place)

    def _key(self, kind: str, text: str, key: str | None) -> str:
        if key is None:
            return self._key_of(f"{kind} {text}")
        check_texts("key", [key])
        return f"{kind}={key}"

    @staticmethod
    def _outcome(answer: Answer, late: str) -> tuple[Any, Any]:
        """What was answered, and the error instead of it.

        Raises:
            TimeoutError: nothing was.
        """
        if answer.value is None:
            raise TimeoutError(late)
        value, error = answer.value
        return value, error


def _due(within: float | None) -> float | None:
    if within is None:
        return None
    if not 0 <= within <= LONGEST:  # NaN is neither
        raise ValueError(f"timeout={within}: give seconds, at most {LONGEST}, or None to wait without an end")
    return clock.now() + within
