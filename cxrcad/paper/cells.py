"""The paper's tables and figures as data: each a list of cells, each cell one training configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cxrcad.config import LESIONS, TrainConfig, build, settings_of, to_dict
from cxrcad.core import UsageError
from cxrcad.evaluation.published import PAPER_ROWS, PaperRow

__all__ = ["FORMER_ITEMS", "ITEMS", "Cell", "Item", "chosen_cells", "fitted", "profile_file", "resolved"]


@dataclass(frozen=True)
class Cell:
    """One training configuration: the settings that it overrides, its label as printed, the paper's row if any.

    `networks` are those that its settings are for; empty: all.
    """

    name: str
    label: tuple[str, ...]
    overrides: Mapping[str, Any]
    paper: PaperRow | None = None
    networks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Item:
    """One table or figure: `columns` head the cells' labels; `pairs` are compared, first less second.

    `folds` and `times` (seeds) are what runs unless the user says otherwise; `curves` asks for F1 against the epoch;
    `pictures` (outside, found or overlaps) for a picture of cases; `note` says what of it is ours. `base` is the cell
    in which each of the others changes one thing, and `wants` are settings that must be given.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]
    note: str
    pairs: tuple[tuple[str, str], ...] = ()
    folds: str = "all"
    times: int = 1
    curves: bool = False
    pictures: str | None = None
    base: str | None = None
    wants: tuple[str, ...] = ()

    @property
    def lesion(self) -> str:
        """The lesion that its networks find: nodule, or effusion."""
        return str(self.cells[0].overrides.get("lesion", LESIONS[0]))


def _printed(table: int, label: str) -> PaperRow:
    return next(row for row in PAPER_ROWS if (row.table, row.label) == (table, label))


def _table2(network: str, tasks: str, task: str, model: str) -> Cell:
    own = {"network": network, "tasks": tasks}
    return Cell(f"{network}-{tasks}", (task, model), own, _printed(2, f"{task} {model}"))


def _weighted(label: str, **overrides: Any) -> Cell:
    own = {"network": "mo-segnet", "tasks": "multi", "balance": label, **overrides}
    return Cell(f"lambda-{label}", (label,), own, _printed(3, label))


def _learned(start: str) -> Cell:
    own = {"network": "mo-segnet", "tasks": "multi", "balance": "learned", "balance_start": float(start)}
    return Cell(f"learned-{start}", (f"learned from {start}",), own)


def _normed(network: str, short: str, norm: str, label: str, printed: bool = True) -> Cell:
    own = {"network": network, "tasks": "multi", "norm": norm}
    return Cell(f"{network}-{short}", (label,), own, _printed(4, label) if printed else None)


def _shaped(name: str, label: tuple[str, str], network: str, skips: bool, aspp: bool) -> Cell:
    return Cell(name, label, {"network": network, "tasks": "multi", "skips": skips, "aspp": aspp})


def _effusion(network: str, model: str) -> Cell:
    return Cell(f"{network}-multi", (model,), {"network": network, "tasks": "multi", "lesion": "effusion"})


def _cases(name: str, title: str, note: str, pictures: str) -> Item:
    """A figure of test cases as two of Table 2's networks see them."""
    cells = (
        _table2("mo-segnet", "single", "Single", "MO-SegNet"),
        _table2("mo-segnet", "multi", "Multiple", "MO-SegNet"),
    )
    pairs = (("mo-segnet-multi", "mo-segnet-single"),)
    return Item(name, title, ("Task", "Model"), cells, note, pairs, pictures=pictures)


def _changed(name: str, label: str, networks: tuple[str, ...] = (), **overrides: Any) -> Cell:
    return Cell(name, (label,), overrides, networks=networks)


def _ablations(name: str, title: str, cells: tuple[Cell, ...], wants: tuple[str, ...] = ()) -> Item:
    """The recipe that --config names, then one change of it in each cell; not in the paper."""
    cells = (Cell("recipe", ("the recipe",), {}), *cells)
    note = (
        "Not in the paper. The recipe is what the command's settings say. What stays in it is decided on the "
        "validation cases; the figures here, on the test cases, are for comparison."
    )
    pairs = tuple(("recipe", cell.name) for cell in cells[1:])
    return Item(name, title, ("Recipe",), cells, note, pairs, folds="1", curves=True, base="recipe", wants=wants)


def _part(fraction: float) -> Cell:
    own = {"train_fraction": fraction, "epochs": 1000}  # the steps end it, the same for each part
    return Cell(f"part-{fraction:g}", (f"{100 * fraction:g} %",), own)


BASELINE = "The paper's caption calls the baseline single data U-net; ours is MO-SegNet, so that only the task differs."

LAMBDAS = ("1.0", "0.99", "0.95", "0.9", "0.8", "0.7", "0.5")

ITEMS: Mapping[str, Item] = {
    item.name: item
    for item in (
        Item(
            "table2",
            "Table 2: single and multiple task",
            ("Task", "Model"),
            (
                _table2("u-net", "single", "Single", "U-net"),
                _table2("mo-segnet", "single", "Single", "MO-SegNet"),
                _table2("u-net", "multi", "Multiple", "U-net"),
                _table2("mo-segnet", "multi", "Multiple", "MO-SegNet"),
            ),
            "The paper does not specify its U-net; ours is MO-SegNet without ASPP.",
            pairs=(("u-net-multi", "u-net-single"), ("mo-segnet-multi", "mo-segnet-single")),
        ),
        Item(
            "table3",
            "Table 3: the weight balance lambda",
            ("Weight balance",),
            (*(_weighted(label) for label in LAMBDAS), *(_learned(start) for start in ("0.5", "0.9", "0.99"))),
            "The learned balance (Kendall, Gal, Cipolla 2018) is section 3.3's; no table of the paper shows it.",
        ),
        Item(
            "table4",
            "Table 4: batch norm and group norm",
            ("Model",),
            (
                _normed("u-net", "bn", "batch", "U-net + BN"),
                _normed("u-net", "gn", "table1", "U-net + GN"),
                _normed("mo-segnet", "bn", "batch", "MO-SegNet + BN"),
                _normed("mo-segnet", "gn", "table1", "MO-SegNet + GN"),
                _normed("u-net", "group", "group", "U-net, GN in every layer", printed=False),
                _normed("mo-segnet", "group", "group", "MO-SegNet, GN in every layer", printed=False),
            ),
            "The GN rows have the mix of norms of Table 1; the text describes GN in every layer.",
        ),
        Item(
            "table5",
            "Table 5: other networks",
            ("Model",),
            (
                Cell(
                    "deeplabv3plus",
                    ("Deeplab V3+",),
                    {"network": "deeplabv3plus", "tasks": "single"},
                    _printed(5, "Deeplab V3+"),
                ),
                Cell(
                    "pspnet",
                    ("PSPNet",),
                    {"network": "pspnet", "tasks": "single"},
                    _printed(5, "Pyramid Scene Parsing Network (PSPNet)"),
                ),
                Cell(
                    "mo-segnet",
                    ("MO-SegNet (proposed)",),
                    {"network": "mo-segnet", "tasks": "multi"},
                    _printed(5, "MO-SegNet (proposed)"),
                ),
            ),
            "The paper names no backbone; ours has the 18-layer residual layout, from scratch.",
        ),
        Item(
            "figure3",
            "Figure 3: skip connections and ASPP",
            ("Panel", "Network"),
            (
                _shaped("neither", ("a", "no skips, no ASPP"), "mo-segnet", False, False),
                _shaped("skips", ("b", "skips: U-net"), "u-net", True, True),
                _shaped("aspp", ("c", "ASPP, no skips"), "mo-segnet", False, True),
                _shaped("both", ("d", "both: MO-SegNet"), "mo-segnet", True, True),
            ),
            "The paper shows the four networks and gives no figures for them.",
        ),
        Item(
            "figure5",
            "Figure 5: F1 over the training for each lambda",
            ("Weight balance",),
            tuple(_weighted(label, validate_epochs=1) for label in LAMBDAS),
            "The paper repeats each training ten times and does not say on which cases it measured; ours are the "
            "validation cases, after every epoch. The paper's rows are those of Table 3.",
            folds="1",
            times=10,
            curves=True,
        ),
        _ablations(
            "ablations",
            "Ablations of the recipe",
            (
                _changed("raw", "the image only, no further channels", channels="raw"),
                _changed("local", "no blob channel", channels="raw,local"),
                _changed("blob", "the image and the blob channel only", channels="raw,blob"),
                _changed("not-simulated", "no nodules inserted", simulate=None),
                _changed("positives", "positives only, no normals", normals=False),
                _changed("not-easy", "no curriculum from easy to subtle nodules", simulate_easy=1.0),
                _changed("not-focal", "no focal loss", focal=0.0),
                _changed("wide", "48 channels in the encoder's first stage", ("deeplabv3plus", "pspnet"), width=48),
                _changed("finer", "side 512", side=512),
                _changed("not-averaged", "no moving average of the weights", ema=0.0),
                _changed("not-augmented", "no augmentation", augment=False),
                _changed("constant", "constant learning rate", schedule="constant", warmup_steps=0),
            ),
        ),
        _ablations(
            "classifier-ablations",
            "Ablations of the patch classifier",
            (
                _changed("ct-only", "no analytic nodules", analytic_fraction=0.0),
                _changed("no-negative-insertions", "no negative insertions", negative_insertions=0),
                _changed("no-hardware", "no foreign objects drawn in", hardware=0.0),
                _changed("not-mined", "no hard-negative mining", mining_rounds=0),
                _changed("not-easy", "no curriculum from easy to subtle nodules", simulate_easy=1.0),
                _changed(
                    "exposure",
                    "no changes of brightness, gamma or noise",
                    brightness=0.0,
                    gamma=0.0,
                    gaussian_noise=0.0,
                ),
                _changed("not-turned", "no rotation or scaling", rotate_degrees=0.0, zoom=0.0),
            ),
            wants=("patch_classifier", "initial_weights"),
        ),
        Item(
            "training-size",
            "The size of the training set",
            ("Training cases",),
            tuple(_part(fraction) for fraction in (0.25, 0.5, 1.0)),
            "Not in the paper. Each smaller part is contained in the larger ones; validation and test cases, number of "
            "steps and inserted nodules stay the same.",
            pairs=(("part-1", "part-0.5"), ("part-1", "part-0.25")),
            folds="1",
            curves=True,
            base="part-1",
            wants=("max_steps",),
        ),
        _cases(
            "figure6",
            "Figure 6: false positives outside the lungs",
            f"{BASELINE} Normals are in it under a protocol that scores them; the paper shows one.",
            "outside",
        ),
        _cases("figure7", "Figure 7: nodules that the multiple task finds", BASELINE, "found"),
        Item(
            "figure8",
            "Figure 8: boxes of the network and of the truth",
            ("Task", "Model"),
            (_table2("mo-segnet", "multi", "Multiple", "MO-SegNet"),),
            "The paper calls the difference a correction of labels and gives no figures for it.",
            pictures="overlaps",
        ),
        Item(
            "effusion",
            "Section 4.3 and Figure 9: pleural effusion",
            ("Model",),
            (_effusion("mo-segnet", "MO-SegNet"), _effusion("u-net", "U-net")),
            "The paper names NIH ChestX-ray8, and no images, outlines, folds or number of cases. It shows the proposed "
            "network alone; U-net is there to compare with.",
        ),
    )
}
"""Every item by the name that the command takes."""

FORMER_ITEMS: Mapping[str, str] = {"look-ablations": "classifier-ablations"}
"""Names that items had before, which still work, each with the present one."""


def fitted(item: Item, shared: TrainConfig) -> Item:
    """The item without the cells that change nothing in its base, or that are for other networks.

    Raises UsageError where the shared settings lack what the item needs, or no cell changes them.
    """
    lacking = [one.flag for one in settings_of(TrainConfig) if one.name in item.wants and not to_dict(shared)[one.name]]
    if lacking:
        raise UsageError(f"{item.name}: needs {' and '.join(lacking)}; give them, or a recipe with --config")
    if item.base is None:
        return item
    base = resolved(next(cell for cell in item.cells if cell.name == item.base), shared)
    fitting = [cell for cell in item.cells if not cell.networks or base.network.network in cell.networks]
    kept = tuple(cell for cell in fitting if cell.name == item.base or resolved(cell, shared) != base)
    if len(kept) == 1:
        raise UsageError(f"{item.name}: no cell changes any of these settings; give a recipe with --config")
    names = {cell.name for cell in kept}
    return replace(item, cells=kept, pairs=tuple(pair for pair in item.pairs if names.issuperset(pair)))


def chosen_cells(item: Item, names: str | None) -> tuple[Cell, ...]:
    """The cells of an item that `names` (comma-separated; None: all) lists, in the item's order. Raises UsageError."""
    if names is None:
        return item.cells
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    known = [cell.name for cell in item.cells]
    unknown = sorted(wanted - set(known))
    if unknown or not wanted:
        what = ", ".join(unknown) or repr(names)
        raise UsageError(f"--cells: {item.name} has no cell {what}; its cells: {', '.join(known)}")
    return tuple(cell for cell in item.cells if cell.name in wanted)


def profile_file(name: str) -> Path:
    """The settings file of a profile: paper, gpu or cpu."""
    return Path(__file__).parent / "profiles" / f"{name}.toml"


def resolved(cell: Cell, shared: TrainConfig) -> TrainConfig:
    """The settings of a cell's training: the shared ones with its own in their place."""
    return build(TrainConfig, {**to_dict(shared), **cell.overrides}, f"cell {cell.name}")
