"""The paper's Tables 2-5 as data.

Source: "X-ray Image Segmentation using Multi-task Learning", section 4.2. Protocol: 5-fold cross-validation of JSRT's
154 positives. The paper states neither its hit rule nor how its threshold was chosen, so its figures stand beside ours
for orientation and compare with them only on JSRT. Where the printed figures contradict each other
(tests/evaluation/test_published.py), each is kept as its own table prints it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PAPER_ROWS", "PaperRow", "Percent", "paper_row"]


@dataclass(frozen=True)
class Percent:
    """A printed figure in percent, with the standard deviation over folds where the paper gives one."""

    mean: float
    sd: float | None = None

    def __str__(self) -> str:
        """As the paper prints it: 83.8 ± 3.4 %."""
        return f"{self.mean:.1f} %" if self.sd is None else f"{self.mean:.1f} ± {self.sd:.1f} %"


@dataclass(frozen=True)
class PaperRow:
    """One row of a table: `label` as printed, `network` and `tasks` as our settings name them.

    Table 3 varies lambda of equation 2 and Table 4 the normalisation; there the label says which.
    """

    table: int
    label: str
    network: str
    tasks: str
    f1: Percent
    recall: Percent
    precision: Percent


P = Percent

PAPER_ROWS: tuple[PaperRow, ...] = (
    PaperRow(2, "Single U-net", "u-net", "single", P(66.6, 3.5), P(68.7, 1.8), P(64.6, 2.9)),
    PaperRow(2, "Single MO-SegNet", "mo-segnet", "single", P(64.5, 3.4), P(62.5, 3.9), P(66.6, 3.1)),
    PaperRow(2, "Multiple U-net", "u-net", "multi", P(74.0, 2.5), P(62.5, 3.7), P(90.6, 2.1)),
    PaperRow(2, "Multiple MO-SegNet", "mo-segnet", "multi", P(83.8, 3.4), P(81.3, 4.1), P(86.4, 3.8)),
    PaperRow(3, "1.0", "mo-segnet", "multi", P(76.0), P(62.5), P(96.9)),
    PaperRow(3, "0.99", "mo-segnet", "multi", P(83.8), P(81.3), P(86.5)),
    PaperRow(3, "0.95", "mo-segnet", "multi", P(82.5), P(79.8), P(85.4)),
    PaperRow(3, "0.9", "mo-segnet", "multi", P(78.5), P(68.7), P(91.6)),
    PaperRow(3, "0.8", "mo-segnet", "multi", P(71.2), P(75.8), P(67.1)),
    PaperRow(3, "0.7", "mo-segnet", "multi", P(75.1), P(68.7), P(82.8)),
    PaperRow(3, "0.5", "mo-segnet", "multi", P(14.7), P(81.2), P(8.1)),
    PaperRow(4, "U-net + BN", "u-net", "multi", P(72.3), P(60.8), P(89.1)),
    PaperRow(4, "U-net + GN", "u-net", "multi", P(74.0), P(62.5), P(90.6)),
    PaperRow(4, "MO-SegNet + BN", "mo-segnet", "multi", P(81.9), P(79.4), P(84.6)),
    PaperRow(4, "MO-SegNet + GN", "mo-segnet", "multi", P(83.8), P(81.3), P(86.4)),
    PaperRow(5, "Deeplab V3+", "deeplabv3plus", "single", P(81.2, 3.9), P(80.1, 2.9), P(82.3, 4.5)),
    PaperRow(5, "Pyramid Scene Parsing Network (PSPNet)", "pspnet", "single", P(77.7, 4.8), P(75.2, 5.3), P(80.3, 6.9)),
    PaperRow(5, "MO-SegNet (proposed)", "mo-segnet", "multi", P(83.8, 3.4), P(81.3, 4.1), P(86.4, 3.8)),
)


def paper_row(network: str, tasks: str) -> PaperRow | None:
    """The paper's row for a network and its tasks, as our settings name them: Table 2's, else Table 5's, else None."""
    found = [row for row in PAPER_ROWS if row.table in (2, 5) and (row.network, row.tasks) == (network, tasks)]
    return found[0] if found else None
