"""Vector instructions for the kernels that draw frames: loops that LLVM does not turn into vector code by itself.

Each is written once in LLVM's own terms, for vectors of a fixed length, and compiles to whatever the processor has
(AVX-512, AVX2, NEON). They are called from numba kernels like functions and check nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

LANES = 8
"""Pixels that are blended at once."""
INT, WIDE = ir.IntType(32), ir.IntType(64)
FLAGS = ("contract", "reassoc", "nsz", "arcp", "afn")
EXP2 = (0.0558282, 0.2402, 0.69314, 1.0)
"""2^f for -0.5 <= f <= 0.5, highest power first: 2e-4 of the value, enough for 255 levels."""


def _vector(lanes: int) -> ir.VectorType:
    return ir.VectorType(ir.FloatType(), lanes)


def _constant(values: Sequence[float]) -> ir.Constant:
    return ir.Constant(_vector(len(values)), [float(np.float32(value)) for value in values])


def _same(builder: ir.IRBuilder, value: ir.Value, lanes: int = LANES) -> ir.Value:
    """A vector of equal lanes."""
    nothing = ir.Constant(_vector(lanes), ir.Undefined)
    first = builder.insert_element(nothing, value, INT(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(INT, lanes), [0] * lanes))


def _lanes(builder: ir.IRBuilder, vector: ir.Value, which: Sequence[int]) -> ir.Value:
    """Some lanes of a vector, in that order."""
    places = ir.Constant(ir.VectorType(INT, len(which)), list(which))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)


def _add(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    return builder.fadd(a, b, flags=FLAGS)


def _multiply(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    return builder.fmul(a, b, flags=FLAGS)


def _data(context: Any, builder: ir.IRBuilder, kind: types.Array, array: ir.Value) -> ir.Value:
    """Pointer to the first element of an array."""
    return make_array(kind)(context, builder, array).data


def _load(builder: ir.IRBuilder, pointer: ir.Value, lanes: int = LANES) -> ir.Value:
    return builder.load(builder.bitcast(pointer, _vector(lanes).as_pointer()), align=4)


def _store(builder: ir.IRBuilder, vector: ir.Value, pointer: ir.Value) -> None:
    builder.store(vector, builder.bitcast(pointer, vector.type.as_pointer()), align=4)


def _call(builder: ir.IRBuilder, name: str, *vectors: ir.Value) -> ir.Value:
    """One of LLVM's own functions of vectors."""
    kind = vectors[0].type
    function = ir.FunctionType(kind, [kind] * len(vectors))
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), vectors)


def _exp2(builder: ir.IRBuilder, t: ir.Value) -> ir.Value:
    """2^t for t < 127."""
    lanes = t.type.count
    t = _call(builder, f"llvm.maxnum.v{lanes}f32", t, _constant([-126.0] * lanes))
    whole = _call(builder, f"llvm.floor.v{lanes}f32", _add(builder, t, _constant([0.5] * lanes)))
    rest = builder.fsub(t, whole, flags=FLAGS)
    power = _constant([EXP2[0]] * lanes)
    for factor in EXP2[1:]:
        power = _add(builder, _multiply(builder, power, rest), _constant([factor] * lanes))
    integers = ir.VectorType(INT, lanes)
    exponent = builder.add(builder.fptosi(whole, integers), ir.Constant(integers, [127] * lanes))
    exponent = builder.shl(exponent, ir.Constant(integers, [23] * lanes))
    return _multiply(builder, power, builder.bitcast(exponent, t.type))


@intrinsic
def falls(typing: Any, profile: types.Array, at: types.Integer, offset: types.Float, curve: types.Float) -> Any:
    """profile[at + l] = 2^(curve (offset - l)^2) for the eight lanes l; float32, curve <= 0."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
        place = builder.gep(_data(context, builder, signature.args[0], args[0]), [args[1]])
        away = _away(builder, args[2])
        square = _multiply(builder, away, away)
        _store(builder, _exp2(builder, _multiply(builder, _same(builder, args[3]), square)), place)
        return context.get_dummy_value()

    return types.void(profile, types.int64, types.float32, types.float32), emit


def _away(builder: ir.IRBuilder, offset: ir.Value) -> ir.Value:
    """offset - l for the eight lanes l."""
    return _add(builder, _same(builder, offset), _constant([-float(lane) for lane in range(LANES)]))


@intrinsic
def add_columns(
    typing: Any, state: types.Array, at: types.Integer, row: types.Integer, plane: types.Integer,
    dx: types.Float, dy: types.Float, a: types.Float, b: types.Float, opacity: types.Float, least: types.Float,
    profile: types.Array, start: types.Integer, rows: types.Integer,
    red: types.Float, green: types.Float, blue: types.Float,
) -> Any:  # fmt: skip
    """Blend eight columns of a splat behind what is there.

    alpha of lane l in row y is opacity 2^(a u^2 + b u v) profile[start + y] with u = dx - l and v = dy - y, and 0 where
    that is under ``least``.

    Args:
        state: flat float32; row y holds T at ``at`` + y ``row``, and three colours ``plane`` further each.
        dx, dy, a, b, opacity, least, red, green, blue: float32.
        profile: flat float32. start, rows: which of it, int64.
    """
    numbers = [types.int64] * 3 + [types.float32] * 6
    signature = types.void(state, *numbers, profile, types.int64, types.int64, *[types.float32] * 3)

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
        _, at, row, plane, dx, dy, a, b, opacity, least, _, start, rows, *color = args
        least, color = _same(builder, least), [_same(builder, channel) for channel in color]
        across, turn = _across(builder, dx, dy, a, b, opacity)
        first = builder.gep(_data(context, builder, signature.args[0], args[0]), [at])
        down = builder.gep(_data(context, builder, signature.args[10], args[10]), [start])
        with cgutils.for_range(builder, rows) as loop:
            place = builder.gep(first, [builder.mul(loop.index, row)])
            here = builder.load(across)
            builder.store(_multiply(builder, here, turn), across)
            alpha = _multiply(builder, here, _same(builder, builder.load(builder.gep(down, [loop.index]))))
            seen = builder.fcmp_ordered(">=", alpha, least)
            light = _load(builder, place)
            weight = _multiply(builder, light, builder.select(seen, alpha, _constant([0.0] * LANES)))
            _store(builder, builder.fsub(light, weight, flags=FLAGS), place)
            for channel in color:
                place = builder.gep(place, [plane])
                _store(builder, _add(builder, _load(builder, place), _multiply(builder, weight, channel)), place)
        return context.get_dummy_value()

    return signature, emit


def _across(
    builder: ir.IRBuilder, dx: ir.Value, dy: ir.Value, a: ir.Value, b: ir.Value, opacity: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """A variable with opacity 2^(a u^2 + b u dy), u = dx - l, and the factor 2^(-b u) from each row to the next."""
    u, slant = _away(builder, dx), _same(builder, b)
    lean = _multiply(builder, slant, u)
    power = _multiply(builder, _multiply(builder, _same(builder, a), u), u)
    power = _exp2(builder, _add(builder, power, _multiply(builder, lean, _same(builder, dy))))
    across = cgutils.alloca_once_value(builder, _multiply(builder, _same(builder, opacity), power))
    return across, _exp2(builder, builder.fsub(_constant([0.0] * LANES), lean, flags=FLAGS))


@intrinsic
def brightest(typing: Any, state: types.Array, at: types.Integer, row: types.Integer) -> Any:
    """The largest of 8x8 values of a flat float32 array, whose rows start at ``at`` + y ``row``."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
        place = builder.gep(_data(context, builder, signature.args[0], args[0]), [args[1]])
        found = _load(builder, place)
        for _ in range(7):
            place = builder.gep(place, [args[2]])
            found = _call(builder, f"llvm.maxnum.v{LANES}f32", found, _load(builder, place))
        for half in (4, 2, 1):
            low, high = (_lanes(builder, found, range(k * half, (k + 1) * half)) for k in (0, 1))
            found = _call(builder, f"llvm.maxnum.v{half}f32", low, high)
        return builder.extract_element(found, INT(0))

    return types.float32(state, types.int64, types.int64), emit


@intrinsic
def fetch(typing: Any, table: types.Array, at: types.Integer) -> Any:
    """Ask for element ``at`` of an array of float32, counted flat, ahead of its use."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
        place = builder.gep(_data(context, builder, signature.args[0], args[0]), [args[1]])
        place = builder.bitcast(place, ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type, INT, INT, INT])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [place, INT(0), INT(3), INT(1)])  # to read, into the nearest cache, data
        return context.get_dummy_value()

    return types.void(table, types.int64), emit


@intrinsic
def skin(
    typing: Any, joints: types.Array, weights: types.Array, at: types.Integer, many: types.Integer,
    transforms: types.Array, x: types.Float, y: types.Float, z: types.Float, out: types.Array, to: types.Integer,
) -> Any:  # fmt: skip
    """out[to : to + 4] = (sum over k < many of weights[at + k] transforms[joints[at + k]]) (x, y, z, 1).

    Args:
        joints: uint8, counted flat from ``at``. weights: float32, likewise.
        transforms: (J, 16) float32, column by column. out: flat float32.
    """
    numbers = [types.float32] * 3
    signature = types.void(joints, weights, types.int64, types.int64, transforms, *numbers, out, types.int64)

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
        data = {k: _data(context, builder, signature.args[k], args[k]) for k in (0, 1, 4, 8)}
        joint, weight = builder.gep(data[0], [args[2]]), builder.gep(data[1], [args[2]])
        mixed = cgutils.alloca_once_value(builder, _constant([0.0] * 16))
        with cgutils.for_range(builder, args[3]) as loop:
            number = builder.zext(builder.load(builder.gep(joint, [loop.index])), WIDE)
            matrix = _load(builder, builder.gep(data[4], [builder.mul(number, WIDE(16))]), 16)
            share = _same(builder, builder.load(builder.gep(weight, [loop.index])), 16)
            builder.store(_add(builder, builder.load(mixed), _multiply(builder, share, matrix)), mixed)
        matrix = builder.load(mixed)
        total = _lanes(builder, matrix, range(12, 16))
        for column, value in enumerate(args[5:8]):
            part = _lanes(builder, matrix, range(4 * column, 4 * column + 4))
            total = _add(builder, total, _multiply(builder, part, _same(builder, value, 4)))
        _store(builder, total, builder.gep(data[8], [args[9]]))
        return context.get_dummy_value()

    return signature, emit
