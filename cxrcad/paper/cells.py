"""The paper's tables and figures as data: each a list of cells, each cell one training configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cxrcad.config import NODULE, TrainConfig, build, settings_of, to_dict
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
        return str(self.cells[0].overrides.get("lesion", NODULE))


def _cell(name: str, *label: str, paper: tuple[int, str] | None = None, **overrides: Any) -> Cell:
    """A cell; `paper` names the table and the label of the paper's row."""
    printed = None if paper is None else next(row for row in PAPER_ROWS if (row.table, row.label) == paper)
    return Cell(name, label, overrides, printed)


def _network(name: str, *label: str, network: str = "mo-segnet", tasks: str = "multi", **more: Any) -> Cell:
    return _cell(name, *label, network=network, tasks=tasks, **more)


def _lambdas(**more: Any) -> tuple[Cell, ...]:
    """The rows of Table 3."""
    values = ("1.0", "0.99", "0.95", "0.9", "0.8", "0.7", "0.5")
    return tuple(_network(f"lambda-{value}", value, paper=(3, value), balance=value, **more) for value in values)


def _ablations(name: str, title: str, cells: tuple[Cell, ...], wants: tuple[str, ...] = ()) -> Item:
    """The recipe that --config names, then one change of it in each cell; not in the paper."""
    note = (
        "Not in the paper. The recipe is what the command's settings say. What stays in it is decided on the "
        "validation cases; the figures here, on the test cases, are for comparison."
    )
    pairs = tuple(("recipe", cell.name) for cell in cells)
    cells = (_cell("recipe", "the recipe"), *cells)
    return Item(name, title, ("Recipe",), cells, note, pairs, folds="1", curves=True, base="recipe", wants=wants)


_SINGLE = _network("mo-segnet-single", "Single", "MO-SegNet", tasks="single", paper=(2, "Single MO-SegNet"))
_MULTI = _network("mo-segnet-multi", "Multiple", "MO-SegNet", paper=(2, "Multiple MO-SegNet"))

BASELINE = "The paper's caption calls the baseline single data U-net; ours is MO-SegNet, so that only the task differs."

_ITEMS = (
    Item(
        "table2",
        "Table 2: single and multiple task",
        ("Task", "Model"),
        (
            _network("u-net-single", "Single", "U-net", network="u-net", tasks="single", paper=(2, "Single U-net")),
            _SINGLE,
            _network("u-net-multi", "Multiple", "U-net", network="u-net", paper=(2, "Multiple U-net")),
            _MULTI,
        ),
        "The paper does not specify its U-net; ours is MO-SegNet without ASPP.",
        pairs=(("u-net-multi", "u-net-single"), ("mo-segnet-multi", "mo-segnet-single")),
    ),
    Item(
        "table3",
        "Table 3: the weight balance lambda",
        ("Weight balance",),
        (
            *_lambdas(),
            _network("learned-0.5", "learned from 0.5", balance="learned", balance_start=0.5),
            _network("learned-0.9", "learned from 0.9", balance="learned", balance_start=0.9),
            _network("learned-0.99", "learned from 0.99", balance="learned", balance_start=0.99),
        ),
        "The learned balance (Kendall, Gal, Cipolla 2018) is section 3.3's; no table of the paper shows it.",
    ),
    Item(
        "table4",
        "Table 4: batch norm and group norm",
        ("Model",),
        (
            _network("u-net-bn", "U-net + BN", network="u-net", norm="batch", paper=(4, "U-net + BN")),
            _network("u-net-gn", "U-net + GN", network="u-net", norm="table1", paper=(4, "U-net + GN")),
            _network("mo-segnet-bn", "MO-SegNet + BN", norm="batch", paper=(4, "MO-SegNet + BN")),
            _network("mo-segnet-gn", "MO-SegNet + GN", norm="table1", paper=(4, "MO-SegNet + GN")),
            _network("u-net-group", "U-net, GN in every layer", network="u-net", norm="group"),
            _network("mo-segnet-group", "MO-SegNet, GN in every layer", norm="group"),
        ),
        "The GN rows have the mix of norms of Table 1; the text describes GN in every layer.",
    ),
    Item(
        "table5",
        "Table 5: other networks",
        ("Model",),
        (
            _network("deeplabv3plus", "Deeplab V3+", network="deeplabv3plus", tasks="single", paper=(5, "Deeplab V3+")),
            _network(
                "pspnet",
                "PSPNet",
                network="pspnet",
                tasks="single",
                paper=(5, "Pyramid Scene Parsing Network (PSPNet)"),
            ),
            _network("mo-segnet", "MO-SegNet (proposed)", paper=(5, "MO-SegNet (proposed)")),
        ),
        "The paper names no backbone; ours has the 18-layer residual layout, from scratch.",
    ),
    Item(
        "figure3",
        "Figure 3: skip connections and ASPP",
        ("Panel", "Network"),
        (
            _network("neither", "a", "no skips, no ASPP", skips=False, aspp=False),
            _network("skips", "b", "skips: U-net", network="u-net", skips=True, aspp=True),
            _network("aspp", "c", "ASPP, no skips", skips=False, aspp=True),
            _network("both", "d", "both: MO-SegNet", skips=True, aspp=True),
        ),
        "The paper shows the four networks and gives no figures for them.",
    ),
    Item(
        "figure5",
        "Figure 5: F1 over the training for each lambda",
        ("Weight balance",),
        _lambdas(validate_epochs=1),
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
            _cell("raw", "the image only, no further channels", channels="raw"),
            _cell("local", "no blob channel", channels="raw,local"),
            _cell("blob", "the image and the blob channel only", channels="raw,blob"),
            _cell("not-simulated", "no nodules inserted", simulate=None),
            _cell("positives", "positives only, no normals", normals=False),
            _cell("not-easy", "no curriculum from easy to subtle nodules", simulate_easy=1.0),
            _cell("not-focal", "no focal loss", focal=0.0),
            Cell(
                "wide",
                ("48 channels in the encoder's first stage",),
                {"width": 48},
                networks=("deeplabv3plus", "pspnet"),
            ),
            _cell("finer", "side 512", side=512),
            _cell("not-averaged", "no moving average of the weights", ema=0.0),
            _cell("not-augmented", "no augmentation", augment=False),
            _cell("constant", "constant learning rate", schedule="constant", warmup_steps=0),
        ),
    ),
    _ablations(
        "classifier-ablations",
        "Ablations of the patch classifier",
        (
            _cell("ct-only", "no analytic nodules", analytic_fraction=0.0),
            _cell("no-negative-insertions", "no negative insertions", negative_insertions=0),
            _cell("no-hardware", "no foreign objects drawn in", hardware=0.0),
            _cell("not-mined", "no hard-negative mining", mining_rounds=0),
            _cell("not-easy", "no curriculum from easy to subtle nodules", simulate_easy=1.0),
            _cell(
                "exposure",
                "no changes of brightness, gamma or noise",
                brightness=0.0,
                gamma=0.0,
                gaussian_noise=0.0,
            ),
            _cell("not-turned", "no rotation or scaling", rotate_degrees=0.0, zoom=0.0),
        ),
        wants=("patch_classifier", "initial_weights"),
    ),
    Item(
        "training-size",
        "The size of the training set",
        ("Training cases",),
        (  # --max-steps ends the training, so each part is trained equally long
            _cell("part-0.25", "25 %", train_fraction=0.25, epochs=1000),
            _cell("part-0.5", "50 %", train_fraction=0.5, epochs=1000),
            _cell("part-1", "100 %", train_fraction=1.0, epochs=1000),
        ),
        "Not in the paper. Each smaller part is contained in the larger ones; validation and test cases, number of "
        "steps and inserted nodules stay the same.",
        pairs=(("part-1", "part-0.5"), ("part-1", "part-0.25")),
        folds="1",
        curves=True,
        base="part-1",
        wants=("max_steps",),
    ),
    Item(
        "figure6",
        "Figure 6: false positives outside the lungs",
        ("Task", "Model"),
        (_SINGLE, _MULTI),
        f"{BASELINE} Normals are in it under a protocol that scores them; the paper shows one.",
        pairs=((_MULTI.name, _SINGLE.name),),
        pictures="outside",
    ),
    Item(
        "figure7",
        "Figure 7: nodules that the multiple task finds",
        ("Task", "Model"),
        (_SINGLE, _MULTI),
        BASELINE,
        pairs=((_MULTI.name, _SINGLE.name),),
        pictures="found",
    ),
    Item(
        "figure8",
        "Figure 8: boxes of the network and of the truth",
        ("Task", "Model"),
        (_MULTI,),
        "The paper calls the difference a correction of labels and gives no figures for it.",
        pictures="overlaps",
    ),
    Item(
        "effusion",
        "Section 4.3 and Figure 9: pleural effusion",
        ("Model",),
        (
            _network("mo-segnet-multi", "MO-SegNet", lesion="effusion"),
            _network("u-net-multi", "U-net", network="u-net", lesion="effusion"),
        ),
        "The paper names NIH ChestX-ray8, and no images, outlines, folds or number of cases. It shows the proposed "
        "network alone; U-net is there to compare with.",
    ),
)

ITEMS: Mapping[str, Item] = {item.name: item for item in _ITEMS}
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
