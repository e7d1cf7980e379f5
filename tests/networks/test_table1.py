"""MO-SegNet's rows against the paper's Table 1, transcribed here by hand."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cxrcad.networks.mosegnet import MOSegNet, mo_segnet_rows
from cxrcad.networks.table1 import TABLE_1, Row

PAPER = """\
No.\tLayer Type\tBottom Layer\tNeurons\tActivation\tKernel Size\tNorm
1\tConv\tInput\t16\tRELU\t3×3\tGN
2\tConv\t1\t16\tRELU\t3×3\tGN
3\tMax Pooling\t2\tN/A\tN/A\t3×3 (stride 2×2)\tGN
4\tConv\t3\t32\tRELU\t3×3\tGN
5\tConv\t4\t32\tRELU\t3×3\tGN
6\tMax Pooling\t5\tN/A\tN/A\t3×3 (stride 2×2)\tGN
7\tConv\t6\t64\tRELU\t3×3\tGN
8\tConv\t7\t64\tRELU\t3×3\tGN
9\tConv\t8\t64\tRELU\t3×3\tGN
10\tMax Pooling\t9\tN/A\tN/A\t3×3 (stride 2×2)\tGN
11\tConv\t10\t128\tRELU\t3×3\tGN
12\tConv\t11\t128\tRELU\t3×3\tGN
13\tConv\t12\t128\tRELU\t3×3\tGN
14\tMax Pooling\t13\tN/A\tN/A\t3×3 (stride 2×2)\tGN
15\tA. Conv\t14\t128\tRELU\t3×3 (rate 3)\tBN
16\tConv\t15\t128\tRELU\t1×1\tGN
17\tConv\t16\t128\tRELU\t1×1\tGN
18\tA. Conv\t14\t128\tRELU\t3×3 (rate 5)\tBN
19\tConv\t18\t128\tRELU\t1×1\tGN
20\tConv\t19\t128\tRELU\t1×1\tGN
21\tA. Conv\t14\t128\tRELU\t3×3 (rate 7)\tBN
22\tConv\t21\t128\tRELU\t1×1\tGN
23\tConv\t22\t128\tRELU\t1×1\tGN
24\tA. Conv\t14\t128\tRELU\t3×3 (rate 9)\tBN
25\tConv\t24\t128\tRELU\t1×1\tGN
26\tConv\t25\t128\tRELU\t1×1\tGN
27\tElement Sum\t17,20,23,26\t128\tN/A\tN/A\tN/A
28\tT. Conv\t27\t128\tRELU\t3×3 (stride 2×2)\tBN
29\tConcat\t28, 13\t128\tN/A\tN/A\tN/A
30\tConv\t29\t64\tRELU\t3×3\tBN
31\tConv\t30\t64\tRELU\t3×3\tBN
32\tT. Conv\t31\t64\tRELU\t3×3 (stride 2×2)\tBN
33\tConcat\t32, 9\t64\tN/A\tN/A\tN/A
34\tConv\t33\t32\tRELU\t3×3\tBN
35\tConv\t34\t32\tRELU\t3×3\tBN
36\tT. Conv\t35\t32\tRELU\t3×3 (stride 2×2)\tBN
37\tConcat\t36, 5\t32\tN/A\tN/A\tN/A
38\tConv\t37\t16\tRELU\t3×3\tBN
39\tConv\t38\t16\tRELU\t3×3\tBN
40\tT. Conv\t39\t16\tRELU\t3×3 (stride 2×2)\tBN
41\tConcat\t40, 2\t16\tN/A\tN/A\tN/A
42\tConv\t41\t16\tRELU\t3×3\tBN
43\tConv\t42\t2\tRELU\t1×1\tN/A
44\tConv\t41\t16\tRELU\t3×3\tBN
45\tConv\t44\t2\tRELU\t1×1\tN/A"""


def network(**options) -> MOSegNet:
    return MOSegNet(mo_segnet_rows(**options), groups=8, channels=("raw",), side=1024)


NAMES = {
    **{"conv": "Conv", "aconv": "A. Conv", "pool": "Max Pooling"},
    **{"sum": "Element Sum", "tconv": "T. Conv", "concat": "Concat"},
}


def printed(row: Row) -> str:
    """The row as a line of the paper's Table 1, tab-separated."""
    bottom = "Input" if row.inputs == (0,) else (", " if row.kind == "concat" else ",").join(map(str, row.inputs))
    kernel = "N/A" if row.kernel is None else f"{row.kernel}×{row.kernel}"
    kernel += f" (stride {row.stride}×{row.stride})" if row.stride > 1 else ""
    kernel += f" (rate {row.rate})" if row.rate > 1 else ""
    relu = "RELU" if row.relu else "N/A"
    cells = (row.number, NAMES[row.kind], bottom, row.channels or "N/A", relu, kernel, row.norm or "N/A")
    return "\t".join(map(str, cells))


def test_rows_print_as_the_paper_prints_them():
    assert [printed(row) for row in TABLE_1] == PAPER.splitlines()[1:]


def test_parameters_and_operations_are_those_of_the_wiring():
    net = network().eval()
    assert sum(p.numel() for p in net.parameters()) == 1_650_420
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        net(torch.rand(1, 1, 256, 256))
    at_1024 = counter.get_total_flops() * 16
    assert at_1024 == pytest.approx(85e9, rel=0.01)


def test_norms_follow_the_table_and_pooling_has_none():
    net = network()
    kinds = {int(name): layer for name, layer in net.layers.items()}
    for row in TABLE_1:
        if row.kind in ("conv", "aconv", "tconv") and row.norm:
            assert isinstance(kinds[row.number].norm, nn.GroupNorm if row.norm == "GN" else nn.BatchNorm2d), row
        if row.kind == "pool":
            assert isinstance(kinds[row.number], nn.MaxPool2d)
    assert [kinds[n].conv.dilation for n in (15, 18, 21, 24)] == [(3, 3), (5, 5), (7, 7), (9, 9)]
    assert [kinds[n].conv.in_channels for n in (30, 34, 38, 42, 44)] == [256, 128, 64, 32, 32]
    assert [type(kinds[n]) for n in (43, 45)] == [nn.Conv2d, nn.Conv2d]  # logits: no norm, no ReLU


@pytest.mark.parametrize(("norm", "kind"), [("group", nn.GroupNorm), ("batch", nn.BatchNorm2d)])
def test_one_norm_throughout(norm, kind):
    norms = [m for m in network(norm=norm).modules() if isinstance(m, nn.GroupNorm | nn.BatchNorm2d)]
    assert len(norms) == 36 - 2 - 0
    assert all(isinstance(m, kind) for m in norms)


def test_single_task_leaves_out_the_lung_head_alone():
    single, multi = network(tasks=("lesion",)), network()
    assert set(multi.layers) - set(single.layers) == {"44", "45"}
    assert single.heads == {"lesion": 43}


def test_figure_3_variants_change_what_they_name():
    plain = mo_segnet_rows(aspp=False, skips=False)
    assert [row.number for row in plain if 15 <= row.number <= 28] == [15, 16, 28]
    assert not any(row.kind == "concat" for row in plain)
    reads = {row.number: row.inputs for row in plain}
    assert (reads[15], reads[28], reads[30], reads[42], reads[44]) == ((14,), (16,), (28,), (40,), (40,))
    with_skips = {row.number: row.inputs for row in mo_segnet_rows(aspp=False)}
    assert with_skips[29] == (28, 13)
