"""What a user's function says about itself: parameters, annotations, and where it stands.

Everything is read when the graph is checked, not when it is declared, and
tolerantly: annotations may be strings, names may exist for type checkers only
or inside a function. What can't be read is `UNKNOWN`, never an error.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import typing
from collections import ChainMap
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

UNKNOWN: Final = inspect.Parameter.empty
"""Stands for an annotation that is not there or can't be resolved."""

_TYPING = dict(vars(typing))

if sys.version_info >= (3, 14):  # annotations are code there, which fails where a name is for type checkers only
    import annotationlib

    _signature = functools.partial(inspect.signature, annotation_format=annotationlib.Format.FORWARDREF)
else:
    _signature = inspect.signature


def signature_of(fn: Callable[..., Any]) -> inspect.Signature | None:
    """Its parameters and raw annotations; None for callables that don't tell, as some built-in ones."""
    try:
        return _signature(fn)
    except (TypeError, ValueError):
        return None


def resolve(annotation: Any, fn: Callable[..., Any]) -> Any:
    """An annotation of ``fn`` as the object it names, or `UNKNOWN`."""
    if not isinstance(annotation, str):
        return annotation
    function = _function_of(fn)
    if function is None:
        return UNKNOWN
    # `typing` comes last: Literal and the like are often imported for type checkers only.
    names = ChainMap(_closure(function), function.__globals__, _TYPING)
    try:
        return eval(annotation, function.__globals__, names)  # noqa: S307 - the annotation is code of the user's module
    except Exception:  # noqa: BLE001 - whatever it raised: this annotation says nothing before run time
        return UNKNOWN


def positional_of(signature: inspect.Signature) -> list[inspect.Parameter]:
    """The parameters that are given by their place."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [parameter for parameter in signature.parameters.values() if parameter.kind in kinds]


def has_parameters(fn: Callable[..., Any], count: int) -> bool:
    """Whether a function takes so many positional parameters."""
    signature = signature_of(fn)
    return signature is not None and len(positional_of(signature)) >= count


def is_async(fn: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004 - the method itself is asked


def is_generator(fn: Callable[..., Any]) -> bool:
    """Whether calling it gives a generator, sync or async."""
    return inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn)


def identity(fn: object) -> tuple[int, int]:
    """Tells functions apart without hashing or comparing them; equal for two accesses to one bound method."""
    return id(getattr(fn, "__self__", None)), id(getattr(fn, "__func__", fn))


def site_of(fn: Callable[..., Any]) -> str:
    """Where it stands, as ``file.py:12``; empty if nothing says so."""
    function = _function_of(fn)
    if function is None:
        return ""
    return _site(function.__code__, function.__code__.co_firstlineno)


def placed(what: str, site: str) -> str:
    """What a message is about, with where it stands if that is known."""
    return f"{what} ({site})" if site else what


def site_of_caller() -> str:
    """Where the function that calls this was called, as ``file.py:12``."""
    frame = inspect.currentframe()
    for _ in range(2):
        frame = frame and frame.f_back
    return "" if frame is None else _site(frame.f_code, frame.f_lineno)


def _site(code: CodeType, line: int) -> str:
    return f"{code.co_filename.rpartition(os.sep)[2]}:{line}"


def _function_of(fn: Callable[..., Any]) -> FunctionType | None:
    """The plain function behind decorators, partials, methods and callable objects."""
    while not isinstance(fn, FunctionType):
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif inspect.ismethod(fn):
            fn = fn.__func__
        elif isinstance(call := getattr(type(fn), "__call__", None), FunctionType):  # noqa: B004 - as in is_async
            fn = call
        else:
            return None
    inner = inspect.unwrap(fn)
    return inner if isinstance(inner, FunctionType) else fn


def _closure(function: FunctionType) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # assigned later in the enclosing function
            continue
    return found
