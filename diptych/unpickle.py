"""A pickle machine that can build data and nothing else.

Python's own unpickler resolves names, calls what they stand for and sets attributes of what comes out; restricting it
means closing each of these doors. This one has no such doors: it knows the two dozen opcodes that TorchScript and the
Python 2 of old data sets write, makes modules, lists, dicts and numbers itself, and asks its caller what a name or a
storage stands for.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Protocol, TypeVar

T = TypeVar("T")


class Names(Protocol):
    """What the owner of a pickle knows about it."""

    def named(self, module: str, name: str) -> Any:
        """The value of a name: a ``Kind``, a ``Function`` or plain data; raises for any other name."""

    def stored(self, identity: Any) -> Any:
        """The value of a persistent id."""


@dataclass(frozen=True)
class Kind:
    """A class by name; instances of it are ``Module`` values."""

    name: str


@dataclass(frozen=True)
class Function:
    """One of the caller's functions, the only things a pickle can call."""

    call: Callable[..., Any]


@dataclass(eq=False)
class Module:
    """An instance of any class: the name of the class, and its attributes.

    ``takes``: what its state must be; a tuple where the class has a form of its own, as NumPy's arrays have.
    """

    kind: str
    state: Any = field(default_factory=dict)
    takes: type = dict


_MARK = object()
_MOST_OPCODES = 1_000_000  # of a pickle; a tensor takes 25

Opcode = tuple[pickletools.OpcodeInfo, Any, int | None]


def opcodes(pickled: bytes | IO[bytes], before: int = 0) -> Iterator[Opcode]:
    """Those of one pickle, as ``pickletools`` tells them; UnpicklingError where they, and those ``before``, are more
    than weights need."""
    for count, opcode in enumerate(pickletools.genops(pickled), before):
        if count > _MOST_OPCODES:
            raise pickle.UnpicklingError(f"it has more than {_MOST_OPCODES:,} instructions, as no weights need")
        yield opcode


def rebuild(pickled: bytes, names: Names) -> Any:
    """The value a pickle describes; raises pickle.UnpicklingError for an opcode that no model needs."""
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for opcode, argument, position in opcodes(pickled):
        match opcode.name:
            case "PROTO":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                stack.append(_MARK)
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(names.named(*str(argument).split(" ", 1)))
            case "BINPERSID":
                stack.append(names.stored(stack.pop()))
            case _ if opcode.name in _VALUES:
                stack.append(_VALUES[opcode.name](argument))
            case "TUPLE":
                stack.append(tuple(_since_mark(stack)))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack[-int(opcode.name[-1]) :] = [tuple(stack[-int(opcode.name[-1]) :])]
            case "APPEND" | "APPENDS":
                items = [stack.pop()] if opcode.name == "APPEND" else _since_mark(stack)
                _expect(stack[-1], list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = [stack.pop(-2), stack.pop()] if opcode.name == "SETITEM" else _since_mark(stack)
                # Tuples in tuples could take for ever to hash.
                keys = [_expect(key, (str, int)) for key in items[::2]]
                _expect(stack[-1], dict).update(zip(keys, items[1::2], strict=True))
            case "NEWOBJ":
                stack.pop()  # a module's constructor takes nothing
                stack.append(Module(_expect(stack.pop(), Kind).name))
            case "REDUCE":
                arguments = _expect(stack.pop(), tuple)
                stack.append(_expect(stack.pop(), Function).call(*arguments))
            case "BUILD":
                state, module = stack.pop(), _expect(stack[-1], Module)
                module.state = _expect(state, module.takes)
            case _:
                raise pickle.UnpicklingError(f"opcode {opcode.name} at byte {position}")
    raise pickle.UnpicklingError("it has no end")


_VALUES: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), lambda value: value),
    # Bytes to Python 2, as many characters of Latin-1 here.
    **dict.fromkeys(("BINSTRING", "SHORT_BINSTRING"), lambda value: value),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
}


def _since_mark(stack: list[Any]) -> list[Any]:
    items: list[Any] = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    return items[::-1]


def _expect(value: Any, kind: type[T] | tuple[type[T], ...]) -> T:
    if not isinstance(value, kind):
        expected = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
        raise pickle.UnpicklingError(f"{expected} expected, {type(value).__name__} found")
    return value
