"""Compiling: from what was declared to a Plan, collecting every mistake on the way."""

from __future__ import annotations

import itertools
import sys
from collections import defaultdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from msgspec import UNSET

from actorflow.errors import DuplicateMigration
from actorflow.graph.accepting import Accepted, accepted, problems_of_validate
from actorflow.graph.cache import cached_of, problems_of_cache
from actorflow.graph.check import problems_of_shape
from actorflow.graph.codec import problems_of_codecs
from actorflow.graph.fan import fan_of, item_type, problems_of_fan
from actorflow.graph.importable import NotImportable
from actorflow.graph.inner import inner_of, problems_of_inner
from actorflow.graph.message import problems_of_message
from actorflow.graph.middleware import problems_of_middleware
from actorflow.graph.migrate import migrations_of, register
from actorflow.graph.node import (
    Handler,
    Node,
    input_type,
    problems_of_function,
    problems_of_handler,
    problems_of_name,
    problems_of_parameters,
    takes_context,
)
from actorflow.graph.plan import Branch, Plan
from actorflow.graph.remote import Remote, remote
from actorflow.graph.retry import policies_of, problems_of_retry
from actorflow.graph.routing import END, End, NodeHandle, as_tuple, label, targets_in
from actorflow.graph.schema import schema_of
from actorflow.graph.signature import (
    has_parameters,
    identity,
    is_async,
    is_generator,
    placed,
    resolve,
    signature_of,
    site_of,
)
from actorflow.graph.state import State
from actorflow.graph.timeouts import problems_of_timeout, timeout_of
from actorflow.graph.undo import problems_of_undos, undos_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.graph.cache import Cached
    from actorflow.graph.declaration import Declaration, DeclaredBranch, DeclaredNode, Join
    from actorflow.graph.middleware import Middleware
    from actorflow.graph.retry import Retry
    from actorflow.graph.schema import Schema
    from actorflow.graph.timeouts import Timeout


def compile_graph(declaration: Declaration) -> tuple[Plan, tuple[str, ...]]:
    """The plan, and all that is wrong with it. With any problem it is partly guessed and must not be run."""
    return _Compilation(declaration).run()


class _Compilation:
    """One pass over a declaration. It notes a mistake and goes on as if what is near were meant."""

    def __init__(self, declaration: Declaration) -> None:
        self.graph = declaration
        state_type: Any = declaration.state_type
        self.has_state = isinstance(state_type, type) and issubclass(state_type, State)
        self.problems: list[str] = []
        self.handler: Handler | None = None  # of the graph, for nodes that don't say their own
        self.declared: dict[str, DeclaredNode] = {}
        self.names: dict[tuple[int, int], list[str]] = defaultdict(list)  # by function: the nodes it is
        self.edges: dict[str, list[str | End]] = defaultdict(list)
        self.joins: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        self.branches: dict[str, list[Branch]] = defaultdict(list)
        self.inward: dict[str | End, dict[str, str]] = defaultdict(dict)  # target: source: the edge that says so
        self.loose: set[str] = set()  # what something unknown leads to; not to be reported as unreachable as well

    def run(self) -> tuple[Plan, tuple[str, ...]]:
        self._read_graph()
        for declared in self.graph.nodes:
            self._read_name(declared)
        self.handler = self._handler("the graph", self.graph.on_error, self.graph.catch)
        nodes = {name: self._read_node(name, declared) for name, declared in self.declared.items()}
        after = [
            (node.after, name, node.site or site_of(node.fn))
            for name, node in self.declared.items()
            if node.after is not None
        ]
        for source, target, site in (*after, *((edge.source, edge.target, edge.site) for edge in self.graph.edges)):
            self._read_edge(as_tuple(source), target, site)
        for branch in self.graph.branches:
            self._read_branch(branch)
        accepts = accepted(self.graph, self.declared)
        self.problems.extend(accepts.problems)
        plan = self._plan(nodes, accepts)
        self._check_sent(plan)
        self.problems.extend(problems_of_shape(plan, self.loose))
        return plan, tuple(self.problems)

    def _note(self, place: str, problems: Iterable[str]) -> None:
        self.problems.extend(f"{place}: {problem}" for problem in problems)

    def _read_graph(self) -> None:
        graph = self.graph
        self._note("the graph", problems_of_name(graph.name))
        if self.has_state:
            problems = problems_of_codecs(graph.types)
            self.problems.extend(problems)
            codecs = () if problems else graph.types
            schema = schema_of(graph.state_type, codecs)
            self.problems.extend(schema.problems)
            migrations = migrations_of(schema, graph.migrations)
            try:
                register(schema, migrations)
            except DuplicateMigration as error:
                self.problems.append(str(error))
            for migration in migrations:
                if migration.takes is not None:
                    # Made now, by one thread: a recovery migrates many runs at once, and while msgspec makes
                    # what it knows of a type, another thread that needs the same type crashes the process.
                    self.problems.extend(schema_of(migration.takes, codecs).problems)
        else:
            self.problems.append(f"the state must be a subclass of State, not {label(graph.state_type)}")
        limits = (
            ("max_activations", graph.max_activations),
            ("max_items", graph.max_items),
            ("max_steps", graph.max_steps),
        )
        for what, limit in limits:
            if type(limit) is not int or limit < 1:
                self.problems.append(f"the graph: {what}={limit!r}: give a number of at least 1")
        size, over = graph.max_state, cast("object", graph.record_backoff_over)
        if size is not None and (type(size) is not int or size < 1):
            self.problems.append(f"the graph: max_state={size!r}: give a number of bytes, or None for no limit")
        if not isinstance(over, int | float) or not over >= 0:  # NaN is neither
            self.problems.append(f"the graph: record_backoff_over={over!r}: give seconds, at least 0")
        self._note("the graph", problems_of_retry(graph.retry))
        self._note("the graph", problems_of_timeout(graph.timeout, sync=False))
        self._note("the graph", problems_of_middleware(graph.middleware))
        self.problems.extend(problems_of_undos(graph.undos))

    # -- nodes ----------------------------------------------------------------

    def _read_name(self, declared: DeclaredNode) -> None:
        fn, name = declared.fn, declared.name
        if name is None:
            name = getattr(fn, "__name__", "<lambda>")
        if name == "<lambda>":
            self._note(placed("a node", site_of(fn)), ["its function has no name of its own; say name="])
            return
        place = placed(f"node {name!r}", declared.site or site_of(fn))
        self._note(place, problems_of_name(name))
        if not isinstance(name, str):
            return
        if taken := [mark for mark in "/@" if mark in name]:
            self._note(place, [f"{taken[0]!r} in a name stands for a way through graphs inside; say name="])
        if name in self.declared:
            other = self.declared[name]
            first = placed("first", other.site or site_of(other.fn))
            self._note(place, [f"this name is declared twice, {first}; give one of them another with name="])
            return
        self.declared[name] = declared
        for reference in (fn, declared.handle):
            if reference is not None:
                self.names[identity(cast("Any", reference))].append(name)

    def _check_sent(self, plan: Plan) -> None:
        """Things are sent to the nodes that take them, and nothing else leads there."""
        for name, node in plan.nodes.items():
            for target in node.send:
                if plan.nodes[target].takes is None and plan.nodes[target].inner is None:
                    self._note(node.place, [f"it sends to {target!r}, which takes the state; give that one takes="])
            if node.takes is not None and node.fan is None:
                decided = (branch.targets for branches in plan.branches.values() for branch in branches)
                if name in plan.entries or name in self.inward or any(name in targets for targets in decided):
                    self._note(node.place, ["it takes what is sent to it, so no edge, branch or entry can lead there"])

    def _read_node(self, name: str, declared: DeclaredNode) -> Node:
        fn, graph = declared.fn, self.graph
        place = self._place(name, declared)
        inner, fan, message = declared.inner, declared.fan, declared.message
        sync = inner is None and not is_async(fn)
        stoppable, isolated = not sync or declared.isolate == "process", None
        if self.has_state:
            schema = schema_of(graph.state_type, graph.types if not problems_of_codecs(graph.types) else ())
            if fan is not None:
                self._note(place, problems_of_fan(fan, schema))
            if inner is not None:
                problems = list(problems_of_inner(inner, schema, fan=fan))
                self._note(place, problems)
                if problems:
                    inner = None
            else:
                takes: Any = "item" if fan is not None else "state" if declared.takes is None else "input"
                if message is None or not any(problems_of_message(message)):
                    self._note(place, problems_of_function(fn, graph.state_type, takes=takes, message=message))
                    self._note(place, problems_of_validate(declared.validate, graph.state_type, message))
            isolated = self._isolated(place, declared, schema)
        else:
            inner, schema = None, None
        if declared.join not in ("all", "any") and (type(declared.join) is not int or declared.join < 1):
            self._note(place, [f"join={declared.join!r}: give 'all', 'any', or how many legs open it"])
        if fan is not None and declared.goto != ():
            self._note(place, ["goto= is for what may return a Goto, and items return results; edge() leads on"])
        retry, timeout, middleware = self._around(place, declared, stoppable=stoppable)
        takes_type = declared.takes
        if fan is not None and schema is not None and inner is None:
            takes_type = item_type(fan, schema, input_type(fn))
        return Node(
            name=name,
            fn=fn,
            is_async=not sync,
            takes_context=inner is None and takes_context(fn, after=1 if message is None else 2),
            takes=takes_type,
            message=None if message is None else getattr(message, "schema_name", label(message)),
            validate=declared.validate,
            retry=retry,
            timeout=timeout,
            cache=self._cached(place, declared),
            middleware=middleware,
            isolated=isolated,
            goto=self._targets(as_tuple(declared.goto), f"{place}, goto="),
            send=tuple(str(name) for name in self._targets(as_tuple(declared.send), f"{place}, send=")),
            entry=declared.entry,
            join=_need(declared.join),
            defer=declared.defer,
            fan=None if fan is None else fan_of(fan),
            inner=None if inner is None or schema is None else inner_of(inner, schema, fan=fan),
            site=declared.site,
            on_error=self._taking_over(name, place, declared),
        )

    def _around(
        self, place: str, declared: DeclaredNode, *, stoppable: bool
    ) -> tuple[tuple[Retry, ...], Timeout | None, tuple[Middleware, ...]]:
        """What is around the function of a node: its own, or as the graph says."""
        graph = self.graph
        retry, timeout, given = declared.retry, declared.timeout, declared.middleware
        problems = [*problems_of_middleware(given)]
        if declared.inner is not None:
            what = [("timeout", timeout not in (UNSET, None)), ("middleware", bool(given))]
            what += [("retry", declared.fan is None and retry not in (UNSET, None))]
            problems += [f"{name}= is for functions; give it to the nodes inside" for name, said in what if said]
            timeout = None  # the graph's own is for functions, too, as is its middleware
            retry = None if retry is UNSET else retry
        elif timeout is UNSET:
            timeout = graph.timeout if stoppable else None  # it is for the nodes that can be stopped
        if retry is UNSET:
            retry = graph.retry
        else:
            problems += problems_of_retry(retry)
        problems += problems_of_timeout(timeout, sync=not stoppable)
        self._note(place, problems)
        if problems or [*problems_of_middleware(graph.middleware), *problems_of_retry(graph.retry)]:
            return (), None, ()
        around = () if declared.inner is not None else (*graph.middleware, *given)
        return policies_of(retry), timeout_of(timeout), around

    def _cached(self, place: str, declared: DeclaredNode) -> Cached | None:
        if declared.cache is None:
            return None
        problems = [*problems_of_cache(declared.cache, declared.fn)]
        if declared.inner is not None:
            problems = ["cache= is for functions; give it to the nodes inside"]
        self._note(place, problems)
        return None if problems else cached_of(declared.cache, declared.fn)

    def _taking_over(self, name: str, place: str, declared: DeclaredNode) -> Handler | None:
        """Who takes over for a node: its own handler, or the graph's; but that is not its own.

        The graph's is for nodes. A message that can't be handled is its sender's business.
        """
        if declared.on_error is UNSET and declared.message is not None:
            return None
        if declared.on_error is UNSET:
            return None if self.handler is not None and self.handler.node == name else self.handler
        return self._handler(place, declared.on_error, declared.catch)

    def _handler(self, place: str, given: object, catch: object) -> Handler | None:
        """Who takes over when a node fails: a node of the graph, if it is one, else the function itself."""
        kinds = cast("tuple[type[Exception], ...]", catch if isinstance(catch, tuple) else (catch,))
        if not kinds or not all(map(_is_exception, kinds)):
            self._note(place, [f"catch={catch!r}: give an Exception class, or a tuple of them"])
            return None
        if given is None:
            return None
        is_node = isinstance(given, str | NodeHandle) or identity(given) in self.names
        if is_node:
            name = self._find(given, f"{place}, on_error=")
            return None if name is None else Handler(None, name, kinds)
        if not callable(given):
            self._note(place, [f"on_error={given!r}: give a node, or a function (state, error) -> update"])
            return None
        self._note(place, (f"on_error: {problem}" for problem in problems_of_handler(given, self.graph.state_type)))
        return Handler(given, None, kinds, is_async(given), has_parameters(given, 3))

    def _isolated(self, place: str, declared: DeclaredNode, schema: Schema) -> Remote | None:
        """How a worker process finds what the node is, if it is to run there."""
        if declared.isolate is None:
            return None
        where = f"{place}, isolate={declared.isolate!r}"
        if declared.isolate != "process":
            self._note(where, ["give 'process'"])
        elif declared.inner is not None:
            self._note(where, ["it is for functions; give it to the nodes of the graph inside"])
        elif sys.platform == "win32":
            self._note(where, ["worker processes are there on Linux and macOS"])
        else:
            try:
                return remote(declared.fn, schema, takes=declared.takes, fan=declared.fan, message=declared.message)
            except NotImportable as error:
                self._note(where, [str(error)])
        return None

    def _place(self, name: str, declared: DeclaredNode) -> str:
        return placed(f"node {name!r}", declared.site or site_of(declared.fn))

    def _find(self, reference: object, place: str) -> str | None:
        """The node that is meant; after a note also the one that most likely is. No handler: nothing leads there."""
        name = self._named(reference, place)
        if name is not None and (type_ := self.declared[name].message) is not None:
            self._note(
                place,
                [f"{name!r} handles {label(type_)}, so nothing else leads there; what it leads to, say as its goto="],
            )
            return None
        return name

    def _named(self, reference: object, place: str) -> str | None:
        """The node or handler that is meant; after a note also the one that most likely is."""
        if isinstance(reference, str):
            if reference in self.declared:
                return reference
            import difflib  # only a mistake needs it

            near = difflib.get_close_matches(reference, self.declared, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            if reference.strip("_").lower() == "end":
                hint = "; the end is actorflow.END, for a branch in to=(..., END)"
            self._note(place, [f"there is no node {reference!r}{hint}"])
            return near[0] if near else None
        if not callable(reference) and not isinstance(reference, NodeHandle):
            self._note(place, [f"{reference!r} is no node; give a node's function or its name"])
            return None
        found = self.names.get(identity(reference), [])
        if not found:
            self._note(place, [f"{label(reference)} is no node of this graph; declare it with node()"])
        elif len(found) > 1:
            self._note(place, [f"{label(reference)} is {len(found)} nodes, {_listed(found)}; refer to one by its name"])
        return found[0] if found else None

    def _targets(self, given: tuple[object, ...], place: str) -> tuple[str | End, ...]:
        """The targets of a branch or ``goto=``, each once."""
        found = [target if isinstance(target, End) else self._find(target, place) for target in given]
        known = [target for target in found if target is not None]
        self._note(
            place, [f"{label(target)!r} is named twice" for target in dict.fromkeys(known) if known.count(target) > 1]
        )
        return tuple(dict.fromkeys(known))

    # -- edges and branches ---------------------------------------------------

    def _read_edge(self, sources: tuple[object, ...], onto: object, site: str) -> None:
        arrow = f"edge {', '.join(map(label, sources)) or '()'} -> {label(onto)}"
        place = placed(arrow, site)
        if not sources:
            self._note(place, ["it names no node to come from"])
        if END in sources:
            self._note(place, ["nothing comes after END"])
        if onto is END and len(sources) > 1:
            self._note(place, ["END joins nothing; draw an edge from each node"])
            return
        target = onto if isinstance(onto, End) else self._find(onto, place)
        known = [self._find(source, place) for source in sources if source is not END]
        legs = [source for source in known if source is not None]
        if target is None:
            return
        if isinstance(target, str) and len(legs) < len(sources):
            self.loose.add(target)
        if len(sources) > 1 and target in legs:
            self._note(place, ["a join can't wait for itself"])
        for source in legs:
            if source in self.inward[target]:
                first = self.inward[target][source]
                self._note(place, [f"{source!r} leads there already: {first}; a leg belongs to one join or edge"])
            self.inward[target][source] = place
        if len(sources) == 1:
            for source in legs:
                self.edges[source].append(target)
        elif isinstance(target, str) and legs:
            self.joins[target].append(tuple(legs))

    def _read_branch(self, branch: DeclaredBranch) -> None:
        fn = branch.fn
        place = placed(f"branch {label(fn)!r}", site_of(fn))
        if is_async(fn) or is_generator(fn):
            self._note(place, ["a branch must be a plain sync function; do what it awaits in a node before it"])
        if self.has_state:
            self._note(place, problems_of_parameters(fn, self.graph.state_type, ("state",)))
        after: object = branch.source
        source = None
        if isinstance(after, list | tuple | End):
            self._note(place, ["after= must be one node: a branch is asked when that node has finished"])
        else:
            source = self._find(after, place)
        targets = self._targets(self._declared_targets(branch, place), place)
        if source is None:
            self.loose.update(target for target in targets if isinstance(target, str))
        elif any(identity(other.fn) == identity(fn) for other in self.branches[source]):
            self._note(place, [f"it is declared twice after {source!r}"])
        else:
            self.branches[source].append(Branch(source, fn, targets))

    def _declared_targets(self, branch: DeclaredBranch, place: str) -> tuple[object, ...]:
        given: tuple[object, ...] | None
        if branch.to is None:
            signature = signature_of(branch.fn)
            given = targets_in(resolve(signature.return_annotation, branch.fn)) if signature else None
        else:
            given = as_tuple(branch.to)
        if not given:
            self._note(place, ['its targets are not known; annotate it -> Literal["a", "b"], or say to=(a, b)'])
        return given or ()

    # -- the whole ------------------------------------------------------------

    def _plan(self, nodes: dict[str, Node], accepts: Accepted) -> Plan:
        legs: dict[str, list[str]] = defaultdict(list)
        for target, inlets in self.joins.items():
            for source in dict.fromkeys(source for inlet in inlets for source in inlet):
                legs[source].append(target)
        for old, new in self.graph.moves.items():
            place = f"moves={{{old!r}: {new!r}}}"
            if not isinstance(new, End):
                self._named(new, place)
            if old in nodes:  # it would be moved on at each restart
                self._note(place, [f"{old!r} is still a node here; only nodes that are gone are moved"])
        return Plan(
            graph=self.graph.name,
            schema=self._schema(),
            nodes=MappingProxyType(nodes),
            edges=_frozen(self.edges),
            legs=_frozen(legs),
            joins=_frozen(self.joins),
            branches=_frozen(self.branches),
            entries=self._entries(nodes),
            max_activations=self.graph.max_activations,
            max_items=self.graph.max_items,
            max_steps=self.graph.max_steps,
            max_state=self.graph.max_state,
            record_backoff_over=self.graph.record_backoff_over,
            interrupt_before=self._held("interrupt_before", self.graph.interrupt_before, nodes),
            interrupt_after=self._held("interrupt_after", self.graph.interrupt_after, nodes),
            undos=MappingProxyType(undos_of(self.graph.undos)),
            lifetime="actor" if self.graph.lifetime == "actor" else "run",
            handlers=MappingProxyType(accepts.handlers),
            messages=MappingProxyType(accepts.messages),
            mailbox=self.graph.mailbox,
        )

    def _schema(self) -> Schema:
        state_type = self.graph.state_type if self.has_state else State
        return schema_of(state_type, () if problems_of_codecs(self.graph.types) else self.graph.types)

    def _held(self, what: str, given: object, nodes: dict[str, Node]) -> frozenset[str]:
        """The nodes before or after which a run waits; ``"*"`` is all of them."""
        if given == "*":
            return frozenset(name for name, node in nodes.items() if node.message is None)
        found = (self._find(reference, f"the graph, {what}=") for reference in as_tuple(given))
        return frozenset(name for name in found if name is not None)

    def _entries(self, nodes: dict[str, Node]) -> tuple[str, ...]:
        """The nodes marked as entry, else those that nothing leads to, else those that only they themselves lead to."""
        if marked := tuple(name for name, node in nodes.items() if node.entry):
            return marked
        before: dict[str | End, set[str]] = {target: set(sources) for target, sources in self.inward.items()}
        for source, node in nodes.items():
            handler = () if node.on_error is None or node.on_error.node is None else (node.on_error.node,)
            routes = (node.goto, node.send, handler, *(branch.targets for branch in self.branches.get(source, ())))
            for target in itertools.chain.from_iterable(routes):
                before.setdefault(target, set()).add(source)
        ahead = [name for name, node in nodes.items() if node.message is None and name not in self.loose]
        return tuple(name for name in ahead if name not in before) or tuple(
            name for name in ahead if before[name] == {name}
        )


def _is_exception(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception)


def _need(join: Join) -> int | None:
    """How many legs open a join; None: all of them."""
    if isinstance(join, int):
        return join
    return 1 if join == "any" else None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _frozen(found: dict[str, list[Any]]) -> MappingProxyType[str, tuple[Any, ...]]:
    return MappingProxyType({name: tuple(items) for name, items in found.items() if items})
