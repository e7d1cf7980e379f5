"""Which bits of a stored value are the picture's: those that the header states, unless the picture goes beyond them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["picture_values", "with_sign"]


def picture_values(
    raw: NDArray[Any], bits: int, high: int, signed: bool, overlay_bits: tuple[int, ...] = ()
) -> tuple[NDArray[Any], str]:
    """The values of a picture (rows, cols) in `raw`, unsigned of 8 or 16 bit, and a note; "" where they are as stated.

    `bits` and `high` are BitsStored and HighBit; bits above are overlays (PS3.3 C.9.2, before 2004) or the sign's, and
    left out. But where they belong to the picture BitsStored is wrong, and they are kept. Neighbours tell: where bits
    above change from one pixel to the next, the picture that goes beyond its bits is smooth only with them, and the
    picture under an overlay only without.
    """
    allocated = 8 * raw.dtype.itemsize
    above = raw >> (high + 1)
    beyond = above != 0
    if signed:
        beyond &= above != ((raw >> high) & 1) * (2 ** (allocated - high - 1) - 1)
    if not beyond.any():
        return _value(raw, bits, high, signed), ""
    values = raw.astype(np.int32) & ~sum(1 << bit for bit in overlay_bits if bit > high)
    if not _smoother(_value(values, allocated, allocated - 1, signed), _value(values, high + 1, high, signed), high):
        left_out = f"bits above HighBit {high} in {np.count_nonzero(beyond):,} pixels left out"
        return _value(values, bits, high, signed), left_out
    used = allocated if signed else int(values.max()).bit_length()
    found = _value(values, used - (high + 1 - bits), used - 1, signed)
    return found, f"values up to {found.max():,}, beyond BitsStored {bits}: all {used} bit read"


def with_sign(values: NDArray[Any], bits: int, signed: bool) -> tuple[NDArray[Any], str]:
    """The values of a picture (rows, cols) of `bits` with the sign that it has, and a note; "" where it is as stated.

    Where the header states the other one (PixelRepresentation), half of the values are 2**bits off: the picture is then
    smoother without that step at most of the places where neighbours lie on both sides of it (docs/DETECT.md). Values
    beyond `bits` have no such step, and are left as they are.
    """
    if values.max() >= 2 ** (bits - signed):
        return values, ""

    def other(part: NDArray[Any]) -> NDArray[Any]:
        upper = part < 0 if signed else part >= 2 ** (bits - 1)
        return part.astype(np.int32) + np.where(upper, 2**bits if signed else -(2**bits), 0)

    some = values[::4].astype(np.int32)  # rows enough to tell
    inside = (some > some.min()) & (some < some.max())  # marks and shutters lie at the ends
    if not _smoother(other(some), some, bits - 1, inside):
        return values, ""
    stated, found = ("signed", "unsigned") if signed else ("unsigned", "signed")
    return other(values), f"values stated as {stated}, but smooth only as {found}: taken as these"


def _value(values: NDArray[Any], bits: int, high: int, signed: bool) -> NDArray[Any]:
    """The `bits` that end at `high`, with their sign."""
    value: NDArray[Any] = (values >> (high + 1 - bits)) & (2**bits - 1)
    return value.astype(np.int32) - ((value.astype(np.int32) >> (bits - 1)) << bits) if signed else value


def _smoother(whole: NDArray[Any], cut: NDArray[Any], high: int, inside: NDArray[np.bool_] | None = None) -> bool:
    """Whether `whole` changes less than `cut` at most of the places where the bits above `high` change.

    Only places between two pixels that are `inside` count; by default all.
    """
    votes = 0
    for axis in (0, 1):
        changes = np.diff((whole - cut) >> (high + 1), axis=axis) != 0
        if inside is not None:
            changes &= (inside[1:] & inside[:-1]) if axis == 0 else (inside[:, 1:] & inside[:, :-1])
        one, other = (np.abs(np.diff(values, axis=axis))[changes] for values in (whole, cut))
        votes += int(np.count_nonzero(one < other)) - int(np.count_nonzero(one > other))
    return votes > 0
