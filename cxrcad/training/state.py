"""The state of a training, and its checkpoints: tensors in one safetensors file, the rest as JSON in its header."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cxrcad.config import TrainConfig
from cxrcad.core import TrainingError
from cxrcad.documents import json_value
from cxrcad.files import write_atomically
from cxrcad.networks.registry import present_names
from cxrcad.training.losses import make_balance

__all__ = ["CHECKPOINT", "State", "new_state", "no_checkpoint", "read_record"]

CHECKPOINT = "checkpoint.safetensors"
SCHEMA = "cxrcad/checkpoint/1"
COUNTED = ("step", "loss_sum", "loss_steps", "seconds")


@dataclass(eq=False)
class State:
    """All that a checkpoint must bring back; `history` has one entry a validation, `inputs` is `inputs_of`'s.

    `learner` is what a step differentiates (`Processes.learner`), made at the first one.
    """

    network: nn.Module
    average: nn.Module
    balance: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    loss_sum: float = 0.0
    loss_steps: int = 0
    seconds: float = 0.0
    history: tuple[dict[str, Any], ...] = ()
    inputs: dict[str, Any] = field(default_factory=dict)
    learner: nn.Module | None = None

    @property
    def mean_loss(self) -> float:
        """The mean loss of the steps since the last validation."""
        return self.loss_sum / max(1, self.loss_steps)

    def modules(self) -> dict[str, nn.Module]:
        """What a checkpoint holds the weights of, by name."""
        return {"network": self.network, "average": self.average, "balance": self.balance}

    def save(self, path: Path, **more: Any) -> None:
        """Write all of it to `path`, and `more` (JSON) beside it. Raises WriteError."""
        record = {key: getattr(self, key) for key in (*COUNTED, "history", "inputs")}
        _save(path, self.modules(), self.optimizer, {**record, **more})

    def load(self, path: Path) -> dict[str, Any]:
        """Take everything back from `path`; the record, with what else was written.

        Raises TrainingError.
        """
        record = _load(path, self.modules(), self.optimizer)
        for key in COUNTED:
            value: Any = record.get(key)
            kind = type(getattr(self, key))
            if type(value) not in (int, kind) or not 0 <= value < math.inf:
                raise no_checkpoint(path, f"{key} is {value!r:.60}, not a number from 0")
            setattr(self, key, kind(value))
        history = record.get("history")
        if not isinstance(history, list) or not all(
            isinstance(entry, dict) and type(entry.get("step")) is int for entry in history
        ):
            raise no_checkpoint(path, "history is no list of validations")
        self.history = tuple(history)
        return record


def new_state(network: nn.Module, config: TrainConfig) -> State:
    """The state before the first step: Adam as the paper has it, over the network and a learned balance."""
    average = copy.deepcopy(network).requires_grad_(False)
    balance = make_balance(config.loss)
    parameters = [weight for module in (network, balance) for weight in module.parameters() if weight.requires_grad]
    return State(network, average, balance, torch.optim.Adam(parameters, lr=config.learning_rate, betas=(0.9, 0.999)))


def _save(path: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer, record: dict[str, Any]) -> None:
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


def _load(path: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
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
