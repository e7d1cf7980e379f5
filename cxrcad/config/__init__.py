"""Every setting, once: frozen dataclasses with default, unit and help.

A setting is a leaf field. Its name is the same everywhere: `--min-score`, `CXRCAD_MIN_SCORE`, `min_score = 0.1` in a
TOML file (at the top or in any section: sections only group). `sources` loads them in their order. `parts` holds what
several commands share, `training` what `cxrcad train` takes; the other commands' settings stand here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxrcad.config.hit_rules import HIT_KINDS, HitLimits
from cxrcad.config.parts import (
    AREA,
    DATA,
    DEVICES,
    FINDINGS,
    FOLD_CHOICES,
    FOUND,
    IMAGE_SETS,
    LESIONS,
    MACHINE,
    NO_FOLD,
    NODULE,
    OPERATING_POINTS,
    OUTPUT,
    POINT_HELP,
    PROTOCOLS,
    DataConfig,
    FindChanges,
    FindConfig,
    GridConfig,
    OperatingPointsConfig,
    ScoringConfig,
    check_lesion_settings,
    check_one_threshold,
)
from cxrcad.config.schema import Setting, build, command_line, part, renamed, setting, settings_of, to_dict, to_toml
from cxrcad.config.services import LISTENER, SERVED, ListenerConfig, QueueConfig, ServiceConfig
from cxrcad.config.training import (
    NETWORKS,
    AugmentConfig,
    LossConfig,
    NetworkConfig,
    PatchClassifierConfig,
    SynthesisConfig,
    TrainConfig,
)

__all__ = [
    "ALL_CONFIGS",
    "AREA",
    "FINDINGS",
    "FOLD_CHOICES",
    "HIT_KINDS",
    "LESIONS",
    "NETWORKS",
    "NODULE",
    "NO_FOLD",
    "OPERATING_POINTS",
    "PROTOCOLS",
    "AugmentConfig",
    "DataConfig",
    "DetectConfig",
    "DoctorConfig",
    "EvaluateConfig",
    "ExportConfig",
    "FindConfig",
    "GridConfig",
    "InsertionTestConfig",
    "ListenConfig",
    "ListenerConfig",
    "LossConfig",
    "LungsConfig",
    "NetworkConfig",
    "OperatingPointsConfig",
    "PatchClassifierConfig",
    "PhantomConfig",
    "QueueConfig",
    "ReproduceConfig",
    "RobustnessConfig",
    "ScoringConfig",
    "ServiceConfig",
    "Setting",
    "SimulateConfig",
    "SynthesisConfig",
    "TrainConfig",
    "WatchConfig",
    "build",
    "check_lesion_settings",
    "check_one_threshold",
    "command_line",
    "part",
    "renamed",
    "setting",
    "settings_of",
    "to_dict",
    "to_toml",
]


ENGINES = ("local", "ray")
MODEL = "packaged model by name, or a folder with one, or a run's fold (default: the first of `cxrcad models`)"


@dataclass(frozen=True)
class DetectConfig:
    """`cxrcad detect`."""

    find: FindChanges = part(FindChanges, FOUND)
    model: str | None = setting(None, MODEL)
    lesion: str | None = setting(None, "lesion that the model must be made for (default: any)", choices=tuple(LESIONS))
    operating_point: str | None = setting(None, POINT_HELP, choices=OPERATING_POINTS, group=FOUND)
    force: bool = setting(
        False, "detect also where a DICOM header says that it is no frontal chest radiograph; notes tell"
    )
    device: str = setting("auto", "where to run; cuda fails where CUDA is not usable", choices=DEVICES, group=MACHINE)
    min_score: float | None = setting(
        None, "report candidates from this score, below the threshold too; 0 for all", low=0, high=1, group=FOUND
    )
    threads: int | None = setting(None, "CPU threads (default: ONNX Runtime's)", low=1, group=MACHINE)
    inference_batch: int | None = setting(
        None, "images of one size that the network sees at once (default: 8 with CUDA, else 1)", low=1, high=256,
        flag="--batch", group=MACHINE, advanced=True,
    )  # fmt: skip
    workers: int | None = setting(
        None, "processes that read files and cut findings (default: half the cores, at most 4; 0 for a few files)",
        low=0, high=64, group=MACHINE,
    )  # fmt: skip
    timeout: float = setting(
        300.0, "seconds after which a process that still reads the same file is ended, the file a failure", low=1,
        group=MACHINE,
    )  # fmt: skip
    resume: bool = setting(
        False, "go on from what --out, or a run of it that did not end, holds; what failed is tried again", group=OUTPUT
    )
    identifiers: bool = setting(
        True, "write paths, names and DICOM UIDs; without, an image is called by the SHA-256 of its file", group=OUTPUT
    )
    shard: str | None = setting(
        None, "part of the files to do, as 3/16, the same on every machine; `cxrcad merge` joins them", group=OUTPUT
    )
    engine: str = setting(
        "local", "what shares out the files: this machine, or a Ray cluster (needs the extra ray)", choices=ENGINES,
        group=MACHINE,
    )  # fmt: skip
    address: str | None = setting(
        None, "ray only: the cluster, as host:6379 or auto (default: RAY_ADDRESS, or one of this machine's cores)",
        group=MACHINE,
    )  # fmt: skip


@dataclass(frozen=True)
class ListenConfig:
    """`cxrcad listen`."""

    listener: ListenerConfig = part(ListenerConfig, LISTENER)
    service: ServiceConfig = part(ServiceConfig, SERVED)
    detect: DetectConfig = part(DetectConfig)


@dataclass(frozen=True)
class WatchConfig:
    """`cxrcad watch`."""

    poll_seconds: float = setting(2.0, "time between two looks into the folder, seconds", low=0.01, high=86400)
    settle_seconds: float = setting(
        5.0, "time for which a file must not have changed before it is taken, seconds", low=0, high=86400
    )
    service: ServiceConfig = part(ServiceConfig, SERVED)
    detect: DetectConfig = part(DetectConfig)


SCORED, SCORING = "What is scored", "Changes to the scoring protocol"
RESULTS = "folder of the results (default: runs/NAME of the model, or its fold's folder there)"


@dataclass(frozen=True)
class EvaluateConfig:
    """`cxrcad evaluate`, `cxrcad froc` and `cxrcad compare`."""

    data: DataConfig = part(DataConfig)
    fold: str = setting("all", "fold whose test cases are scored", choices=FOLD_CHOICES, group=DATA)
    run: Path | None = setting(None, "run to score (default: the newest that holds the fold)", group=SCORED)
    runs: Path = setting(Path("runs"), "folder of the runs", group=OUTPUT)
    beside: Path | None = setting(None, "second run, printed and drawn beside the first", group=SCORED)
    seeds: str | None = setting(
        None, "evaluate only: runs with other seeds, comma-separated, for mean and standard deviation", group=SCORED
    )
    model: str | None = setting(None, "packaged model to score instead of a run", group=SCORED)
    out: Path | None = setting(
        None, "folder of the results (default: the run's; runs/NAME of a model; `compare` keeps none)", group=OUTPUT
    )
    images: str | None = setting(None, "image set (default: the protocol's)", choices=IMAGE_SETS, group=SCORING)
    sets: str | None = setting(
        None, "of several data sets, those whose cases are scored, comma-separated (default: all)", group=DATA
    )
    hit_rule: str | None = setting(
        None,
        f"what is a hit: {', '.join(row.words for row in HIT_KINDS.values())} (default: the protocol's)",
        choices=tuple(HIT_KINDS),
        group=SCORING,
    )
    hit_limits: HitLimits = part(HitLimits, SCORING)  # type: ignore[valid-type]
    duplicates: str | None = setting(
        None,
        "what further findings on a hit nodule are (default: the protocol's)",
        choices=("ignored", "false-positives"),
        group=SCORING,
    )
    fp_axis: str | None = setting(
        None,
        "images over which false positives are counted (default: the protocol's)",
        choices=("all", "normals"),
        group=SCORING,
    )
    predictions: Path | None = setting(
        None, "file of predictions to score instead of a run: boxes.json, COCO or NODE21 (JSON, CSV)", group=SCORED
    )
    truth_file: Path | None = setting(
        None, "truth of the predictions: JSRT's layout, truth JSON, COCO or NODE21's CSV", flag="--truth", group=SCORED
    )
    missing: str = setting(
        "refuse",
        "an image without a prediction is refused, or counts as one with no findings",
        choices=("refuse", "empty"),
        group=SCORED,
    )
    threshold: float | None = setting(
        None, "score from which a finding is reported (default: the model's or the predictions', or 0.5)", group=SCORING
    )
    operating_point: str | None = setting(None, POINT_HELP, choices=OPERATING_POINTS, group=SCORING)
    report: bool = setting(True, "evaluate only: also write report/report.html", group=OUTPUT)
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
    folds: str | None = setting(None, "folds, comma-separated, or all (default: all; figure5: 1)")
    cells: str | None = setting(None, "cells of the item, comma-separated; --list shows them (default: all)")
    out: Path | None = setting(None, "folder of results, jobs and runs (default: reproduction)")


@dataclass(frozen=True)
class ExportConfig:
    """`cxrcad export`."""

    name: str | None = setting(None, "name of the packaged model (default: the folder's)")
    fold: str = setting("all", "fold of the run to export; all where it holds only one", choices=FOLD_CHOICES)
    data: Path | tuple[Path, ...] | None = setting(
        None, "radiographs to compare torch and ONNX Runtime on (default: phantoms)", several=True
    )
    compare: int = setting(3, "radiographs to compare on", low=1)
    weights: str = setting(
        "fp32",
        "how model.onnx stores its weights; fp16 halves the file, computed in fp32; int8 has the patch classifier "
        "compute in 8 bits, with ranges from --compare radiographs of --data",
        choices=("fp32", "fp16", "int8"),
    )
    lung_margin: int | None = setting(
        None,
        "have the patch classifier judge only the lungs' bounding box grown by so many pixels of the model's grid "
        "(default: as the model does)",
        low=0,
        high=256,
    )
    sources: Path | None = setting(None, "text file of the data's sources and terms of use, for the card")
    without_nodules: str | None = setting(
        None, "detections in radiographs without nodules (boxes.json, comma-separated): findings per image for the card"
    )
    out_of_fold: Path | None = setting(
        None, "for a model of --fold none, run of the same recipe whose out-of-fold figures go into the card",
        was="held_out",
    )  # fmt: skip
    points: OperatingPointsConfig = part(OperatingPointsConfig)
    overwrite: bool = setting(False, "replace the packaged model that the folder already holds")


@dataclass(frozen=True)
class PhantomConfig:
    """`cxrcad phantom`."""

    cases: int = setting(20, "number of phantoms; 5 in 8 have a nodule, as in JSRT", low=1)
    seed: int = setting(0, "seed of the phantoms", low=0)
    subtlety: int | None = setting(
        None, "subtlety of all nodules, 1 to 5 (obvious) (default: mixed as in JSRT)", low=1, high=5
    )
    image_side: int = setting(
        2048, "side of the images, pixels; below 2048, JSRT's, with --format png or dcm", low=256, high=2048
    )
    format: str = setting("img", "file format of the images", choices=("img", "dcm", "png"))


LIMIT = "take only this many radiographs (simulate: an even number, half of them with a nodule)"
BACKGROUNDS = "folder of radiographs without nodules, in the NIH layout, or JSRT's normals (docs/DATA.md)"
NODULES = "CT nodules (.npz), or analytic: nodules from formulas"


@dataclass(frozen=True)
class SimulateConfig:
    """`cxrcad simulate`."""

    backgrounds: Path | None = setting(None, BACKGROUNDS)
    nodules: Path | None = setting(None, NODULES)
    data_root: Path | None = setting(None, "folder with both: nih/ and lidc-nodules.npz")
    preset: str | None = setting(
        None,
        "counts and names of a known data set: open-jsrt has 154 with a nodule, 93 without",
        choices=("open-jsrt",),
    )
    positives: int | None = setting(
        None, "radiographs with a nodule (default: the preset's, or 5 of 8 backgrounds, as in JSRT)", low=1
    )
    negatives: int | None = setting(
        None, "radiographs without a nodule (default: the preset's, or the other backgrounds)", low=0
    )
    seed: int | None = setting(None, "seed of the data set (default: the preset's 2000, or 0)", low=0)
    format: str = setting("png", "file format of the images", choices=("img", "dcm", "png"))
    limit: int | None = setting(None, LIMIT, low=2)
    background_patches: bool = setting(
        False, "insert background patches instead of nodules, listed in shams.csv", was="sham"
    )


@dataclass(frozen=True)
class RobustnessConfig:
    """`cxrcad robustness`."""

    data: DataConfig = part(DataConfig)
    model: str | None = setting(None, MODEL)
    fold: str = setting("all", "fold whose test cases are scored", choices=FOLD_CHOICES, group=DATA)
    perturbations: str | None = setting(
        None, "perturbations, comma-separated (default: all; docs/ROBUSTNESS.md lists them)", was="alterations"
    )
    limit: int | None = setting(None, LIMIT, low=1)
    seed: int = setting(0, "seed of the noise and of where things are drawn", low=0)
    runs: Path = setting(Path("runs"), "folder of the runs", group=OUTPUT)
    out: Path | None = setting(None, RESULTS, group=OUTPUT)
    scoring: ScoringConfig = part(ScoringConfig)


@dataclass(frozen=True)
class InsertionTestConfig:
    """`cxrcad insertion-test`."""

    data: DataConfig = part(DataConfig)
    model: str | None = setting(None, MODEL)
    backgrounds: Path | None = setting(None, BACKGROUNDS)
    nodules: Path | None = setting(None, NODULES)
    fold: str | None = setting(
        None,
        "take only backgrounds of the patients in this fold's test cases of --data (default: all backgrounds)",
        choices=FOLD_CHOICES,
        group=DATA,
    )
    limit: int | None = setting(None, LIMIT, low=1)
    seed: int = setting(0, "seed of which radiographs, nodules and places are taken", low=0)
    bound: float = setting(0.05, "largest change of the mean score that passes, 0-1", low=0, high=1)
    runs: Path = setting(Path("runs"), "folder of the runs", group=OUTPUT)
    out: Path | None = setting(None, RESULTS, group=OUTPUT)
    scoring: ScoringConfig = part(ScoringConfig)


@dataclass(frozen=True)
class LungsConfig:
    """`cxrcad lungs`."""

    model: str | None = setting(None, MODEL)
    device: str = setting("auto", "where to run; cuda fails where CUDA is not usable", choices=DEVICES, group=MACHINE)
    threads: int | None = setting(None, "CPU threads (default: ONNX Runtime's)", low=1, group=MACHINE)


@dataclass(frozen=True)
class DoctorConfig:
    """`cxrcad doctor`."""

    model: str | None = setting(None, "model to check beside the packaged ones: a folder with one, or a run's fold")
    device: str = setting("auto", "what is needed: with cuda, CUDA that does not work is broken", choices=DEVICES)


ALL_CONFIGS: tuple[type, ...] = (
    *(TrainConfig, DetectConfig, EvaluateConfig, ReproduceConfig, ExportConfig, PhantomConfig, SimulateConfig),
    *(RobustnessConfig, InsertionTestConfig, LungsConfig, DoctorConfig, ListenConfig, WatchConfig, QueueConfig),
)
