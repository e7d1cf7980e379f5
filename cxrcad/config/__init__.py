"""Every setting, once: frozen dataclasses with default, unit and help.

A setting is a leaf field. Its name is the same everywhere: `--min-score`, `CXRCAD_MIN_SCORE`, `min_score = 0.1` in a
TOML file (at the top or in any section: sections only group). `sources` loads them in their order. `parts` holds what
several commands share; the commands' own stand here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxrcad.config.hit_rules import HIT_KINDS, HitLimits
from cxrcad.config.parts import (
    AREA,
    FINDINGS,
    FOLD_CHOICES,
    IMAGE_SETS,
    LESIONS,
    NETWORKS,
    NO_FOLD,
    NODULE,
    PROTOCOLS,
    AugmentConfig,
    DataConfig,
    FindChanges,
    FindConfig,
    GridConfig,
    LossConfig,
    NetworkConfig,
    PatchClassifierConfig,
    ScoringConfig,
    SynthesisConfig,
    check_lesion_settings,
)
from cxrcad.config.schema import Setting, build, command_line, part, renamed, setting, settings_of, to_dict, to_toml

__all__ = [
    "ALL_CONFIGS",
    "AREA",
    "FINDINGS",
    "FOLD_CHOICES",
    "HIT_KINDS",
    "IMAGE_SETS",
    "LESIONS",
    "NETWORKS",
    "NODULE",
    "NO_FOLD",
    "PROTOCOLS",
    "AugmentConfig",
    "DataConfig",
    "DetectConfig",
    "EvaluateConfig",
    "ExportConfig",
    "FindChanges",
    "FindConfig",
    "GridConfig",
    "InsertionTestConfig",
    "LossConfig",
    "NetworkConfig",
    "PatchClassifierConfig",
    "PhantomConfig",
    "ReproduceConfig",
    "RobustnessConfig",
    "ScoringConfig",
    "Setting",
    "SimulateConfig",
    "SynthesisConfig",
    "TrainConfig",
    "build",
    "check_lesion_settings",
    "command_line",
    "part",
    "renamed",
    "setting",
    "settings_of",
    "to_dict",
    "to_toml",
]


DATA, NETWORK, SCHEDULE, MACHINE, OUTPUT = "Data", "Network", "Schedule", "Machine", "Output"
"""Headings of `cxrcad train --help`, beside those of its parts."""


@dataclass(frozen=True)
class TrainConfig:
    """`cxrcad train`: everything that decides the weights."""

    data: DataConfig = part(DataConfig, DATA)
    fold: str | None = setting(
        None,
        "fold to hold out, 1-5, all in turn, or none: train on every case (default: 1; with --resume, the run's)",
        choices=(*FOLD_CHOICES, NO_FOLD),
        group=DATA,
    )
    threshold_from: Path | None = setting(
        None,
        "run of the same recipe whose out-of-fold scores give the threshold (and --ensemble-weight) of --fold none",
        group=DATA,
    )
    train_fraction: float = setting(
        1.0,
        "fraction of the training cases that is used, patients kept whole",
        low=0.01,
        high=1,
        group=DATA,
        was="train_share",
        advanced=True,
    )
    normals: bool = setting(
        False, "train and validate on the folds' normals too (the paper: positives only)", group=DATA
    )
    grid: GridConfig = part(GridConfig, DATA)
    network: NetworkConfig = part(NetworkConfig, NETWORK)
    initial_weights: str | None = setting(
        None,
        "model, or run (each fold takes its own), whose weights the training starts from (default: random)",
        group=NETWORK,
        was="init",
    )
    allow_unknown_series: bool = setting(
        False,
        "start from a model whose card does not list the CT series of its nodules; the new card says so",
        group=NETWORK,
        advanced=True,
    )
    classifier: PatchClassifierConfig = part(PatchClassifierConfig, NETWORK)
    loss: LossConfig = part(LossConfig, "Loss")
    augment: AugmentConfig = part(AugmentConfig, "Augmentation")
    synthesis: SynthesisConfig = part(SynthesisConfig, "Synthesis")
    epochs: int = setting(100, "passes over the training cases", low=1, group=SCHEDULE)
    max_steps: int | None = setting(None, "stop after this many steps, whatever the epochs", low=0, group=SCHEDULE)
    batch: int = setting(1, "images a step (the paper: 1)", low=1, group=SCHEDULE)
    learning_rate: float = setting(1e-3, "Adam's initial learning rate", low=0, group=SCHEDULE)
    schedule: str = setting("constant", "learning rate over the steps", choices=("constant", "cosine"), group=SCHEDULE)
    warmup_steps: int = setting(0, "steps over which the learning rate rises", low=0, group=SCHEDULE, advanced=True)
    ema: float = setting(
        0.0,
        "decay of the moving average of the weights that is kept; 0 for none",
        low=0,
        high=0.9999,
        group=SCHEDULE,
    )
    seed: int = setting(0, "seed of weights, order and augmentation", low=0, group=SCHEDULE)
    validate_epochs: int = setting(10, "epochs between validations", low=1, group=SCHEDULE, advanced=True)
    device: str = setting("auto", "where to train", choices=("auto", "cpu", "cuda"), group=MACHINE)
    precision: str = setting(
        "auto", "auto: bf16 autocast where it pays", choices=("auto", "fp32", "bf16"), group=MACHINE
    )
    threads: int | None = setting(None, "CPU threads (default: torch's)", low=1, group=MACHINE)
    workers: int | None = setting(
        None,
        "processes that draw training images ahead of the steps (default: none; with CUDA one a core, at most 4)",
        low=0,
        high=64,
        group=MACHINE,
    )
    find: FindConfig = part(FindConfig, "Findings")
    runs: Path = setting(Path("runs"), "folder of the runs", group=OUTPUT)
    run: Path | None = setting(None, "the run's folder (default: a new one in the folder of the runs)", group=OUTPUT)
    resume: bool = setting(
        False,
        "go on from the last checkpoint of --run, else of the newest run, with its settings",
        group=OUTPUT,
    )
    checkpoint_minutes: float = setting(5.0, "minutes between checkpoints", low=0, group=OUTPUT, advanced=True)


@dataclass(frozen=True)
class DetectConfig:
    """`cxrcad detect`."""

    find: FindChanges = part(FindChanges)
    model: str | None = setting(None, "packaged model by name, or a folder with one, or a run's fold")
    lesion: str | None = setting(
        None, "what the model must be made for (default: any; its card says)", choices=tuple(LESIONS)
    )
    device: str = setting("auto", "where to run: cuda fails when CUDA is not usable", choices=("auto", "cpu", "cuda"))
    min_score: float | None = setting(
        None, "report candidates from this score, below the threshold too (0: all)", low=0, high=1
    )
    threads: int | None = setting(None, "CPU threads (default: ONNX Runtime's)", low=1)


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
    out: Path | None = setting(
        None, "folder of the results (default: the run's; runs/NAME of a packaged model; `compare` keeps none)"
    )
    images: str | None = setting(None, "image set (default: the protocol's)", choices=IMAGE_SETS)
    hit_rule: str | None = setting(
        None,
        f"what is a hit: {', '.join(row.words for row in HIT_KINDS.values())} (default: the protocol's)",
        choices=tuple(HIT_KINDS),
    )
    hit_limits: HitLimits = part(HitLimits)  # type: ignore[valid-type]
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
    weights: str = setting(
        "fp32",
        "how model.onnx keeps its weights: fp32; or fp16, half the size, computed in fp32",
        choices=("fp32", "fp16"),
    )
    sources: Path | None = setting(None, "text file whose lines go into the card: whose data, under which terms")
    without_nodules: str | None = setting(
        None, "boxes.json of radiographs without a nodule, comma-separated: findings per image go into the card"
    )
    out_of_fold: Path | None = setting(
        None,
        "run of the same recipe whose out-of-fold figures go into the card of a model of --fold none",
        was="held_out",
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
    background_patches: bool = setting(
        False, "insert background patches instead of nodules: shams.csv, and no nodule", was="sham"
    )


@dataclass(frozen=True)
class RobustnessConfig:
    """`cxrcad robustness`."""

    data: DataConfig = part(DataConfig)
    model: str | None = setting(None, MODEL)
    fold: str = setting("all", "fold whose test cases are scored, 1-5, or all", choices=FOLD_CHOICES)
    perturbations: str | None = setting(
        None, "perturbations, comma-separated (default: all; docs/ROBUSTNESS.md has them)", was="alterations"
    )
    limit: int | None = setting(None, LIMIT, low=1)
    seed: int = setting(0, "seed of the noise and of where things are drawn", low=0)
    runs: Path = setting(Path("runs"), "folder of the runs")
    out: Path | None = setting(None, "folder of the results (default: runs/NAME for a model, there the fold's)")
    scoring: ScoringConfig = part(ScoringConfig)


@dataclass(frozen=True)
class InsertionTestConfig:
    """`cxrcad insertion-test`."""

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
    bound: float = setting(
        0.05, "change of the mean score by a background patch that is small enough, score 0-1", low=0, high=1
    )
    runs: Path = setting(Path("runs"), "folder of the runs")
    out: Path | None = setting(None, "folder of the results (default: runs/NAME for a model, there the fold's)")
    scoring: ScoringConfig = part(ScoringConfig)


ALL_CONFIGS: tuple[type, ...] = (
    *(TrainConfig, DetectConfig, EvaluateConfig, ReproduceConfig, ExportConfig, PhantomConfig, SimulateConfig),
    *(RobustnessConfig, InsertionTestConfig),
)
