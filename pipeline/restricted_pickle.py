"""A pickle reader that cannot run code: it interprets the byte stream itself and never imports anything.

Python's own unpickler looks names up and calls them. This one keeps a name as a :class:`Symbol`, a piece of text. A
:class:`Policy` says which names may be mentioned, which stand for inert records, and which "calls" are answered by
functions of ours that only look at their arguments; any other name ends the reading before anything happens. Byte
strings stay views into the file (hand in an ``mmap`` to read gigabytes without holding them). Operations, stack,
strings and numbers are bounded; what is returned may still be deep or cyclic, so walk it with a limit (:func:`plain`).

Only the operations that Python writes since protocol 2 are known.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pipeline.types import PipelineError

Buffer = bytes | memoryview
SCALARS = (str, int, float, bool, type(None))
_MARK = object()


class DamagedPickleError(PipelineError):
    """The stream ends early or makes no sense."""


class RefusedPickleError(PipelineError):
    """The stream names or does something that is not on the list."""


@dataclass(frozen=True)
class Symbol:
    """An admitted global name, never resolved."""

    name: str


@dataclass(eq=False)
class Record:
    """An inert stand-in for an object: the name of its class and the state that would have been given to it."""

    kind: str
    state: Any = None


class Buildable:
    """Base of our own objects that accept a state after their creation."""

    def build(self, state: Any) -> None:
        """Take the state; raise :class:`DamagedPickleError` when it has a wrong form."""
        raise NotImplementedError


@dataclass(frozen=True)
class Limits:
    """Bounds of one stream: operations, objects on the stack, bytes of one string and of all, bytes of one integer."""

    operations: int = 5_000_000
    stack: int = 500_000
    text: int = 16_000_000
    all_text: int = 200_000_000
    integer: int = 64


@dataclass(frozen=True)
class Policy:
    """What a stream may contain.

    Attributes:
        calls: name -> our function that answers a call with its argument tuple.
        classes: name -> our function that makes the empty instance; None makes a :class:`Record`.
        symbols: names that may be mentioned, nothing more.
        persistent: answers a persistent id, or None where there may be none.
    """

    calls: Mapping[str, Callable[[tuple], Any]] = field(default_factory=dict)
    classes: Mapping[str, Callable[[], Any] | None] = field(default_factory=dict)
    symbols: frozenset[str] = frozenset()
    persistent: Callable[[Any], Any] | None = None

    def admits(self, name: str) -> bool:
        """Whether a name is on one of the lists."""
        return name in self.calls or name in self.classes or name in self.symbols


def read_pickle(data: Buffer, policy: Policy, limits: Limits | None = None, start: int = 0) -> tuple[Any, int]:
    """Read one pickle.

    Args:
        data: bytes, or a view of a mapped file; may hold more after the pickle.
        policy: what is admitted.
        limits: bounds.
        start: where the pickle begins.

    Returns:
        The content, and the position after it.

    Raises:
        DamagedPickleError: truncated or malformed.
        RefusedPickleError: a name or operation that is not admitted, or a limit exceeded.
    """
    machine = _Machine(memoryview(data), policy, limits or Limits(), start)
    try:
        return machine.run(), machine.position
    except (struct.error, IndexError, KeyError, UnicodeDecodeError, TypeError, ValueError, OverflowError) as error:
        raise DamagedPickleError(
            "The file is damaged or was only half downloaded; delete it and fetch it again."
        ) from error


def plain(value: Any, depth: int = 8, budget: int = 10_000) -> Any:
    """The JSON-like part of some content: scalars, lists and dicts with string keys; anything else becomes None.

    Args:
        value: content of a pickle, possibly cyclic.
        depth: containers nested deeper are cut off.
        budget: most values looked at.
    """
    left = [budget]

    def walk(item: Any, depth: int) -> Any:
        left[0] -= 1
        if left[0] < 0 or (depth == 0 and isinstance(item, (list, tuple, dict))):
            return None
        if isinstance(item, SCALARS):
            return item
        if isinstance(item, dict):
            return {k: walk(v, depth - 1) for k, v in list(item.items())[: max(left[0], 0)] if isinstance(k, str)}
        if isinstance(item, (list, tuple)):
            return [walk(v, depth - 1) for v in item[: max(left[0], 0)]]
        return None

    return walk(value, depth)


def check_key(key: Any) -> Any:
    """Dictionary keys and set members are scalars or flat tuples of scalars (hashing anything deeper could crash)."""
    if isinstance(key, SCALARS) or (isinstance(key, tuple) and all(isinstance(k, SCALARS) for k in key)):
        return key
    raise RefusedPickleError("The file uses an object as a dictionary key and was refused.")


class _Machine:
    """The stack machine. Each operation is one small method, found by its byte in ``OPERATIONS``."""

    OPERATIONS: ClassVar[dict[int, Callable[[_Machine], Any]]] = {}

    def __init__(self, data: memoryview, policy: Policy, limits: Limits, start: int) -> None:
        self.data, self.policy, self.limits, self.position = data, policy, limits, start
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.text_left = limits.all_text

    def run(self) -> Any:
        for _ in range(self.limits.operations):
            code = self.data[self.position]
            self.position += 1
            if code == 0x2E:  # STOP
                return self.finish()
            operation = self.OPERATIONS.get(code)
            if operation is None:
                raise RefusedPickleError(f"The file uses the pickle operation 0x{code:02x}, which is not admitted.")
            operation(self)
            if len(self.stack) > self.limits.stack:
                break
        raise RefusedPickleError("The file is nested or long beyond all reason and was refused.")

    def finish(self) -> Any:
        value = self.pop()
        if self.stack:
            raise ValueError("values left on the stack")
        return value

    # ------------------------------------------------------------------------------------------------- reading

    def take(self, count: int) -> memoryview:
        end = self.position + count
        if count < 0 or end > len(self.data):
            raise IndexError("end of data")
        part = self.data[self.position : end]
        self.position = end
        return part

    def number(self, form: str) -> Any:
        return struct.unpack("<" + form, self.take(struct.calcsize(form)))[0]

    def text(self, form: str) -> None:
        size = self.number(form)
        self.text_left -= size
        if size > self.limits.text or self.text_left < 0:
            raise RefusedPickleError("The file holds an unreasonable amount of text and was refused.")
        self.stack.append(str(self.take(size), "utf-8", "surrogatepass"))

    def line(self) -> str:
        for end in range(self.position, min(self.position + 500, len(self.data))):
            if self.data[end] == 0x0A:
                text = str(self.data[self.position : end], "utf-8")
                self.position = end + 1
                return text
        raise IndexError("no line end")

    def integer(self, form: str) -> None:
        size = self.number(form)
        if not 0 <= size <= self.limits.integer:
            raise RefusedPickleError("The file holds an unreasonably large number and was refused.")
        self.stack.append(int.from_bytes(self.take(size), "little", signed=True))

    # --------------------------------------------------------------------------------------------------- stack

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("unexpected mark")
        return value

    def top(self, kind: type | tuple[type, ...]) -> Any:
        value = self.stack[-1]
        if not isinstance(value, kind):
            raise ValueError("another kind of object expected")
        return value

    def duplicate(self) -> None:
        value = self.pop()
        self.stack += [value, value]

    def since_mark(self) -> list[Any]:
        items: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            items.append(value)
        return items[::-1]

    def tuple_of(self, count: int) -> None:
        self.stack.append(tuple([self.pop() for _ in range(count)][::-1]))

    def remember(self, index: int) -> None:
        if self.stack[-1] is _MARK:
            raise ValueError("unexpected mark")
        self.memo[index] = self.stack[-1]

    # ---------------------------------------------------------------------------------------------- containers

    def append(self) -> None:
        value = self.pop()
        self.top(list).append(value)

    def appends(self) -> None:
        items = self.since_mark()
        self.top(list).extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[check_key(key)] = value

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def add_items(self) -> None:
        items = self.since_mark()
        self.top(set).update(check_key(item) for item in items)

    def frozen_set(self) -> None:
        self.stack.append(frozenset(check_key(item) for item in self.since_mark()))

    # ------------------------------------------------------------------------------------------------- objects

    def symbol(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name must be text")
        full = f"{module}.{name}"
        if not self.policy.admits(full):
            raise RefusedPickleError(
                f"The file refers to {full[:120]!r}, which is not admitted; nothing of it was run."
            )
        self.stack.append(Symbol(full))

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.symbol(module, name)

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        answer = self.policy.calls.get(function.name) if isinstance(function, Symbol) else None
        if answer is None or not isinstance(arguments, tuple):
            named = function.name if isinstance(function, Symbol) else "something that is no function"
            raise RefusedPickleError(f"The file calls {named[:120]}, which is not admitted; nothing of it was run.")
        self.stack.append(answer(arguments))

    def new_object(self, keywords: bool = False) -> None:
        if keywords:
            self.pop()
        self.pop()
        kind = self.pop()
        if not isinstance(kind, Symbol) or kind.name not in self.policy.classes:
            raise RefusedPickleError("The file makes an object of a class that is not admitted.")
        make = self.policy.classes[kind.name]
        self.stack.append(Record(kind.name) if make is None else make())

    def build(self) -> None:
        state = self.pop()
        target = self.top((Record, Buildable, dict))
        if isinstance(target, Record):
            target.state = state
        elif isinstance(target, Buildable):
            target.build(state)

    def persistent(self) -> None:
        if self.policy.persistent is None:
            raise RefusedPickleError("The file refers to data outside of it and was refused.")
        self.stack.append(self.policy.persistent(self.pop()))


def _operations() -> dict[int, Callable[[_Machine], Any]]:
    push = lambda make: lambda m: m.stack.append(make())  # noqa: E731
    table: dict[bytes, Callable[[_Machine], Any]] = {
        b"\x80": lambda m: _check_protocol(m.number("B")),
        b"\x95": lambda m: _check_frame(m, m.number("Q")),
        b"(": push(lambda: _MARK),
        b"0": lambda m: m.stack.pop(),
        b"1": lambda m: m.since_mark(),
        b"2": _Machine.duplicate,
        b"N": push(lambda: None),
        b"\x88": push(lambda: True),
        b"\x89": push(lambda: False),
        b"J": lambda m: m.stack.append(m.number("i")),
        b"K": lambda m: m.stack.append(m.number("B")),
        b"M": lambda m: m.stack.append(m.number("H")),
        b"\x8a": lambda m: m.integer("B"),
        b"\x8b": lambda m: m.integer("i"),
        b"G": lambda m: m.stack.append(struct.unpack(">d", m.take(8))[0]),
        b"X": lambda m: m.text("I"),
        b"\x8c": lambda m: m.text("B"),
        b"\x8d": lambda m: m.text("Q"),
        b"C": lambda m: m.stack.append(m.take(m.number("B"))),
        b"B": lambda m: m.stack.append(m.take(m.number("I"))),
        b"\x8e": lambda m: m.stack.append(m.take(m.number("Q"))),
        b"\x96": lambda m: m.stack.append(m.take(m.number("Q"))),
        b")": push(tuple),
        b"t": lambda m: m.stack.append(tuple(m.since_mark())),
        b"\x85": lambda m: m.tuple_of(1),
        b"\x86": lambda m: m.tuple_of(2),
        b"\x87": lambda m: m.tuple_of(3),
        b"]": push(list),
        b"a": _Machine.append,
        b"e": _Machine.appends,
        b"}": push(dict),
        b"s": _Machine.set_item,
        b"u": lambda m: m.set_items(m.since_mark()),
        b"\x8f": push(set),
        b"\x90": _Machine.add_items,
        b"\x91": _Machine.frozen_set,
        b"q": lambda m: m.remember(m.number("B")),
        b"r": lambda m: m.remember(m.number("I")),
        b"\x94": lambda m: m.remember(len(m.memo)),
        b"h": lambda m: m.stack.append(m.memo[m.number("B")]),
        b"j": lambda m: m.stack.append(m.memo[m.number("I")]),
        b"c": lambda m: m.symbol(m.line(), m.line()),
        b"\x93": _Machine.stack_global,
        b"R": _Machine.reduce,
        b"\x81": _Machine.new_object,
        b"\x92": lambda m: m.new_object(keywords=True),
        b"b": _Machine.build,
        b"Q": _Machine.persistent,
    }
    return {code[0]: operation for code, operation in table.items()}


def _check_protocol(version: int) -> None:
    if not 2 <= version <= 5:
        raise RefusedPickleError(f"The file is a pickle of protocol {version}; protocols 2 to 5 are read.")


def _check_frame(machine: _Machine, size: int) -> None:
    if size > len(machine.data) - machine.position:
        raise IndexError("frame beyond the end")


_Machine.OPERATIONS.update(_operations())
