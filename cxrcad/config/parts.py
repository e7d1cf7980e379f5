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
    "DATA",
    "DEVICES",
    "FINDINGS",
    "FOLD_CHOICES",
    "FOUND",
    "IMAGE_SETS",
    "LESIONS",
    "MACHINE",
    "NODULE",
    "NO_FOLD",
    "OPERATING_POINTS",
    "OUTPUT",
    "POINT_HELP",
    "PROTOCOLS",
    "STATISTICS",
    "DataConfig",
    "FindChanges",
    "FindConfig",
    "GridConfig",
    "OperatingPointsConfig",
    "ScoringConfig",
    "check_lesion_settings",
    "check_one_threshold",
]

DATA, FOUND, STATISTICS, MACHINE, OUTPUT = "Data", "Findings", "Statistics", "Machine", "Output"
"""Headings of a command's help."""

DEVICES = ("auto", "cpu", "cuda")

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
    "boxed": "all",
}
"""The images that each protocol scores; its hit rule and figures are in `cxrcad.evaluation.protocols`."""


NODULE = "nodule"

FINDINGS, AREA = "findings", "area"

LESIONS: Mapping[str, str] = {NODULE: FINDINGS, "effusion": AREA}
"""The lesions, and what is measured of each: its findings are counted (F1, FROC), or its area is compared (Dice)."""

OF_FINDINGS = (
    *("protocol", "labels", "truth", "simulate", "patch_classifier", "images", "hit_rule", "duplicates"),
    *("fp_axis", "missing", "predictions", "truth_file", "beside", "seeds", "operating_point"),
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
class GridConfig:
    """The model's grid: what a radiograph becomes before the network sees it."""

    side: int = setting(1024, "shorter side on the model's grid, pixels (the paper: 1024)", low=32, high=4096)
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
        None, "probability from which a pixel is lung (default: the best on the validation cases)", low=0, high=1,
        advanced=True,
    )  # fmt: skip
    method: str = setting(
        "peaks", "how candidates are cut from the map: grown from peaks, or the paper's components", choices=METHODS,
        advanced=True,
    )  # fmt: skip
    grow: float = setting(
        0.5, "fraction of its peak down to which a candidate grows", low=0.05, high=0.95, advanced=True
    )
    peak_distance_mm: float = setting(8.0, "least distance between two peaks, mm", low=0, advanced=True)
    min_area_mm2: float = setting(12.0, "smallest finding, mm2 (a nodule of 5 mm has 20)", low=0, advanced=True)
    max_findings: int = setting(50, "most candidates kept in one image", low=1, advanced=True)


@dataclass(frozen=True)
class FindChanges:
    """Settings of `FindConfig` that differ from the model's card; None leaves one as it is there."""

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
class DataConfig:
    """A folder of data, and how it is divided."""

    data: Path | tuple[Path, ...] | None = setting(
        None,
        "data folder: JSRT's layout, images with boxes.csv, a public set of boxes, or the NIH layout for effusions "
        "(docs/DATA.md); repeat it to join several",
        group=DATA,
        several=True,
    )
    lesion: str = setting(
        NODULE, "what to look for (effusion: section 4.3 of the paper)", choices=tuple(LESIONS), group=DATA
    )
    protocol: str = setting(
        "paper",
        "scoring protocol, which says which images count and what a hit is: " + ", ".join(PROTOCOLS)
        + " (docs/EVALUATION.md has the table)",
        choices=tuple(PROTOCOLS),
        group=DATA,
    )  # fmt: skip
    labels: str | None = setting(
        None, "lesions to look for by label, comma-separated, as nodule,mass (default: all in the data)", group=DATA
    )
    fold_seed: int = setting(2020, "seed of the five folds", low=0, group=DATA, advanced=True)

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of `data`: none, one or several."""
        return self.data if isinstance(self.data, tuple) else () if self.data is None else (self.data,)


OPERATING_POINTS = ("sensitive", "balanced", "specific")
"""The operating points that a model's card may have, by falling rate of false positives."""

POINT_HELP = "operating point of the model's card whose threshold is used; excludes --threshold"

MOST = "most false positives per normal image at the operating point"


@dataclass(frozen=True)
class OperatingPointsConfig:
    """How scores are calibrated and operating points chosen, on real images that folds held out."""

    calibrate: bool = setting(
        True,
        "with --out-of-fold, calibrate the scores and choose operating points where the real images suffice; the "
        "balanced one is then the model's threshold",
        group=STATISTICS,
    )
    sensitive_rate: float = setting(1.0, f"{MOST} sensitive", low=0.001, high=8, group=STATISTICS, advanced=True)
    balanced_rate: float = setting(0.25, f"{MOST} balanced", low=0.001, high=8, group=STATISTICS, advanced=True)
    specific_rate: float = setting(0.125, f"{MOST} specific", low=0.001, high=8, group=STATISTICS, advanced=True)
    prevalence: float | None = setting(
        None,
        "fraction of images with a lesion for which the scores are calibrated (default: that of the real images)",
        low=0.001,
        high=0.999,
        group=STATISTICS,
        advanced=True,
    )

    def rates(self) -> dict[str, float]:
        """Most false positives per normal image, by operating point. Raises UsageError unless they fall."""
        rates = (self.sensitive_rate, self.balanced_rate, self.specific_rate)
        if not rates[0] > rates[1] > rates[2]:
            told = ", ".join(f"{rate:g}" for rate in rates)
            raise UsageError(
                f"--sensitive-rate, --balanced-rate and --specific-rate are {told}; give three rates, each lower than "
                "the one before"
            )
        return dict(zip(OPERATING_POINTS, rates, strict=True))


def check_one_threshold(operating_point: str | None, threshold: float | None) -> None:
    """Raise UsageError where an operating point and a threshold are both given."""
    if operating_point is not None and threshold is not None:
        raise UsageError(
            f"--operating-point {operating_point} and --threshold {threshold:g} exclude each other; give one of them"
        )


@dataclass(frozen=True)
class ScoringConfig:
    """Where a model runs that is scored, and the intervals of its figures."""

    resamples: int = setting(
        10000,
        "bootstrap resamples of the images, for 95 % intervals; 0 for none",
        low=0,
        high=100_000,
        group=STATISTICS,
    )
    bootstrap_seed: int = setting(0, "seed of the resamples", low=0, group=STATISTICS)
    device: str = setting("auto", "where to run; cuda fails where CUDA is not usable", choices=DEVICES, group=MACHINE)
    threads: int | None = setting(None, "CPU threads (default: ONNX Runtime's)", low=1, group=MACHINE)
