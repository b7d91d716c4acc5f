"""Frozen dataclasses to JSON and back, and dotted overrides; errors name the key and the nearest valid one."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from diptych.errors import ConfigError, nearest

T = TypeVar("T")

_NAMES = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}


def to_dict(value: Any) -> Any:
    """A dataclass as plain dicts, lists, numbers and strings that JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_dict(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_dict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_dict(item) for item in value]
    return value


def from_dict(kind: type[T], data: Any, where: str = "") -> T:
    """A value of the annotated type ``kind`` (a dataclass, a union, a Literal, a tuple ...) from plain data.

    Raises ConfigError that names the dotted path, what stood there and what may stand there. Numbers are not taken for
    strings nor strings for numbers; a whole number is taken where a float is asked for.
    """
    return _convert(kind, data, where or getattr(kind, "__name__", str(kind)))


def override(value: T, assignments: Sequence[str]) -> T:
    """``value`` with dotted assignments applied together: ``override(recipe, ["optimizer.learning_rate=1e-3"])``.

    The right side is read as JSON where it is JSON and no string stood there before, else as a string; where a model
    stands, it may be the model's name. Raises ConfigError for an unknown key or a value of the wrong type.
    """
    data = to_dict(value)
    for assignment in assignments:
        path, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals:
            raise ConfigError(f"{assignment!r} is not an assignment; write a.b=value")
        *parents, last = path.split(".")
        node = data
        for key in parents:
            node = _child(node, key, path)
        old, node[last] = _child(node, last, path), _parse(text, _child(node, last, path))
        if isinstance(old, dict) and isinstance(node[last], str):  # a name, whose values later assignments may change
            data = to_dict(from_dict(type(value), data))
    return from_dict(type(value), data)


def at(value: Any, path: str) -> Any:
    """What stands at a dotted path of a dataclass, as plain data. Raises ConfigError where there is nothing."""
    node = to_dict(value)
    for key in path.split("."):
        node = _child(node, key, path)
    return node


def _child(node: Any, key: str, path: str) -> Any:
    if not isinstance(node, dict) or key not in node:
        choices = node if isinstance(node, dict) else ()
        raise ConfigError(f"{path!r}: there is no {key!r} here; {nearest(key, choices)}")
    return node[key]


def _parse(text: str, old: Any) -> Any:
    if isinstance(old, str):
        return text
    if text in ("None", "True", "False"):  # what a Python user types
        return {"None": None, "True": True, "False": False}[text]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _hints(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _convert(kind: Any, data: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return data
    if origin in (typing.Union, types.UnionType):
        return _union(arguments, data, where)
    if origin is typing.Literal:
        if data in arguments:
            return data
        raise ConfigError(f"{where} is {data!r:.80}; {nearest(str(data), map(str, arguments))}")
    if origin is tuple and isinstance(data, list | tuple):
        if arguments[-1:] == (...,):
            return tuple(_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(data))
        if len(data) != len(arguments):
            raise ConfigError(f"{where} needs {len(arguments)} values, not {len(data)}")
        return tuple(_convert(arguments[i], item, f"{where}[{i}]") for i, item in enumerate(data))
    if origin in (dict, Mapping) and isinstance(data, Mapping):
        return {key: _convert(arguments[1], item, f"{where}.{key}") for key, item in data.items()}
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, data, where)
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if kind is types.NoneType and data is None:
        return None
    if isinstance(kind, type) and isinstance(data, kind) and isinstance(data, bool) == (kind is bool):
        return data
    raise ConfigError(f"{where} is {data!r:.80}, but must be {_name(kind)}")


def _union(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    tagged = {tag: kind for kind in kinds if (tag := _tag(kind))}
    if tagged and isinstance(data, Mapping):
        kind = data.get("kind")
        if not isinstance(kind, str) or kind not in tagged:
            raise ConfigError(f"{where}.kind is {kind!r:.80}; {nearest(str(kind), tagged)}")
        return _convert(tagged[kind], data, where)
    structured = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
    if len(structured) == 1 and isinstance(data, Mapping):  # what is wrong inside is told, not that it is wrong
        return _convert(structured[0], data, where)
    problems = []
    for kind in kinds:
        try:
            return _convert(kind, data, where)
        except ConfigError as problem:
            problems.append(str(problem))
    raise ConfigError(f"{where} is {data!r:.80}, but must be {' or '.join(map(_name, kinds))}")


def _tag(kind: Any) -> str | None:
    """The value of a dataclass's ``kind`` field, by which a union of dataclasses is told apart."""
    if not dataclasses.is_dataclass(kind):
        return None
    return next((str(field.default) for field in dataclasses.fields(kind) if field.name == "kind"), None)


def _dataclass(kind: Any, data: Any, where: str) -> Any:
    if isinstance(data, str) and (named := getattr(kind, "named", None)):
        return named(data)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where} is {data!r:.80}, but must be an object with the keys of {kind.__name__}")
    hints = _hints(kind)
    for key in data:
        if key not in hints:
            raise ConfigError(f"{where} has no {key!r:.80}; {nearest(str(key), hints)}")
    missing = [
        field.name
        for field in dataclasses.fields(kind)
        if field.name not in data
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}")
    return kind(**{key: _convert(hints[key], item, f"{where}.{key}") for key, item in data.items()})


def _name(kind: Any) -> str:
    if kind is types.NoneType:
        return "null"
    if typing.get_origin(kind) is tuple:
        return 'a JSON list, such as ["a", "b"] or [1, 2] (mind the shell\'s quotes)'
    return _NAMES.get(kind) or getattr(kind, "__name__", str(kind))
