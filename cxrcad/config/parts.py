"""The settings that several commands share, each once: frozen dataclasses with default, unit and help."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrcad.config.schema import setting, settings_of, to_dict
from cxrcad.core import UsageError

__all__ = [
    "AREA",
    "FINDINGS",
    "FOLD_CHOICES",
    "IMAGE_SETS",
    "LESIONS",
    "NETWORKS",
    "NODULE",
    "NO_FOLD",
    "PROTOCOLS",
    "AugmentConfig",
    "DataConfig",
    "FindChanges",
    "FindConfig",
    "GridConfig",
    "LossConfig",
    "NetworkConfig",
    "PatchClassifierConfig",
    "ScoringConfig",
    "SynthesisConfig",
    "check_lesion_settings",
]


@dataclass(frozen=True)
class GridConfig:
    """The model's grid: what a radiograph becomes before the network sees it."""

    side: int = setting(
        1024, "length of the shorter side on the model's grid, pixels (the paper: 1024)", low=32, high=4096
    )
    low_percentile: float = setting(0.5, "percentile of the pixels that becomes 0", low=0, high=49, advanced=True)
    high_percentile: float = setting(99.5, "percentile of the pixels that becomes 1", low=51, high=100, advanced=True)


METHODS = ("peaks", "components")


@dataclass(frozen=True)
class FindConfig:
    """Probability map -> findings."""

    threshold: float | None = setting(
        None, "score from which a finding is reported, 0-1 (default: the model's own)", low=0, high=1
    )
    lung_threshold: float | None = setting(
        None,
        "probability from which a pixel is lung (default: the best Dice on the validation cases)",
        low=0,
        high=1,
        advanced=True,
    )
    method: str = setting(
        "peaks",
        "how candidates are cut from the map: peaks grown to a fraction of their height, or the paper's components",
        choices=METHODS,
        advanced=True,
    )
    grow: float = setting(
        0.5,
        "fraction of its peak down to which a candidate grows (method peaks)",
        low=0.05,
        high=0.95,
        advanced=True,
    )
    peak_distance_mm: float = setting(8.0, "least distance between two peaks, mm", low=0, advanced=True)
    min_area_mm2: float = setting(
        12.0, "smallest finding, mm2 (JSRT's smallest nodule, 5 mm, has 20)", low=0, advanced=True
    )
    max_findings: int = setting(50, "most candidates kept in one image", low=1, advanced=True)


FOLD_CHOICES = ("1", "2", "3", "4", "5", "all")

NO_FOLD = "none"
"""The fold that holds nothing out: a training on every case."""

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


NODULE = "nodule"

FINDINGS, AREA = "findings", "area"

LESIONS: Mapping[str, str] = {NODULE: FINDINGS, "effusion": AREA}
"""The lesions, and what is measured of each: its findings are counted (F1, FROC), or its area is compared (Dice)."""

OF_FINDINGS = (
    *("protocol", "truth", "simulate", "patch_classifier", "images", "hit_rule", "duplicates"),
    *("fp_axis", "missing", "predictions", "truth_file", "beside", "seeds"),
)
"""Settings that a lesion which is measured by its area does not take, beside the limits of hit rules."""


def check_lesion_settings(config: Any, lesion: str) -> None:
    """Raise UsageError for a setting that is not the default one and that the lesion does not take."""
    if LESIONS[lesion] == FINDINGS:
        return
    given, default = to_dict(config), to_dict(type(config)())
    for one in settings_of(type(config)):
        of_findings = one.name in OF_FINDINGS or one.path[0] == "hit_limits"
        if of_findings and given[one.name] != default[one.name]:
            raise UsageError(f"{one.flag}: is for nodules and not for --lesion {lesion}; leave it out")


@dataclass(frozen=True)
class DataConfig:
    """A folder of data, and how it is divided."""

    data: Path | None = setting(
        None,
        "folder in JSRT's layout (CLNDAT_EN.txt, CNNDAT_EN.TXT, images, scr), or of images with boxes.csv; with "
        "--lesion effusion in the NIH layout: metadata.csv, effusion.json, images, lungs",
    )
    lesion: str = setting(NODULE, "what is looked for: nodule, or effusion (section 4.3)", choices=tuple(LESIONS))
    protocol: str = setting(
        "paper",
        "images and hit rule: paper (154 positives), jsrt-140 (nodules in the lung fields), jsrt-247 (with the 93 "
        "normals), node21, luna16, distance-22mm, distance-25mm, jafroc; docs/EVALUATION.md has the table",
        choices=tuple(PROTOCOLS),
    )
    fold_seed: int = setting(2020, "seed of the five folds", low=0, advanced=True)


NETWORKS: Mapping[str, str] = {
    "mo-segnet": "mosegnet",
    "u-net": "unet",
    "deeplabv3plus": "deeplabv3plus",
    "pspnet": "pspnet",
}
"""The networks, each with its module in `cxrcad.networks`, which has a function `build`."""


@dataclass(frozen=True)
class NetworkConfig:
    """Which network, and its variant."""

    network: str = setting("mo-segnet", "network", choices=tuple(NETWORKS))
    tasks: str = setting("multi", "tasks: multi (nodules and lungs) or single (nodules)", choices=("multi", "single"))
    norm: str = setting(
        "table1", "norm: the table's mix, group or batch throughout", choices=("table1", "group", "batch")
    )
    groups: int = setting(8, "groups of a group norm", low=1, high=16, advanced=True)
    width: int = setting(64, "channels of a residual encoder's first stage (deeplabv3plus, pspnet)", low=16, high=128)
    channels: str = setting("raw", "input channels, comma-separated, of raw, local, blob (the paper: raw)")
    aspp: bool = setting(True, "atrous spatial pyramid pooling between encoder and decoder (Figure 3)")
    skips: bool = setting(True, "skip connections from encoder to decoder (Figure 3)")
    patch_classifier: bool = setting(
        False, "train a patch classifier beside the segmentation network of --initial-weights", was="look"
    )
    half_side: bool = setting(
        True, "with --patch-classifier, the segmentation network works at half the side", was="halve", advanced=True
    )
    patch_side: int = setting(
        69,
        "side of the patches that the classifier judges, pixels: 69, nine layers; or 97, twelve",
        choices=("69", "97"),
        was="patch",
        advanced=True,
    )


@dataclass(frozen=True)
class LossConfig:
    """Equations 1 and 2."""

    balance: str = setting("0.99", "lambda of equation 2, 0-1, or learned (Kendall 2018)")
    balance_start: float = setting(
        0.99, "lambda from which a learned balance starts", low=0.01, high=0.99, advanced=True
    )
    min_class_weight: float = setting(0.0, "least class weight of equation 1", low=0, advanced=True)
    max_class_weight: float = setting(1000.0, "largest class weight of equation 1", low=1, advanced=True)
    focal: float = setting(0.0, "exponent of a focal loss on nodules (Lin 2017); 0 is equation 1", low=0, high=5)
    truth: str = setting(
        "disc", "nodule mask: a disc of the nodule's size, or its box", choices=("disc", "box"), advanced=True
    )


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to a training image and its masks; nodules and foreign objects are drawn in before."""

    augment: bool = setting(True, "augment training images")
    translate: float = setting(0.05, "largest shift, fraction of the side", low=0, high=0.5, advanced=True)
    rotate_degrees: float = setting(7.0, "largest rotation, degrees", low=0, high=90, advanced=True)
    zoom: float = setting(0.1, "largest crop or margin, fraction of the side", low=0, high=0.5, advanced=True)
    mirror: bool = setting(False, "mirror left and right in half of the images")
    brightness: float = setting(
        0.15, "largest change of brightness and contrast, fraction of the range", low=0, high=1, advanced=True
    )
    gamma: float = setting(0.0, "largest change of log2(gamma)", low=0, high=2, advanced=True)
    gaussian_noise: float = setting(
        0.02,
        "largest standard deviation of the Gaussian noise, fraction of the range",
        low=0,
        high=0.5,
        advanced=True,
    )
    blur: float = setting(
        0.0,
        "largest standard deviation of a Gaussian blur of half of the images, pixels",
        low=0,
        high=10,
        advanced=True,
    )
    poisson_counts: float = setting(
        500.0, "fewest counts at full brightness of the Poisson noise; 0 for none", low=0, advanced=True
    )
    hardware: float = setting(
        0.0,
        "fraction of the images with electrodes, rings and letters drawn over them, that are no nodules",
        low=0,
        high=1,
    )


@dataclass(frozen=True)
class SynthesisConfig:
    """Nodules projected into training images as they are drawn."""

    simulate: Path | None = setting(
        None, "CT nodules (.npz), or analytic, to project into training images as they are drawn"
    )
    simulate_count: int = setting(3, "most nodules projected into one image", low=0, high=10)
    simulate_easy: float = setting(
        2.5, "contrast factor of projected nodules at the first step, falling to 1", low=1, advanced=True
    )
    simulate_easy_steps: int = setting(2000, "steps over which that factor falls", low=1, advanced=True)


@dataclass(frozen=True)
class PatchClassifierConfig:
    """What the patch classifier (--patch-classifier) is trained on, and how it joins the segmentation network."""

    patches_per_image: int = setting(
        32, "patches cut from each image that is drawn", low=8, high=256, was="patches", advanced=True
    )
    analytic_fraction: float = setting(
        0.0,
        "fraction of the projected nodules that come from formulas",
        low=0,
        high=0.9,
        was="analytic_share",
        advanced=True,
    )
    negative_insertions: int = setting(
        2,
        "background patches inserted into each image like nodules, that are none",
        low=0,
        high=10,
        was="shams",
        advanced=True,
    )
    mining_rounds: int = setting(
        4,
        "hard-negative mining rounds: searches of the training images for what looks like a nodule",
        low=0,
        high=50,
        was="minings",
        advanced=True,
    )
    classifier_weights: str | None = setting(
        None,
        "initial weights of the patch classifier: an ensemble, or a run of them (default: random)",
        was="second_init",
    )
    ensemble_weight: float | None = setting(
        None,
        "patch classifier's weight in the nodule's logit (default: the best on the validation cases)",
        low=0,
        high=1,
        was="second_share",
        advanced=True,
    )


@dataclass(frozen=True)
class FindChanges:
    """What is found otherwise than the model's card says; None leaves a setting as it is there."""

    threshold: float | None = setting(
        None, "score from which a finding is reported, 0-1 (default: the model's)", low=0, high=1
    )
    method: str | None = setting(None, "how candidates are cut from the map (default: the model's)", choices=METHODS)
    grow: float | None = setting(
        None, "fraction of its peak down to which a candidate grows (default: the model's)", low=0.05, high=0.95
    )
    peak_distance_mm: float | None = setting(None, "least distance between two peaks, mm (default: the model's)", low=0)
    min_area_mm2: float | None = setting(None, "smallest finding, mm2 (default: the model's)", low=0)
    max_findings: int | None = setting(None, "most candidates kept in one image (default: the model's)", low=1)

    def applied_to(self, find: FindConfig) -> FindConfig:
        """`find` with what is set here."""
        return dataclasses.replace(find, **{name: value for name, value in vars(self).items() if value is not None})


@dataclass(frozen=True)
class ScoringConfig:
    """Where a model runs that is scored, and the intervals of its figures."""

    resamples: int = setting(
        10000, "bootstrap resamples of the images, for 95 % intervals; 0 for none", low=0, high=100_000
    )
    bootstrap_seed: int = setting(0, "seed of the resamples", low=0)
    device: str = setting("auto", "where to run: cuda fails when CUDA is not usable", choices=("auto", "cpu", "cuda"))
    threads: int | None = setting(None, "CPU threads (default: ONNX Runtime's)", low=1)
