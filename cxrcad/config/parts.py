"""The settings that several commands share, each once: frozen dataclasses with default, unit and help."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cxrcad.config.schema import setting

__all__ = [
    "FOLD_CHOICES",
    "IMAGE_SETS",
    "LESIONS",
    "PROTOCOLS",
    "AugmentConfig",
    "DataConfig",
    "FindChanges",
    "FindConfig",
    "GridConfig",
    "LossConfig",
    "NetworkConfig",
    "ScoringConfig",
    "SecondLookConfig",
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
    image_head: bool = setting(
        False,
        "a head that says whether the image has a nodule; its logit is added to every pixel's (deeplabv3plus)",
    )
    look: bool = setting(False, "a second look beside the network: every place judged as the middle of a patch")
    halve: bool = setting(True, "with --look, the network works at half the side")
    patch: int = setting(
        69,
        "side of the patch that the second look judges, pixels: 69, nine layers; or 97, twelve",
        choices=("69", "97"),
    )


@dataclass(frozen=True)
class LossConfig:
    """Equations 1 and 2."""

    balance: str = setting("0.99", "lambda of equation 2, 0-1, or learned (Kendall 2018)")
    balance_start: float = setting(0.99, "lambda from which a learned balance starts", low=0.01, high=0.99)
    min_class_weight: float = setting(0.0, "least class weight of equation 1", low=0)
    max_class_weight: float = setting(1000.0, "largest class weight of equation 1", low=1)
    focal: float = setting(0.0, "exponent of a focal loss on nodules (Lin 2017); 0 is equation 1", low=0, high=5)
    tversky: float = setting(0.0, "weight of a Tversky loss on nodules beside equation 1 (Salehi 2017)", low=0, high=10)
    image_level: float = setting(
        0.0,
        "weight of a loss on whether the image has a nodule at all, by its highest pixels, or --image-head",
        low=0,
        high=10,
    )
    truth: str = setting("disc", "nodule mask: a disc of the nodule's size, or its box", choices=("disc", "box"))


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to a training image and its masks; nodules and hardware are drawn in before, augmented or not."""

    augment: bool = setting(True, "augment training images")
    translate: float = setting(0.05, "largest shift, part of the side", low=0, high=0.5)
    rotate_degrees: float = setting(7.0, "largest rotation, degrees", low=0, high=90)
    zoom: float = setting(0.1, "largest crop or margin, part of the side", low=0, high=0.5)
    elastic: float = setting(
        0.0, "largest standard deviation of a smooth warp of an image, part of the side", low=0, high=0.05
    )
    mirror: bool = setting(False, "mirror left and right in half of the images")
    brightness: float = setting(0.15, "largest change of brightness and contrast, part of the range", low=0, high=1)
    gamma: float = setting(0.0, "largest change of log2(gamma)", low=0, high=2)
    gaussian_noise: float = setting(
        0.02, "largest standard deviation of the Gaussian noise, part of the range", low=0, high=0.5
    )
    blur: float = setting(
        0.0, "largest standard deviation of a Gaussian blur of half of the images, pixels", low=0, high=10
    )
    poisson_counts: float = setting(500.0, "fewest counts at full brightness of the Poisson noise; 0 for none", low=0)
    hardware: float = setting(
        0.0, "part of the images with electrodes, rings and letters drawn over them, that are no nodules", low=0, high=1
    )
    simulate: Path | None = setting(
        None, "CT nodules (.npz), or analytic, to project into training images as they are drawn"
    )
    simulate_count: int = setting(3, "most nodules projected into one image", low=0, high=10)
    simulate_share: float = setting(1.0, "part of a first look's images into which any are projected", low=0, high=1)
    simulate_outside: float = setting(
        14 / 154,
        "part of them behind heart and hila or below the domes, as 14 of JSRT's 154",
        low=0,
        high=1,
    )
    simulate_shams: int = setting(
        0, "most pieces of background inserted into one image like nodules, that are none", low=0, high=10
    )
    simulate_easy: float = setting(2.5, "contrast factor of projected nodules at the first step, falling to 1", low=1)
    simulate_easy_steps: int = setting(2000, "steps over which that factor falls", low=1)


@dataclass(frozen=True)
class SecondLookConfig:
    """What the second look (--look) is trained on."""

    patches: int = setting(32, "patches cut from each image that is drawn", low=8, high=256)
    analytic_share: float = setting(0.0, "part of the projected nodules that come from formulas", low=0, high=0.9)
    shams: int = setting(2, "pieces of background inserted into each image, that are no nodules", low=0, high=10)
    second_init: str | None = setting(
        None, "two-look model, or run, whose second look is the start of this one (default: random weights)"
    )
    second_share: float | None = setting(
        None, "second look's weight in the nodule's logit (default: the best on the validation cases)", low=0, high=1
    )
    minings: int = setting(4, "times that look-alikes are searched for anew in the training images", low=0, high=50)


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
class ScoringConfig:
    """Where a model runs that is scored, and the intervals of its figures."""

    resamples: int = setting(
        10000, "bootstrap resamples of the images, for 95 % intervals; 0 for none", low=0, high=100_000
    )
    bootstrap_seed: int = setting(0, "seed of the resamples", low=0)
    device: str = setting("auto", "where to run: cuda fails when CUDA is not usable", choices=("auto", "cpu", "cuda"))
    threads: int | None = setting(None, "CPU threads (default: ONNX Runtime's)", low=1)
