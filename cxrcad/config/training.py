"""What a training is made of: network, loss, augmentation, synthesis, patch classifier, and the schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cxrcad.config.parts import (
    DATA,
    DEVICES,
    FOLD_CHOICES,
    FOUND,
    MACHINE,
    NO_FOLD,
    OUTPUT,
    DataConfig,
    FindConfig,
    GridConfig,
)
from cxrcad.config.schema import part, setting

__all__ = [
    "NETWORKS",
    "AugmentConfig",
    "LossConfig",
    "NetworkConfig",
    "PatchClassifierConfig",
    "SynthesisConfig",
    "TrainConfig",
]

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

    network: str = setting("mo-segnet", "network to train", choices=tuple(NETWORKS))
    tasks: str = setting(
        "multi", "learn nodules and lungs (multi) or nodules only (single)", choices=("multi", "single")
    )
    norm: str = setting(
        "table1",
        "normalisation: as in the paper's table 1, or one kind throughout",
        choices=("table1", "group", "batch"),
    )
    groups: int = setting(8, "groups of a group norm", low=1, high=16, advanced=True)
    width: int = setting(64, "channels of the first encoder stage of deeplabv3plus and pspnet", low=16, high=128)
    channels: str = setting("raw", "input channels, comma-separated, of raw, local and blob (the paper: raw)")
    aspp: bool = setting(True, "atrous spatial pyramid pooling between encoder and decoder")
    skips: bool = setting(True, "skip connections from encoder to decoder")
    patch_classifier: bool = setting(
        False, "train a patch classifier beside the segmentation network of --initial-weights", was="look"
    )
    half_side: bool = setting(
        True, "with a patch classifier, run the segmentation network at half the side", was="halve", advanced=True
    )
    patch_side: int = setting(
        69, "side of the classifier's patches, pixels", choices=("69", "97"), was="patch", advanced=True
    )


@dataclass(frozen=True)
class LossConfig:
    """Equations 1 and 2."""

    balance: str = setting("0.99", "weight of the nodule loss (lambda of equation 2), 0-1, or learned (Kendall 2018)")
    balance_start: float = setting(0.99, "weight that a learned balance starts at", low=0.01, high=0.99, advanced=True)
    min_class_weight: float = setting(0.0, "least class weight of equation 1", low=0, advanced=True)
    max_class_weight: float = setting(1000.0, "largest class weight of equation 1", low=1, advanced=True)
    focal: float = setting(0.0, "exponent of the focal loss on nodules (Lin 2017); 0 is equation 1", low=0, high=5)
    truth: str = setting(
        "disc", "nodule mask: a disc of the nodule's size, or its box", choices=("disc", "box"), advanced=True
    )
    ellipse_scale: float = setting(
        1.0, "axes of the ellipse that is the lesion in a reader's box, times the box's sides", low=0.3, high=1
    )
    ignore_rim: float | None = setting(
        None,
        "ignore what surrounds that ellipse in the box, grown by this fraction (default: no lesion)",
        low=0,
        high=1,
    )
    ignore_unboxed: float | None = setting(
        None,
        "in images with boxed lesions, ignore what --initial-weights scores this high elsewhere (default: no lesion)",
        low=0.01,
        high=0.99,
    )
    teacher: str | None = setting(
        None, "model, or run (each fold takes its own), whose maps are learned and not the masks (Hinton 2015)"
    )


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to a training image and its masks; nodules and foreign objects are drawn in before."""

    augment: bool = setting(True, "augment training images")
    translate: float = setting(0.05, "largest shift, fraction of the side", low=0, high=0.5, advanced=True)
    rotate_degrees: float = setting(7.0, "largest rotation, degrees", low=0, high=90, advanced=True)
    zoom: float = setting(0.1, "largest crop or margin, fraction of the side", low=0, high=0.5, advanced=True)
    mirror: bool = setting(False, "mirror half of the images left to right")
    brightness: float = setting(
        0.15, "largest change of brightness and contrast, fraction of the range", low=0, high=1, advanced=True
    )
    gamma: float = setting(0.0, "largest change of log2(gamma)", low=0, high=2, advanced=True)
    gaussian_noise: float = setting(
        0.02, "largest standard deviation of Gaussian noise, fraction of the range", low=0, high=0.5, advanced=True
    )
    blur: float = setting(
        0.0, "largest standard deviation of the blur of half of the images, pixels", low=0, high=10, advanced=True
    )
    poisson_counts: float = setting(
        500.0, "fewest counts at full brightness of the Poisson noise; 0 for none", low=0, advanced=True
    )
    hardware: float = setting(
        0.0, "fraction of the images with electrodes, rings and letters drawn over them", low=0, high=1
    )


@dataclass(frozen=True)
class SynthesisConfig:
    """Nodules projected into training images as they are drawn."""

    simulate: Path | None = setting(None, "CT nodules (.npz), or analytic, to project into training images")
    simulate_count: int = setting(3, "most nodules projected into one image", low=0, high=10)
    simulate_easy: float = setting(
        2.5, "contrast factor of projected nodules at the first step, falling to 1", low=1, advanced=True
    )
    simulate_easy_steps: int = setting(2000, "steps over which that factor falls", low=1, advanced=True)
    simulate_masses: float = setting(
        0.0, "fraction of the projected nodules enlarged 2 to 3 times, to masses of up to 120 mm", low=0, high=0.9
    )


@dataclass(frozen=True)
class PatchClassifierConfig:
    """What the patch classifier (--patch-classifier) is trained on, and how it joins the segmentation network."""

    patches_per_image: int = setting(32, "patches cut from each image", low=8, high=256, was="patches", advanced=True)
    analytic_fraction: float = setting(
        0.0, "fraction of the projected nodules that are analytic", low=0, high=0.9, was="analytic_share", advanced=True
    )
    negative_insertions: int = setting(
        2, "background patches inserted into each image as negatives", low=0, high=10, was="shams", advanced=True
    )
    lesion_core: float = setting(
        0.0, "middle part of a lesion, fraction of its extent, where patches show it (3 pixels at least)", low=0,
        high=0.7, advanced=True,
    )  # fmt: skip
    mining_rounds: int = setting(4, "rounds of hard-negative mining", low=0, high=50, was="minings", advanced=True)
    classifier_weights: str | None = setting(
        None,
        "ensemble, or run that trained one, to start the patch classifier from (default: random)",
        was="second_init",
    )
    ensemble_weight: float | None = setting(
        None,
        "weight of the patch classifier in the ensemble (default: the best on the validation cases)",
        low=0,
        high=1,
        was="second_share",
        advanced=True,
    )


NETWORK, SCHEDULE = "Network", "Schedule"


@dataclass(frozen=True)
class TrainConfig:
    """`cxrcad train`: everything that decides the weights."""

    data: DataConfig = part(DataConfig)
    fold: str | None = setting(
        None,
        "fold to hold out, all five in turn, or none: train on every case (default: 1; with --resume, the run's)",
        choices=(*FOLD_CHOICES, NO_FOLD),
        group=DATA,
    )
    threshold_from: Path | None = setting(
        None, "with --fold none, run of the same recipe whose out-of-fold scores give the threshold", group=DATA
    )
    train_fraction: float = setting(
        1.0, "fraction of the training patients to use", low=0.01, high=1, group=DATA, was="train_share", advanced=True
    )
    normals: bool = setting(False, "also train and validate on normals (the paper: positives only)", group=DATA)
    real_fraction: float | None = setting(
        None, "fraction of the images with real lesions; nodules are projected into the others (default: into all)",
        low=0, high=1, group=DATA,
    )  # fmt: skip
    grid: GridConfig = part(GridConfig, DATA)
    network: NetworkConfig = part(NetworkConfig, NETWORK)
    initial_weights: str | None = setting(
        None, "model, or run (each fold takes its own), to start from (default: random)", group=NETWORK, was="init"
    )
    freeze_early: bool = setting(
        False, "leave the network's first layers, and the statistics of batch norm, as they start", group=NETWORK
    )
    initial_fraction: float = setting(
        0.0, "weight of the initial weights in the mean that is packaged (WiSE-FT, Wortsman 2022)", low=0, high=0.99,
        group=NETWORK,
    )  # fmt: skip
    allow_unknown_series: bool = setting(
        False, "start also from a model whose card does not list its nodules' CT series", group=NETWORK, advanced=True
    )
    classifier: PatchClassifierConfig = part(PatchClassifierConfig, NETWORK)
    loss: LossConfig = part(LossConfig, "Loss")
    augment: AugmentConfig = part(AugmentConfig, "Augmentation")
    synthesis: SynthesisConfig = part(SynthesisConfig, "Synthesis")
    epochs: int = setting(100, "passes over the training cases", low=1, group=SCHEDULE)
    max_steps: int | None = setting(None, "stop after this many steps, whatever the epochs", low=0, group=SCHEDULE)
    batch: int = setting(1, "images that pass the network at once (the paper: 1)", low=1, group=SCHEDULE)
    accumulate: int | None = setting(
        None,
        "micro-batches of --batch images per step, over all processes (default: one for each process)",
        low=1,
        group=SCHEDULE,
    )
    learning_rate: float = setting(1e-3, "Adam's initial learning rate", low=0, group=SCHEDULE)
    schedule: str = setting("constant", "learning rate over the steps", choices=("constant", "cosine"), group=SCHEDULE)
    warmup_steps: int = setting(0, "steps over which the learning rate rises", low=0, group=SCHEDULE, advanced=True)
    ema: float = setting(0.0, "decay of the weights' moving average; 0 for none", low=0, high=0.9999, group=SCHEDULE)
    seed: int = setting(0, "seed of weights, order and augmentation", low=0, group=SCHEDULE)
    validate_epochs: int = setting(10, "epochs between validations", low=1, group=SCHEDULE, advanced=True)
    device: str = setting("auto", "where to train", choices=DEVICES, group=MACHINE)
    precision: str = setting(
        "auto", "number format; auto takes bf16 where it is faster", choices=("auto", "fp32", "bf16"), group=MACHINE
    )
    devices: int | None = setting(
        None, "processes per node, each with a GPU of its own, or with --device cpu without (default: 1)", low=1,
        group=MACHINE,
    )  # fmt: skip
    nodes: int | None = setting(None, "nodes, with torchrun or Slurm (default: 1)", low=1, group=MACHINE)
    jobs: int = setting(1, "with --fold all, folds trained at once, each in a process of its own", low=1, group=MACHINE)
    timeout_minutes: float = setting(
        10.0, "minutes that a process waits for another's gradients before the training ends", low=0.01, group=MACHINE,
        advanced=True,
    )  # fmt: skip
    threads: int | None = setting(None, "CPU threads (default: torch's)", low=1, group=MACHINE)
    deterministic: bool = setting(
        False, "take only algorithms that give the same weights each time on one machine", group=MACHINE
    )
    workers: int | None = setting(
        None,
        "processes that prepare images (default: none; with CUDA one per core, at most 4)",
        low=0,
        high=64,
        group=MACHINE,
    )
    input_cache: bool = setting(True, "keep the decoded radiographs on disk, for the trainings to come", group=MACHINE)
    cache: Path | None = setting(
        None, "folder of the decoded radiographs, safe to delete (default: cache, beside the run)", group=MACHINE
    )
    find: FindConfig = part(FindConfig, FOUND)
    runs: Path = setting(Path("runs"), "folder of the runs", group=OUTPUT)
    run: Path | None = setting(None, "the run's folder (default: a new one in the folder of the runs)", group=OUTPUT)
    resume: bool = setting(
        False, "go on from the last checkpoint of --run, otherwise of the newest run, with its settings", group=OUTPUT
    )
    checkpoint_minutes: float = setting(5.0, "minutes between checkpoints", low=0, group=OUTPUT, advanced=True)
    from_run: Path | None = setting(
        None, "run to repeat: its settings, data and folds; what is given beside it takes its place", group=DATA
    )
    tensorboard: bool = setting(
        False, "also write scalars and, each epoch, a validation case for TensorBoard", group=OUTPUT
    )

    @property
    def micro_batches(self) -> int:
        """Micro-batches per step."""
        return self.accumulate or 1
