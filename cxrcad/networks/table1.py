"""Table 1 of the paper as data: the rows of MO-SegNet, with what the table leaves open beside them.

Source: Park, Jeong, Moon, "X-ray Image Segmentation using Multi-task Learning", KSII TIIS 2020, Table 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["TABLE_1", "Row", "with_norm", "with_tasks", "without_aspp", "without_skips"]


@dataclass(frozen=True)
class Row:
    """One row of Table 1, as printed; `kind` is conv, pool, aconv, sum, tconv or concat.

    `channels`, `kernel` and `norm` are None where the table prints N/A. `inputs` are row numbers; 0 is the image.
    """

    number: int
    kind: str
    inputs: tuple[int, ...]
    channels: int | None
    relu: bool
    kernel: int | None
    norm: str | None
    stride: int = 1
    rate: int = 1


def _conv(number: int, bottom: int, channels: int, norm: str | None, kernel: int = 3, rate: int = 1) -> Row:
    return Row(number, "aconv" if rate > 1 else "conv", (bottom,), channels, True, kernel, norm, rate=rate)


def _pool(number: int, bottom: int) -> Row:
    return Row(number, "pool", (bottom,), None, False, 3, "GN", stride=2)


def _up(number: int, bottom: int, channels: int) -> Row:
    return Row(number, "tconv", (bottom,), channels, True, 3, "BN", stride=2)


def _concat(number: int, bottom: int, skip: int, channels: int) -> Row:
    return Row(number, "concat", (bottom, skip), channels, False, None, None)


TABLE_1: tuple[Row, ...] = (
    _conv(1, 0, 16, "GN"),
    _conv(2, 1, 16, "GN"),
    _pool(3, 2),  # printed with GN; our pooling has no norm (rows 3, 6, 10, 14), and padding 1
    _conv(4, 3, 32, "GN"),
    _conv(5, 4, 32, "GN"),
    _pool(6, 5),
    _conv(7, 6, 64, "GN"),
    _conv(8, 7, 64, "GN"),
    _conv(9, 8, 64, "GN"),
    _pool(10, 9),
    _conv(11, 10, 128, "GN"),
    _conv(12, 11, 128, "GN"),
    _conv(13, 12, 128, "GN"),
    _pool(14, 13),
    # Rows 15, 18, 21, 24 are printed with BN while the text speaks of GN only; kept as printed. Batch norm sees one
    # image a batch: training uses that image's statistics, inference the running ones (torch's momentum, 0.1).
    _conv(15, 14, 128, "BN", rate=3),
    _conv(16, 15, 128, "GN", kernel=1),
    _conv(17, 16, 128, "GN", kernel=1),
    _conv(18, 14, 128, "BN", rate=5),
    _conv(19, 18, 128, "GN", kernel=1),
    _conv(20, 19, 128, "GN", kernel=1),
    _conv(21, 14, 128, "BN", rate=7),
    _conv(22, 21, 128, "GN", kernel=1),
    _conv(23, 22, 128, "GN", kernel=1),
    _conv(24, 14, 128, "BN", rate=9),
    _conv(25, 24, 128, "GN", kernel=1),
    _conv(26, 25, 128, "GN", kernel=1),
    Row(27, "sum", (17, 20, 23, 26), 128, False, None, None),
    _up(28, 27, 128),  # padding 1, output padding 1: exactly twice the side (rows 28, 32, 36, 40)
    _concat(29, 28, 13, 128),  # printed 128; a concat has both inputs' channels: 256 (row 33: 128, 37: 64, 41: 32)
    _conv(30, 29, 64, "BN"),
    _conv(31, 30, 64, "BN"),
    _up(32, 31, 64),
    _concat(33, 32, 9, 64),
    _conv(34, 33, 32, "BN"),
    _conv(35, 34, 32, "BN"),
    _up(36, 35, 32),
    _concat(37, 36, 5, 32),
    _conv(38, 37, 16, "BN"),
    _conv(39, 38, 16, "BN"),
    _up(40, 39, 16),
    _concat(41, 40, 2, 16),
    # Rows 42-43 are the lesion head, 44-45 the lung head. Rows 43 and 45 are printed with ReLU; logits have none.
    _conv(42, 41, 16, "BN"),
    _conv(43, 42, 2, None, kernel=1),
    _conv(44, 41, 16, "BN"),
    _conv(45, 44, 2, None, kernel=1),
)


def without_aspp(rows: tuple[Row, ...] = TABLE_1) -> tuple[Row, ...]:
    """The rows with two 3x3 convolutions of 128 where rows 15-27 stood: the U-Net of Figure 3 b (a without skips).

    The paper does not print its U-Net; one level's two convolutions are what a U-Net has at its bottom.
    """
    kept = tuple(row for row in rows if not 15 <= row.number <= 27)
    bottom = (_conv(15, 14, 128, "GN"), _conv(16, 15, 128, "GN"))
    rest = (replace(row, inputs=(16,)) if row.number == 28 else row for row in kept[14:])
    return (*kept[:14], *bottom, *rest)


def without_skips(rows: tuple[Row, ...] = TABLE_1) -> tuple[Row, ...]:
    """The rows without the concats: each following row reads the transposed convolution (Figure 3 a and c)."""
    source = {row.number: row.inputs[0] for row in rows if row.kind == "concat"}
    return tuple(
        replace(row, inputs=tuple(source.get(bottom, bottom) for bottom in row.inputs))
        for row in rows
        if row.kind != "concat"
    )


def with_norm(rows: tuple[Row, ...], norm: str) -> tuple[Row, ...]:
    """The rows with one norm wherever the table prints one: its own mix (`table1`), `group` or `batch` (Table 4)."""
    if norm == "table1":
        return rows
    name = {"group": "GN", "batch": "BN"}[norm]
    return tuple(replace(row, norm=name) if row.norm else row for row in rows)


def with_tasks(rows: tuple[Row, ...], tasks: tuple[str, ...]) -> tuple[Row, ...]:
    """The rows that `tasks` need: without "lung", rows 44-45 are left out (Table 2, single task)."""
    dropped = set() if "lung" in tasks else {44, 45}
    dropped |= set() if "lesion" in tasks else {42, 43}
    return tuple(row for row in rows if row.number not in dropped)
