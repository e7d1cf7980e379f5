"""Where a fold was trained: versions, revision, device and seed, for each time that it was begun or gone on with."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import cxrcad
from cxrcad.config import TrainConfig
from cxrcad.core import TrainingError
from cxrcad.doctor.libraries import installed_versions
from cxrcad.doctor.machine import processor_name
from cxrcad.files import Progress, read_json, write_json
from cxrcad.training.device import Backend
from cxrcad.training.resume import changed_inputs
from cxrcad.training.state import CHECKPOINT, State, read_record

__all__ = ["ENVIRONMENT", "environment", "keep_environment"]

ENVIRONMENT = "environment.json"
SCHEMA = "cxrcad/environment/1"
GIT_SECONDS = 10


def keep_environment(folder: Path, config: TrainConfig, backend: Backend, state: State, progress: Progress) -> None:
    """Add to environment.json in a fold's folder where its training begins, or goes on, from the step of `state`.

    Of a run that is repeated (`config.from_run`), `progress` is told what was another there. Raises WriteError.
    """
    now = environment(config, backend)
    starts = _starts(folder)
    entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "step": state.step, **now}
    write_json(folder / ENVIRONMENT, {"schema": SCHEMA, "starts": [*starts, entry]})
    if config.from_run is None:
        return
    there = config.from_run / folder.name
    if not (there / CHECKPOINT).is_file() and not (there / ENVIRONMENT).is_file():
        return  # a fold that was never begun there
    before, inputs = _starts(there)[-1:], read_record(there / CHECKPOINT).get("inputs")
    changed = _differences(before[0], now) if before else ["it is not known where it was trained"]
    if isinstance(inputs, dict):
        changed += changed_inputs(inputs, state.inputs)
    if changed:
        progress.note(f"{there}: other there than now: {'; '.join(changed)}. The weights may differ")


def environment(config: TrainConfig, backend: Backend) -> dict[str, Any]:
    """What beside settings and data decides the weights: code, libraries, device and its settings; JSON."""
    cuda = backend.device.type == "cuda"
    return {
        "cxrcad": cxrcad.__version__,
        "revision": _revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": {**installed_versions(), "torch": torch.__version__},
        "device": torch.cuda.get_device_name() if cuda else processor_name(),
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "processes": backend.processes.size,
        "threads": torch.get_num_threads(),
        "precision": backend.precision,
        "deterministic": config.deterministic,
        "seed": config.seed,
    }


def _starts(folder: Path) -> list[dict[str, Any]]:
    """The entries of environment.json; none of a file that cannot be read."""
    try:
        document = read_json(folder / ENVIRONMENT, TrainingError)
    except TrainingError:
        return []
    starts = document.get("starts") if isinstance(document, dict) else None
    return [entry for entry in starts if isinstance(entry, dict)] if isinstance(starts, list) else []


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is other in two environments, in words."""
    told = []
    for name, value in now.items():
        if isinstance(value, dict):
            others = before.get(name)
            told += _differences(others if isinstance(others, dict) else {}, value)
        elif before.get(name) != value:
            told.append(f"{name} {before.get(name)}, now {value}")
    return told


def _revision() -> str | None:
    """The commit of cxrcad's source, with -dirty where it was changed; None where it is no clone."""
    source = Path(cxrcad.__file__).resolve().parents[1]
    if not (source / ".git").exists():
        return None
    command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
