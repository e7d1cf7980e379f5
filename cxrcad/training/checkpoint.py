"""Checkpoints without pickle: tensors in one safetensors file, the rest as JSON in its header, written atomically."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cxrcad.core import TrainingError
from cxrcad.documents import json_value, shown
from cxrcad.files import write_atomically

__all__ = ["CheckpointTimer", "load_checkpoint", "save_checkpoint", "unusable"]

SCHEMA = "cxrcad/checkpoint/1"


class CheckpointTimer:
    """Tells when `minutes` have gone by since the last checkpoint, or since it was made."""

    def __init__(self, minutes: float) -> None:
        self.seconds, self.since = 60 * minutes, time.monotonic()

    def due(self) -> bool:
        """Whether it is time for a checkpoint, which then counts as written."""
        now = time.monotonic()
        if now - self.since < self.seconds:
            return False
        self.since = now
        return True


def save_checkpoint(
    path: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer, record: dict[str, Any]
) -> None:
    """Write weights, optimiser state and `record` (JSON: step, settings...) to `path`. Raises WriteError."""
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"{name}/{key}": value for key, value in module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{key}": value for key, value in state.items()}
    plain = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    write_atomically(path, save(plain, {"schema": SCHEMA, "record": json.dumps(record)}))


def load_checkpoint(path: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Read `path` back into `modules` and `optimizer`; its record. Raises TrainingError, with the one way to go on."""
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(path, "pt") as file:
            record = json_value((file.metadata() or {})["record"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        if not isinstance(record, dict):
            raise ValueError(f"its record is {shown(record)}, where an object is needed")
        unfit = [key for key, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]
        if unfit:
            raise ValueError(f"{unfit[0]} holds numbers that are not finite")
        states: dict[int, dict[str, Tensor]] = {}
        for key in [key for key in tensors if key.startswith("optimizer/")]:
            _, index, name = key.split("/")
            states.setdefault(int(index), {})[name] = tensors.pop(key)
        for name, module in modules.items():
            own = {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}
            module.load_state_dict(own)
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise unusable(path, str(error).splitlines()[0]) from None
    return record


def unusable(path: Path, reason: str) -> TrainingError:
    """The error of a checkpoint that cannot be gone on from."""
    return TrainingError(
        f"{path}: not a checkpoint of this training ({reason}); remove the file, and --resume trains the fold from its "
        "first step"
    )
