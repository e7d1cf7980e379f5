"""Checkpoints without pickle: tensors in one safetensors file, the rest as JSON in its header, written atomically."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cxrcad.core import TrainingError
from cxrcad.documents import json_value
from cxrcad.files import write_atomically
from cxrcad.networks.registry import present_names

__all__ = ["CheckpointTimer", "load_checkpoint", "no_checkpoint", "read_record", "save_checkpoint"]

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


def no_checkpoint(path: Path, reason: str) -> TrainingError:
    """The error that the file is no checkpoint to go on from, and what to do."""
    return TrainingError(
        f"{path}: not a checkpoint of this training ({reason}); remove this file, and --resume trains the fold from "
        "its first step"
    )


def load_checkpoint(path: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Read `path` back into `modules` and `optimizer`; its record. Raises TrainingError, also for NaN among weights."""
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(path, "pt") as file:
            record = json.loads((file.metadata() or {}).get("record", "null"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        if not isinstance(record, dict):
            raise ValueError(f"its record is {type(record).__name__}, not an object")
        for key, value in tensors.items():
            if not torch.isfinite(value).all():
                raise ValueError(f"{key} holds NaN or infinite values")
        states: dict[int, dict[str, Tensor]] = {}
        for key in [key for key in tensors if key.startswith("optimizer/")]:
            _, index, name = key.split("/")
            states.setdefault(int(index), {})[name] = tensors.pop(key)
        for name, module in modules.items():
            own = {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}
            module.load_state_dict(present_names(own))
        _check_states(states, optimizer)
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else (str(error) or "damaged").splitlines()[0]
        raise no_checkpoint(path, reason) from None
    return record


def read_record(path: Path) -> dict[str, Any]:
    """The record of a checkpoint, without its tensors; empty where there is none that can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            record = json_value((file.metadata() or {}).get("record", "null"))
    except (OSError, SafetensorError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _check_states(states: dict[int, dict[str, Tensor]], optimizer: torch.optim.Optimizer) -> None:
    """Raise ValueError for an optimiser's state that does not fit its weights: torch would find out at the next step.

    A weight that got no gradient has none.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for index, state in states.items():
        if index not in range(len(weights)) or set(state) != {"step", "exp_avg", "exp_avg_sq"}:
            raise ValueError(f"optimizer/{index} is no state of Adam for one of {len(weights)} weights")
        wanted = {"step": torch.Size(), "exp_avg": weights[index].shape, "exp_avg_sq": weights[index].shape}
        for name, value in state.items():
            if value.shape != wanted[name] or not value.is_floating_point():
                raise ValueError(f"optimizer/{index}/{name} is {value.dtype} of shape {tuple(value.shape)}")
