"""Moves: nodes that have another name in newer code, or none; what a run holds under their names goes with them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from actorflow.engine.closing import close
from actorflow.engine.decision import depth_of
from actorflow.engine.fold import ASKED
from actorflow.engine.run import ROOT
from actorflow.errors import UnknownNode
from actorflow.graph.routing import END, End

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from actorflow.engine.run import Activation, RunState, Scope, Token
    from actorflow.graph.graph import Graph

_REST = re.compile(r"(\[\d+\])?(#\d+)?(/|$)")  # of a path, after the name of a node: item, visit, what lies inside


def move(graph: Graph[Any], run: RunState) -> dict[str, Graph[Any]]:
    """Rename nodes as the ``moves`` of their graphs say, in every scope, and scopes with the nodes that own them.

    Returns:
        The graph of each scope that is known to this code, by its path.

    Raises:
        UnknownNode: a scope whose owner this code does not know, or that is no graph any more.
    """
    _move_turn(graph, run)
    graphs = {ROOT: graph}
    for scope in sorted(run.scopes.values(), key=lambda scope: depth_of(run, scope.path)):
        if run.scopes.get(scope.path) is not scope or (scope.owner is None and scope.path != ROOT):
            continue  # it ended with a node that is gone; or nobody is in it
        around: Graph[Any] | None = None
        if scope.owner is not None:
            owner = run.open[scope.owner]
            around = graphs[owner.scope]
            graphs[scope.path] = _inside(around, owner)
        _move_inside(run, scope, graphs[scope.path].moves, {} if around is None else around.moves)
    for path in [path for path, scope in run.scopes.items() if scope.owner is None and path != ROOT]:
        found = _find(graph, path)
        if found is not None:  # else its node is gone: the state is kept, should it come back
            inside, new = found
            graphs[_rename(run, path, new)] = inside
    return graphs


def _inside(around: Graph[Any], owner: Activation) -> Graph[Any]:
    node = around.plan.nodes.get(owner.node)
    if node is None:
        raise UnknownNode(owner.node, around.name)
    if node.inner is None:
        raise UnknownNode(owner.node, around.name, is_graph=False)
    return node.inner.graph


def _move_turn(graph: Graph[Any], run: RunState) -> None:
    """A message that is being handled stays with whatever handles its type; if nothing does, it waits again."""
    if run.turn is None:
        return
    turn = run.open[run.turn]
    letter = turn.letter
    assert letter is not None, "only a message is handled in a turn"
    name = graph.plan.handlers.get(run.forms[letter.form].name)
    if name is None:
        close(run, turn)
        run.mail.queue = {letter.id: letter, **run.mail.queue}
        run.mail.size += letter.size
        run.renewed = True
    elif name != turn.node:
        turn.node, run.renewed = name, True


def _move_inside(run: RunState, scope: Scope, moves: Mapping[str, str | End], around: Mapping[str, str | End]) -> None:
    if not moves.keys().isdisjoint(_names(run, scope)):
        run.renewed = True
        for one in list(run.open_in(scope.path)):
            if one.id in run.open:  # else it ended with the owner of its fan-out
                _move_activation(run, one, moves)
        _move_tokens(scope, moves)
    for one in run.open_in(scope.path):
        if one.leaves and one.goto is not None and not around.keys().isdisjoint(one.goto):
            one.goto = tuple(_name(name, around) for name in one.goto)
            run.renewed = True


def _names(run: RunState, scope: Scope) -> Iterator[str]:
    """Every node that something in a scope stands at, or is to go to."""
    for one in run.open_in(scope.path):
        yield one.node
        yield from () if one.leaves else one.goto or ()
        yield from (target for target, _ in one.sends)
    for held in (scope.waiting, scope.late):
        for target, legs in held.items():
            yield from (target, *legs)
    for leaf, token in scope.parked.items():
        yield from (leaf, *token.offered)


def _move_activation(run: RunState, one: Activation, moves: Mapping[str, str | End]) -> None:
    if one.letter is not None:
        return
    name = _there(one.node, moves)
    if name is None:
        close(run, one)
    elif name != one.node:
        if one.inner is not None:
            before = f"{one.scope}/" if one.scope else ""
            rest = one.inner.removeprefix(before).removeprefix(one.node)
            _rename(run, one.inner, f"{before}{name}{rest}")
        one.node = name
    if one.goto is not None and not one.leaves:
        one.goto = tuple(_name(old, moves) for old in one.goto)
    one.sends = tuple((name, inputs) for old, inputs in one.sends if (name := _there(old, moves)) is not None)


def _move_tokens(scope: Scope, moves: Mapping[str, str | End]) -> None:
    waiting, scope.waiting = scope.waiting, {}
    for target, leg, tokens in _moved(waiting, moves):
        scope.waiting.setdefault(target, {}).setdefault(leg, []).extend(tokens)
    late, scope.late = scope.late, {}
    for target, leg, count in _moved(late, moves):
        legs = scope.late.setdefault(target, {})
        legs[leg] = legs.get(leg, 0) + count
    parked, scope.parked = scope.parked, {}
    for leaf, token in parked.items():
        if (name := _there(leaf, moves)) is not None:
            scope.parked[name] = _offered(token, moves)


def _moved(held: Mapping[str, Mapping[str, Any]], moves: Mapping[str, str | End]) -> Iterator[tuple[str, str, Any]]:
    """What is held by target and leg, under their new names; what was for one that is gone, or came from it, is not."""
    for old_target, legs in held.items():
        for old_leg, its in legs.items():
            target, leg = _there(old_target, moves), _there(old_leg, moves)
            if target is not None and leg is not None:
                yield target, leg, its


def _offered(token: Token, moves: Mapping[str, str | End]) -> Token:
    token.offered = frozenset(name if name == ASKED else _name(name, moves) for name in token.offered)
    return token


def _there(name: str, moves: Mapping[str, str | End]) -> str | None:
    """The new name of a node; None if it is gone."""
    new = moves.get(name, name)
    return None if isinstance(new, End) else new


def _name(name: str, moves: Mapping[str, str | End]) -> str:
    new = _there(name, moves)
    return END.value if new is None else new


def _rename(run: RunState, old: str, new: str) -> str:
    """Give a scope another path, and all that lie inside it; the path that it has then."""
    if old == new:
        return new
    run.renewed = True
    if new in run.scopes:  # two were kept apart by names that are one now
        new = f"{new}#{run.next_id}"
        run.next_id += 1
    paths = {path: new + path[len(old) :] for path in run.scopes if path == old or path.startswith(f"{old}/")}
    for one in run.open.values():
        one.scope = paths.get(one.scope, one.scope)
        if one.inner is not None:
            one.inner = paths.get(one.inner, one.inner)
    scopes, run.scopes = run.scopes, {}
    for path, scope in scopes.items():
        scope.path = paths.get(path, path)
        run.scopes[scope.path] = scope
    return new


def _find(graph: Graph[Any], path: str) -> tuple[Graph[Any], str] | None:
    """The graph that a path leads to, from node to node, and the path under their new names."""
    for old, name in [*((name, name) for name in graph.plan.nodes), *graph.moves.items()]:
        rest = _REST.match(path[len(old) :]) if path.startswith(old) else None
        inner = None if isinstance(name, End) else graph.plan.nodes[name].inner
        if rest is None or inner is None:
            continue
        inside = path[len(old) + rest.end() :]
        if not inside:
            return inner.graph, f"{name}{rest[0]}"
        if (found := _find(inner.graph, inside)) is not None:
            return found[0], f"{name}{rest[0]}{found[1]}"
    return None
