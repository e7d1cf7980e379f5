"""MO-SegNet: a fold over the rows of Table 1. Read `table1.py` first; every shape follows from its rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cxrcad.config import NetworkConfig
from cxrcad.networks import table1
from cxrcad.networks.blocks import ConvUnit, InputChannels, channels_of, check_input, tasks_of
from cxrcad.networks.table1 import TABLE_1, Row

__all__ = ["MOSegNet", "build", "mo_segnet_rows"]

_HEADS = {"lesion": 43, "lung": 45}


def build(config: NetworkConfig, side: int) -> nn.Module:
    """MO-SegNet as `config` has it. Raises NetworkError."""
    rows = mo_segnet_rows(tasks=tasks_of(config), norm=config.norm, aspp=config.aspp, skips=config.skips)
    return MOSegNet(rows, groups=config.groups, channels=channels_of(config), side=side)


def mo_segnet_rows(
    *, tasks: tuple[str, ...] = ("lesion", "lung"), norm: str = "table1", aspp: bool = True, skips: bool = True
) -> tuple[Row, ...]:
    """Table 1's rows for a variant of MO-SegNet: tasks (Table 2), norm (Table 4), ASPP and skips (Figure 3)."""
    rows = TABLE_1
    if not skips:
        rows = table1.without_skips(rows)
    if not aspp:
        rows = table1.without_aspp(rows)
    return table1.with_tasks(table1.with_norm(rows, norm), tasks)


class MOSegNet(nn.Module):
    """The network that `rows` describe. (B, 1, H, W), 0-1 -> {task: (B, 2, H, W) logits}.

    H and W must be multiples of 16 (four poolings). Channel 1 of each output is the lesion or the lung.
    """

    multiple = 16

    def __init__(self, rows: tuple[Row, ...], *, groups: int, channels: tuple[str, ...], side: int) -> None:
        super().__init__()
        self.rows = rows
        self.inputs = InputChannels(channels, side)
        widths = {0: len(channels)}
        layers: dict[str, nn.Module] = {}
        for row in rows:
            width = sum(widths[bottom] for bottom in row.inputs)
            if row.kind == "pool":
                layers[str(row.number)] = nn.MaxPool2d(3, stride=2, padding=1)
            elif row.kind == "concat":
                widths[row.number] = width
                continue
            elif row.number in _HEADS.values():
                layers[str(row.number)] = nn.Conv2d(width, row.channels or 2, 1)
            elif row.kind != "sum":
                layers[str(row.number)] = ConvUnit(
                    width,
                    row.channels or width,
                    row.kernel or 3,
                    norm=row.norm,
                    groups=groups,
                    rate=row.rate,
                    transposed=row.kind == "tconv",
                )
            widths[row.number] = row.channels or width
        self.layers = nn.ModuleDict(layers)
        second = [row.number for row in rows if row.kind == "pool"][1]
        self.early = tuple(f"layers.{number}." for number in layers if int(number) < second)
        self.heads = {task: number for task, number in _HEADS.items() if str(number) in layers}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        check_input(x, self.multiple)
        outputs = {0: self.inputs(x)}
        for row in self.rows:
            bottoms = [outputs[bottom] for bottom in row.inputs]
            if row.kind == "concat":
                outputs[row.number] = torch.cat(bottoms, dim=1)
            elif row.kind == "sum":
                outputs[row.number] = bottoms[0] + bottoms[1] + bottoms[2] + bottoms[3]
            else:
                outputs[row.number] = self.layers[str(row.number)](bottoms[0])
        return {task: outputs[number] for task, number in self.heads.items()}
