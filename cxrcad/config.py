"""Every setting, once: frozen dataclasses with default, unit and help.

A setting is a leaf field. Its name is the same everywhere: `--min-score`, `CXRCAD_MIN_SCORE`, `min_score = 0.1` in a
TOML file (at the top or in any section: sections only group). `cxrcad.layers` loads them in their order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cxrcad.settings import Setting, build, part, setting, settings_of, to_dict, to_toml

__all__ = [
    "PROTOCOLS",
    "AugmentConfig",
    "DataConfig",
    "DetectConfig",
    "EvaluateConfig",
    "ExportConfig",
    "FindConfig",
    "FingerprintConfig",
    "GridConfig",
    "LossConfig",
    "NetworkConfig",
    "PhantomConfig",
    "ReproduceConfig",
    "RobustnessConfig",
    "ScoringConfig",
    "Setting",
    "TrainConfig",
    "build",
    "settings_of",
    "to_dict",
    "to_toml",
]


@dataclass(frozen=True)
class GridConfig:
    """The model's grid: what a radiograph becomes before the network sees it."""

    side: int = setting(
        1024, "length of the shorter side on the model's grid, pixels (the paper: 1024)", low=32, high=4096
    )
    low_percentile: float = setting(0.5, "percentile of the pixels that becomes 0", low=0, high=49)
    high_percentile: float = setting(99.5, "percentile of the pixels that becomes 1", low=51, high=100)


METHODS = ("peaks", "components")


@dataclass(frozen=True)
class FindConfig:
    """Probability map -> findings."""

    threshold: float | None = setting(
        None, "score from which a finding is reported, 0-1 (default: the model's own)", low=0, high=1
    )
    lung_threshold: float | None = setting(
        None, "probability from which a pixel is lung (default: the best Dice on the validation cases)", low=0, high=1
    )
    method: str = setting(
        "peaks",
        "how candidates are cut from the map: peaks grown to a part of their height, or the paper's components",
        choices=METHODS,
    )
    grow: float = setting(0.5, "part of its peak down to which a candidate grows (method peaks)", low=0.05, high=0.95)
    peak_distance_mm: float = setting(8.0, "least distance between two peaks, mm", low=0)
    min_area_mm2: float = setting(12.0, "smallest finding, mm2 (JSRT's smallest nodule, 5 mm, has 20)", low=0)
    max_findings: int = setting(50, "most candidates kept in one image", low=1)


FOLD_CHOICES = ("1", "2", "3", "4", "5", "all")

IMAGE_SETS = ("positives", "in-lung", "all")

PROTOCOLS: Mapping[str, str] = {
    "paper": "positives",
    "jsrt-140": "in-lung",
    "jsrt-247": "all",
    "node21": "all",
    "luna16": "all",
    "distance-22mm": "in-lung",
    "distance-25mm": "in-lung",
    "jafroc": "all",
}
"""The images that each protocol scores; its hit rule and figures are in `cxrcad.evaluation.protocols`."""


LESIONS = ("nodule", "effusion")


@dataclass(frozen=True)
class DataConfig:
    """A data set in JSRT's layout (effusion: in the NIH layout), and how it is divided."""

    data: Path | None = setting(
        None,
        "folder in JSRT's layout: CLNDAT_EN.txt, CNNDAT_EN.TXT, images, scr; with --lesion effusion in the NIH layout: "
        "metadata.csv, effusion.json, images, lungs",
    )
    lesion: str = setting("nodule", "what is looked for: nodule, or effusion (section 4.3)", choices=LESIONS)
    protocol: str = setting(
        "paper",
        "images and hit rule: paper (154 positives), jsrt-140 (nodules in the lung fields), jsrt-247 (with the 93 "
        "normals), node21, luna16, distance-22mm, distance-25mm, jafroc; docs/EVALUATION.md has the table",
        choices=tuple(PROTOCOLS),
    )
    fold_seed: int = setting(2020, "seed of the five folds", low=0)


@dataclass(frozen=True)
class NetworkConfig:
    """Which network, and its variant."""

    network: str = setting("mo-segnet", "network", choices=("mo-segnet", "u-net", "deeplabv3plus", "pspnet"))
    tasks: str = setting("multi", "tasks: multi (nodules and lungs) or single (nodules)", choices=("multi", "single"))
    norm: str = setting(
        "table1", "norm: the table's mix, group or batch throughout", choices=("table1", "group", "batch")
    )
    groups: int = setting(8, "groups of a group norm", low=1, high=16)
    width: int = setting(64, "channels of a residual encoder's first stage (deeplabv3plus, pspnet)", low=16, high=128)
    channels: str = setting("raw", "input channels, comma-separated, of raw, local, blob, broad (the paper: raw)")
    aspp: bool = setting(True, "atrous spatial pyramid pooling between encoder and decoder (Figure 3)")
    skips: bool = setting(True, "skip connections from encoder to decoder (Figure 3)")
    look: bool = setting(False, "a second look beside the network: every place judged as the middle of a patch")
    halve: bool = setting(True, "with --look, the network works at half the side")


@dataclass(frozen=True)
class LossConfig:
    """Equations 1 and 2."""

    balance: str = setting("0.99", "lambda of equation 2, 0-1, or learned (Kendall 2018)")
    balance_start: float = setting(0.99, "lambda from which a learned balance starts", low=0.01, high=0.99)
    min_class_weight: float = setting(0.0, "least class weight of equation 1", low=0)
    max_class_weight: float = setting(1000.0, "largest class weight of equation 1", low=1)
    focal: float = setting(0.0, "exponent of a focal loss on nodules (Lin 2017); 0 is equation 1", low=0, high=5)
    truth: str = setting("disc", "nodule mask: a disc of the nodule's size, or its box", choices=("disc", "box"))


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to a training image, on the device, to image and masks together."""

    augment: bool = setting(True, "augment training images")
    translate: float = setting(0.05, "largest shift, part of the side", low=0, high=0.5)
    rotate_degrees: float = setting(7.0, "largest rotation, degrees", low=0, high=90)
    zoom: float = setting(0.1, "largest crop or margin, part of the side", low=0, high=0.5)
    mirror: bool = setting(False, "mirror left and right in half of the images")
    brightness: float = setting(0.15, "largest change of brightness and contrast, part of the range", low=0, high=1)
    gamma: float = setting(0.0, "largest change of log2(gamma)", low=0, high=2)
    gaussian_noise: float = setting(
        0.02, "largest standard deviation of the Gaussian noise, part of the range", low=0, high=0.5
    )
    poisson_counts: float = setting(500.0, "fewest counts at full brightness of the Poisson noise; 0 for none", low=0)
    simulate: Path | None = setting(
        None, "CT nodules (.npz), or analytic, to project into training images as they are drawn"
    )
    simulate_count: int = setting(3, "most nodules projected into one image", low=0, high=10)
    simulate_easy: float = setting(2.5, "contrast factor of projected nodules at the first step, falling to 1", low=1)
    simulate_easy_steps: int = setting(2000, "steps over which that factor falls", low=1)


@dataclass(frozen=True)
class SecondLookConfig:
    """What the second look (--look) is trained on."""

    patches: int = setting(32, "patches cut from each image that is drawn", low=8, high=256)
    analytic_share: float = setting(0.0, "part of the projected nodules that come from formulas", low=0, high=0.9)
    shams: int = setting(2, "pieces of background inserted into each image, that are no nodules", low=0, high=10)
    hardware: float = setting(
        0.0, "part of the images with electrodes, rings and letters drawn over them", low=0, high=1
    )
    second_init: str | None = setting(
        None, "two-look model, or run, whose second look is the start of this one (default: random weights)"
    )
    second_share: float | None = setting(
        None, "second look's weight in the nodule's logit (default: the best on the validation cases)", low=0, high=1
    )
    minings: int = setting(4, "times that look-alikes are searched for anew in the training images", low=0, high=50)


@dataclass(frozen=True)
class TrainConfig:
    """`cxrcad train`: everything that decides the weights."""

    data: DataConfig = part(DataConfig)
    grid: GridConfig = part(GridConfig)
    network: NetworkConfig = part(NetworkConfig)
    loss: LossConfig = part(LossConfig)
    augment: AugmentConfig = part(AugmentConfig)
    find: FindConfig = part(FindConfig)
    second: SecondLookConfig = part(SecondLookConfig)
    fold: str | None = setting(
        None,
        "fold to hold out, 1-5, all in turn, or none: train on every case (default: 1; with --resume, the run's)",
        choices=(*FOLD_CHOICES, "none"),
    )
    threshold_from: Path | None = setting(
        None, "run of the same recipe whose held-out scores give the threshold (and --second-share) of --fold none"
    )
    train_share: float = setting(1.0, "part of the training cases that is used, patients kept whole", low=0.01, high=1)
    normals: bool = setting(False, "train and validate on the folds' normals too (the paper: positives only)")
    epochs: int = setting(100, "passes over the training cases", low=1)
    max_steps: int | None = setting(None, "stop after this many steps, whatever the epochs", low=0)
    batch: int = setting(1, "images a step (the paper: 1)", low=1)
    learning_rate: float = setting(1e-3, "Adam's initial learning rate", low=0)
    schedule: str = setting("constant", "learning rate over the steps", choices=("constant", "cosine"))
    warmup_steps: int = setting(0, "steps over which the learning rate rises", low=0)
    ema: float = setting(0.0, "decay of the moving average of the weights that is kept; 0 for none", low=0, high=0.9999)
    init: str | None = setting(None, "model, or run (each fold its own), whose weights are the first (default: random)")
    seed: int = setting(0, "seed of weights, order and augmentation", low=0)
    device: str = setting("auto", "where to train", choices=("auto", "cpu", "cuda"))
    precision: str = setting("auto", "auto: bf16 autocast where it pays", choices=("auto", "fp32", "bf16"))
    threads: int | None = setting(None, "CPU threads (default: torch's)", low=1)
    runs: Path = setting(Path("runs"), "folder of the runs")
    run: Path | None = setting(None, "the run's folder (default: a new one in the folder of the runs)")
    resume: bool = setting(False, "go on from the last checkpoint of --run, else of the newest run, with its settings")
    checkpoint_steps: int = setting(200, "steps between checkpoints", low=1)
    validate_epochs: int = setting(10, "epochs between validations", low=1)


@dataclass(frozen=True)
class FindChanges:
    """What is found otherwise than the model's card says; None leaves a setting as it is there."""

    threshold: float | None = setting(
        None, "score from which a finding is reported, 0-1 (default: the model's)", low=0, high=1
    )
    method: str | None = setting(None, "how candidates are cut from the map (default: the model's)", choices=METHODS)
    grow: float | None = setting(
        None, "part of its peak down to which a candidate grows (default: the model's)", low=0.05, high=0.95
    )
    peak_distance_mm: float | None = setting(None, "least distance between two peaks, mm (default: the model's)", low=0)
    min_area_mm2: float | None = setting(None, "smallest finding, mm2 (default: the model's)", low=0)
    max_findings: int | None = setting(None, "most candidates kept in one image (default: the model's)", low=1)

    def applied_to(self, find: FindConfig) -> FindConfig:
        """`find` with what is set here."""
        return dataclasses.replace(find, **{name: value for name, value in vars(self).items() if value is not None})


@dataclass(frozen=True)
class DetectConfig:
    """`cxrcad detect`."""

    find: FindChanges = part(FindChanges)
    model: str | None = setting(None, "packaged model by name, or a folder with one, or a run's fold")
    lesion: str | None = setting(None, "what the model must be made for (default: any; its card says)", choices=LESIONS)
    device: str = setting("auto", "where to run: cuda fails when CUDA is not usable", choices=("auto", "cpu", "cuda"))
    min_score: float | None = setting(
        None, "report candidates from this score, below the threshold too (0: all)", low=0, high=1
    )
    threads: int | None = setting(None, "CPU threads (default: ONNX Runtime's)", low=1)


@dataclass(frozen=True)
class ScoringConfig:
    """Where a model runs that is scored, and the intervals of its figures."""

    resamples: int = setting(
        10000, "bootstrap resamples of the images, for 95 % intervals; 0 for none", low=0, high=100_000
    )
    bootstrap_seed: int = setting(0, "seed of the resamples", low=0)
    device: str = setting("auto", "where to run: cuda fails when CUDA is not usable", choices=("auto", "cpu", "cuda"))
    threads: int | None = setting(None, "CPU threads (default: ONNX Runtime's)", low=1)


MIN_IOU = 0.2
MAX_DISTANCE_MM = 25.0
"""Limits of the hit rules iou and distance where no protocol and no flag says otherwise."""


@dataclass(frozen=True)
class EvaluateConfig:
    """`cxrcad evaluate`, `cxrcad froc` and `cxrcad compare`."""

    data: DataConfig = part(DataConfig)
    fold: str = setting("all", "fold whose test cases are scored, 1-5, or all", choices=FOLD_CHOICES)
    run: Path | None = setting(None, "run to score (default: the newest that holds the fold)")
    runs: Path = setting(Path("runs"), "folder of the runs")
    beside: Path | None = setting(None, "second run, printed and drawn beside the first")
    seeds: str | None = setting(None, "runs with other seeds, comma-separated: mean and deviation over all (evaluate)")
    model: str | None = setting(None, "score this packaged model on the fold's test cases instead of a run")
    out: Path | None = setting(None, "folder of the results (default: the run's; runs/NAME for a packaged model)")
    images: str | None = setting(None, "image set (default: the protocol's)", choices=IMAGE_SETS)
    hit_rule: str | None = setting(
        None,
        "what is a hit: center in the nodule's disc, iou, or distance (default: the protocol's)",
        choices=("center", "iou", "distance"),
    )
    min_iou: float | None = setting(
        None, f"least overlap of a hit, hit rule iou (default: the protocol's, else {MIN_IOU:g})", low=0, high=1
    )
    max_distance_mm: float | None = setting(
        None,
        f"largest distance of a hit, mm, hit rule distance (default: the protocol's, else {MAX_DISTANCE_MM:g})",
        low=0,
    )
    duplicates: str | None = setting(
        None,
        "what further findings on a hit nodule are (default: the protocol's)",
        choices=("ignored", "false-positives"),
    )
    fp_axis: str | None = setting(
        None, "images over which false positives are counted (default: the protocol's)", choices=("all", "normals")
    )
    predictions: Path | None = setting(None, "boxes to score instead of a run: boxes.json, COCO or NODE21 (JSON, CSV)")
    truth_file: Path | None = setting(
        None, "truth of the predictions: JSRT's layout, truth JSON, COCO, or NODE21's CSV", flag="--truth"
    )
    missing: str = setting(
        "refuse",
        "what an image without a prediction is: refuse stops, empty counts it as nothing found",
        choices=("refuse", "empty"),
    )
    threshold: float | None = setting(
        None, "score from which a finding is reported (default: the model's; of --predictions the file's, else 0.5)"
    )
    report: bool = setting(True, "write report/report.html, with plots and a gallery, beside the figures (evaluate)")
    scoring: ScoringConfig = part(ScoringConfig)


@dataclass(frozen=True)
class ReproduceConfig:
    """`cxrcad reproduce`: what is run; `train` holds what all cells share."""

    train: TrainConfig = part(TrainConfig)
    profile: str = setting(
        "paper",
        "settings below all others: paper (side 1024, 100 epochs), gpu (the same in bf16), cpu (side 512, 3000 steps)",
        choices=("paper", "gpu", "cpu"),
    )
    repeats: int | None = setting(
        None,
        "trainings of each cell and fold, with seeds from --seed on (default: 1; figure5: the paper's 10)",
        low=1,
        flag="--seeds",
    )
    folds: str | None = setting(None, "folds, 1-5, comma-separated, or all (default: all; figure5: 1)")
    cells: str | None = setting(None, "names of cells, comma-separated (default: all of the item; --list shows them)")
    out: Path | None = setting(None, "folder of results, jobs and runs (default: reproduction)")


@dataclass(frozen=True)
class ExportConfig:
    """`cxrcad export`."""

    name: str | None = setting(None, "name of the packaged model (default: the folder's)")
    fold: str = setting("all", "fold of the run to export; all where it holds only one", choices=FOLD_CHOICES)
    data: Path | None = setting(
        None, "folder with radiographs to compare torch and ONNX Runtime on (default: phantoms)"
    )
    compare: int = setting(3, "radiographs to compare on", low=1)
    sources: Path | None = setting(None, "text file whose lines go into the card: whose data, under which terms")
    without_nodules: str | None = setting(
        None, "boxes.json of radiographs without a nodule, comma-separated: findings an image go into the card"
    )
    overwrite: bool = setting(False, "replace the packaged model that the folder already holds")


@dataclass(frozen=True)
class PhantomConfig:
    """`cxrcad phantom`."""

    cases: int = setting(20, "number of phantoms; 5 in 8 have a nodule, as in JSRT", low=1)
    seed: int = setting(0, "seed", low=0)
    subtlety: int | None = setting(
        None, "one subtlety for all nodules, 5 obvious (default: mixed as in JSRT)", low=1, high=5
    )
    image_side: int = setting(2048, "side of the images, pixels (JSRT: 2048)", low=256, high=2048)
    format: str = setting("img", "file format of the images", choices=("img", "dcm", "png"))


MODEL = "packaged model by name, or a folder with one, or a run's fold (default: the packaged model)"
LIMIT = "take only this many radiographs (simulate: an even number, half of them with a nodule)"


@dataclass(frozen=True)
class SimulateConfig:
    """`cxrcad simulate`."""

    backgrounds: Path | None = setting(
        None, "folder of radiographs without nodules: the NIH layout (metadata.csv, images, lungs), or JSRT's normals"
    )
    nodules: Path | None = setting(None, "CT nodules (.npz), or analytic: nodules from formulas")
    data_root: Path | None = setting(None, "folder with both: nih/ and lidc-nodules.npz")
    preset: str | None = setting(
        None, "a known data set's counts and names: open-jsrt, 154 with a nodule and 93 without", choices=("open-jsrt",)
    )
    positives: int | None = setting(
        None, "radiographs with a nodule (default: the preset's; else 5 of 8 backgrounds, as in JSRT)", low=1
    )
    negatives: int | None = setting(
        None, "radiographs without (default: the preset's; else the other backgrounds)", low=0
    )
    seed: int | None = setting(None, "seed (default: the preset's, 2000; else 0)", low=0)
    format: str = setting("png", "file format of the images", choices=("img", "dcm", "png"))
    limit: int | None = setting(None, LIMIT, low=2)
    sham: bool = setting(False, "insert pieces of background instead of nodules: shams.csv, and no nodule")


@dataclass(frozen=True)
class RobustnessConfig:
    """`cxrcad robustness`."""

    data: DataConfig = part(DataConfig)
    model: str | None = setting(None, MODEL)
    fold: str = setting("all", "fold whose test cases are scored, 1-5, or all", choices=FOLD_CHOICES)
    alterations: str | None = setting(None, "alterations, comma-separated (default: all; docs/EVALUATION.md has them)")
    limit: int | None = setting(None, LIMIT, low=1)
    seed: int = setting(0, "seed of the noise and of where things are drawn", low=0)
    runs: Path = setting(Path("runs"), "folder of the runs")
    out: Path | None = setting(None, "folder of the results (default: runs/NAME for a model, there the fold's)")
    scoring: ScoringConfig = part(ScoringConfig)


@dataclass(frozen=True)
class FingerprintConfig:
    """`cxrcad fingerprint`."""

    data: DataConfig = part(DataConfig)
    model: str | None = setting(None, MODEL)
    backgrounds: Path | None = setting(
        None, "folder of radiographs without nodules: the NIH layout (metadata.csv, images, lungs), or JSRT's normals"
    )
    nodules: Path | None = setting(None, "CT nodules (.npz), or analytic: nodules from formulas")
    fold: str | None = setting(
        None,
        "take only backgrounds of the patients in this fold's test cases of --data, 1-5, or all (default: every one)",
        choices=FOLD_CHOICES,
    )
    limit: int | None = setting(None, LIMIT, low=1)
    seed: int = setting(0, "seed of which radiographs, nodules and places are taken", low=0)
    bound: float = setting(0.05, "change of the mean score by a sham that is small enough, score 0-1", low=0, high=1)
    runs: Path = setting(Path("runs"), "folder of the runs")
    out: Path | None = setting(None, "folder of the results (default: runs/NAME for a model, there the fold's)")
    scoring: ScoringConfig = part(ScoringConfig)


ALL_CONFIGS: tuple[type, ...] = (
    *(TrainConfig, DetectConfig, EvaluateConfig, ReproduceConfig, ExportConfig, PhantomConfig, SimulateConfig),
    *(RobustnessConfig, FingerprintConfig),
)
