"""Every setting, once: frozen dataclasses with default, unit and help.

A setting is a leaf field. Its name is the same everywhere: `--min-score`, `CXRCAD_MIN_SCORE`, `min_score = 0.1` in a
TOML file (at the top or in any section: sections only group). `cxrcad.layers` loads them in their order. `parts` holds
what several commands share, `commands` the rest.
"""

from cxrcad.config.commands import (
    ALL_CONFIGS,
    MAX_DISTANCE_MM,
    MIN_IOU,
    DetectConfig,
    EvaluateConfig,
    ExportConfig,
    FingerprintConfig,
    PhantomConfig,
    ReproduceConfig,
    RobustnessConfig,
    SimulateConfig,
    TrainConfig,
)
from cxrcad.config.parts import (
    FOLD_CHOICES,
    IMAGE_SETS,
    LESIONS,
    PROTOCOLS,
    AugmentConfig,
    DataConfig,
    FindChanges,
    FindConfig,
    GridConfig,
    LossConfig,
    NetworkConfig,
    ScoringConfig,
    SecondLookConfig,
)
from cxrcad.settings import Setting, build, settings_of, to_dict, to_toml

__all__ = [
    "ALL_CONFIGS",
    "FOLD_CHOICES",
    "IMAGE_SETS",
    "LESIONS",
    "MAX_DISTANCE_MM",
    "MIN_IOU",
    "PROTOCOLS",
    "AugmentConfig",
    "DataConfig",
    "DetectConfig",
    "EvaluateConfig",
    "ExportConfig",
    "FindChanges",
    "FindConfig",
    "FingerprintConfig",
    "GridConfig",
    "LossConfig",
    "NetworkConfig",
    "PhantomConfig",
    "ReproduceConfig",
    "RobustnessConfig",
    "ScoringConfig",
    "SecondLookConfig",
    "Setting",
    "SimulateConfig",
    "TrainConfig",
    "build",
    "settings_of",
    "to_dict",
    "to_toml",
]
