"""Cases -> a trained fold: the steps, the checkpoints, the validation by the code that serves, the packaged result."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from cxrcad.config import LESIONS, TrainConfig
from cxrcad.core import TrainingError
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import Split
from cxrcad.datasets.read import cases_to_train
from cxrcad.datasets.samples import Sample, load_samples
from cxrcad.evaluation.statistics import dice
from cxrcad.files import Pace, Progress, Silent, write_json
from cxrcad.inference.lungs import lung_fields
from cxrcad.inference.model import Bundle
from cxrcad.networks.ensemble import segmentation_of
from cxrcad.networks.registry import build_network
from cxrcad.packaging.fold import export_fold
from cxrcad.packaging.parity import load_network
from cxrcad.packaging.validation import CRITERIA
from cxrcad.training.augment import augment
from cxrcad.training.checkpoint import CheckpointTimer, load_checkpoint, no_checkpoint, save_checkpoint
from cxrcad.training.data import Batch, Source, drawn_ahead, make_source, shown
from cxrcad.training.device import Backend, channels_last, open_backend
from cxrcad.training.initial_weights import initial_model
from cxrcad.training.inputs import check_inputs, inputs_of
from cxrcad.training.losses import make_balance, weighted_cross_entropy
from cxrcad.training.signals import Stopping

__all__ = [
    "CHECKPOINT",
    "State",
    "follow",
    "keep_state",
    "learning_rate",
    "new_state",
    "predict",
    "take_step",
    "total_steps",
    "train_fold",
]

CHECKPOINT = "checkpoint.safetensors"
COUNTED = ("step", "loss_sum", "loss_steps", "seconds")


@dataclass(eq=False)
class State:
    """All that a checkpoint must bring back; `history` has one entry a validation, `inputs` is `inputs_of`'s."""

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

    def modules(self) -> dict[str, nn.Module]:
        """What a checkpoint holds the weights of, by name."""
        return {"network": self.network, "average": self.average, "balance": self.balance}

    def save(self, path: Path, **more: Any) -> None:
        """Write all of it to `path`, and `more` (JSON) beside it. Raises WriteError."""
        record = {key: getattr(self, key) for key in (*COUNTED, "history", "inputs")}
        save_checkpoint(path, self.modules(), self.optimizer, {**record, **more})

    def load(self, path: Path) -> dict[str, Any]:
        """Take everything back from `path`; the record, with what else was written.

        Raises TrainingError, also where it was made from other `inputs`.
        """
        record = load_checkpoint(path, self.modules(), self.optimizer)
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
        check_inputs(path, record.get("inputs"), self.inputs)
        return record


def train_fold(
    config: TrainConfig, dataset: Dataset, split: Split, folder: Path, progress: Progress | None = None
) -> Path:
    """The folder of a finished fold: checkpoint, history.json and `model/` with weights, ONNX and card.

    With `config.resume`, goes on from the checkpoint in `folder` and ends with the weights of an uninterrupted run;
    on CUDA, where sums are taken in no fixed order, with nearly those.
    Raises TrainingError, DataError, ReadError or NetworkError.
    """
    progress = progress or Silent()
    backend = open_backend(config)
    torch.manual_seed(config.seed)
    network = channels_last(build_network(config.network, config.grid.side))
    if config.initial_weights is not None:
        first = initial_model(config.initial_weights, "--initial-weights", config, dataset, split)
        _start_from(network, first, config.initial_weights)
        config = replace(config, initial_weights=str(first.folder))
    state = new_state(network, config)
    multiple = int(getattr(network, "multiple"))  # noqa: B009 (a Module's attributes are Tensor | Module to mypy)
    chosen = cases_to_train(dataset, split.train, config.normals)
    source = make_source(load_samples(chosen, config, multiple), config, dataset, split.train)
    held = cases_to_train(dataset, split.validation, config.normals) if split.validation else ()
    validation = load_samples(held, config, multiple)
    state.inputs = inputs_of(config, [*chosen, *held])
    _check_lungs(source, config, progress)
    total = total_steps(config, source)
    for module in (state.network, state.average, state.balance):
        module.to(backend.device)  # before the optimiser's state, which follows its weights
    if config.resume and (folder / CHECKPOINT).is_file():
        state.load(folder / CHECKPOINT)
        progress.note(f"fold {split.fold}: going on from step {state.step}")
    progress.start(f"fold {split.fold}", total, state.step)
    _run(state, source, validation, total, config, backend, folder, progress)
    trained = state.average if config.ema else state.network
    return export_fold(trained, config, shown(source), validation, folder, state.history, state.seconds)


def _check_lungs(source: Source, config: TrainConfig, progress: Progress) -> None:
    """Refuse to learn lungs from no mask at all, and tell how many cases have none. Raises TrainingError."""
    without, cases = sum(sample.lung is None for sample in source.samples), len(source.samples)
    if config.network.tasks != "multi" or not without:
        return
    if without == cases:
        raise TrainingError(
            f"none of the {cases} training cases has a lung mask, so the lung task of --tasks multi has nothing to "
            "learn from; give --tasks single, or put masks beside the images (docs/DATA.md)"
        )
    progress.note(f"{without} of {cases} training cases have no lung mask: they add no lung loss")


def _start_from(network: nn.Module, first: Bundle, name: str) -> None:
    """Load the model's weights into `network`; of an ensemble the first one's. Raises TrainingError, ModelError."""
    try:
        network.load_state_dict(segmentation_of(load_network(first.folder)).state_dict())
    except RuntimeError:
        raise TrainingError(
            f"--initial-weights {name}: its weights do not fit this network; give the --network, --norm, --tasks, "
            "--channels and --width that its card names"
        ) from None


def new_state(network: nn.Module, config: TrainConfig) -> State:
    """The state before the first step: Adam as the paper has it, over the network and a learned balance."""
    average = copy.deepcopy(network).requires_grad_(False)
    balance = make_balance(config.loss)
    parameters = [*network.parameters(), *balance.parameters()]
    return State(network, average, balance, torch.optim.Adam(parameters, lr=config.learning_rate, betas=(0.9, 0.999)))


def _run(
    state: State,
    source: Source,
    validation: Sequence[Sample],
    total: int,
    config: TrainConfig,
    backend: Backend,
    folder: Path,
    progress: Progress,
) -> None:
    started, before = time.monotonic(), state.seconds
    every, timer = config.validate_epochs * source.steps_per_epoch, CheckpointTimer(config.checkpoint_minutes)
    pace = Pace(total, progress, "steps", more=", and some more for validation")

    def due() -> bool:
        return state.step % every == 0 or state.step == total

    def keep() -> None:
        """The state as it stands, unless its validation was cut short: the one before is then whole."""
        if not state.step or not due() or (state.history and state.history[-1]["step"] == state.step):
            keep_state(state, folder, progress)

    with Stopping(keep) as stopping, closing(drawn_ahead(source.draw, state.step, total, backend.workers)) as batches:
        for batch in batches:
            with stopping.step():
                loss = take_step(state, batch, total, config, backend)
                if not np.isfinite(loss):
                    raise TrainingError(
                        f"the loss is {loss} at step {state.step}; lower --learning-rate or --max-class-weight"
                    )
                state.loss_sum, state.loss_steps = state.loss_sum + loss, state.loss_steps + 1
                state.step += 1
            state.seconds = before + time.monotonic() - started
            progress.step(state.step, state.loss_sum / state.loss_steps)
            pace.step(state.step)
            if due():
                entry = _validate(state, source, validation, config, backend)
                state.history = (*state.history, entry)
                state.loss_sum, state.loss_steps = 0.0, 0
                write_json(folder / "history.json", list(state.history))
                progress.note(_sentence(entry))
            if timer.due() or state.step == total:
                state.save(folder / CHECKPOINT)


def keep_state(state: State, folder: Path, progress: Progress, **more: Any) -> None:
    """Write the checkpoint of a training that is stopped after at least one step, and say so."""
    if state.step:
        state.save(folder / CHECKPOINT, **more)
        progress.note(f"step {state.step} is kept")


def total_steps(config: TrainConfig, source: Source) -> int:
    """The steps of the whole training: its epochs, unless `max_steps` ends it before."""
    total = config.epochs * source.steps_per_epoch
    return total if config.max_steps is None else min(total, config.max_steps)


def learning_rate(config: TrainConfig, step: int, total: int) -> float:
    """Adam's learning rate at `step` of `total`: the warm-up, then constant or a cosine down to a hundredth."""
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.schedule == "cosine":
        rate *= 0.5 * (1 + float(np.cos(np.pi * step / total))) * 0.99 + 0.01
    return rate


def take_step(state: State, batch: Batch, total: int, config: TrainConfig, backend: Backend) -> float:
    """Train the network on a batch, in place; the loss before that."""
    generator = torch.Generator(backend.device).manual_seed(int(batch.rng.integers(2**62)))
    images, masks = batch.images.to(backend.device), batch.masks.to(backend.device).float()
    if config.augment.augment:
        images, masks = augment(images, masks, config.augment, batch.rng, generator)
    state.network.train()
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(config, state.step, total)
    with backend.autocast():
        outputs = state.network(images.contiguous(memory_format=torch.channels_last))
    loss = state.balance(_losses(outputs, masks, batch, config))
    state.optimizer.zero_grad()
    backend.backward(loss)
    state.optimizer.step()
    if config.ema:
        follow(state.average, state.network, min(config.ema, (1 + state.step) / (10 + state.step)))
    return float(loss.detach())


def _losses(outputs: dict[str, Tensor], masks: Tensor, batch: Batch, config: TrainConfig) -> dict[str, Tensor]:
    low, high = config.loss.min_class_weight, config.loss.max_class_weight
    losses = {"lesion": weighted_cross_entropy(outputs["lesion"], masks[:, 0].long(), low, high, config.loss.focal)}
    if "lung" in outputs and bool(batch.has_lung.any()):
        known = batch.has_lung.to(masks.device)
        losses["lung"] = weighted_cross_entropy(outputs["lung"][known], masks[known, 1].long(), low, high, 0.0)
    return losses


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move weights and statistics: average = decay x average + (1 - decay) x network."""
    averages, values = [], []
    for kept, now in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            averages.append(kept)
            values.append(now)
        else:
            kept.copy_(now)
    get_ema_multi_avg_fn(decay)(averages, values, None)


def predict(network: nn.Module, image: NDArray[np.uint8], backend: Backend) -> dict[str, NDArray[np.float32]]:
    """Probability maps (H, W) by task, of one image on the model's grid, in inference mode."""
    network.eval()
    tensor = torch.from_numpy(image.astype(np.float32) / 255)[None, None].to(backend.device)
    with torch.inference_mode(), backend.autocast():
        outputs = network(tensor.contiguous(memory_format=torch.channels_last))
    return {task: logits.float().softmax(1)[0, 1].cpu().numpy() for task, logits in outputs.items()}


def _validate(
    state: State, source: Source, validation: Sequence[Sample], config: TrainConfig, backend: Backend
) -> dict[str, Any]:
    network = state.average if config.ema else state.network
    criterion = CRITERIA[LESIONS[config.data.lesion]]
    images: list[Any] = []
    overlaps: list[float] = []
    for sample in validation:
        maps = predict(network, sample.image, backend)
        images.append(criterion.image(sample, maps, config.find))
        if sample.lung is not None and "lung" in maps:
            overlaps.append(dice(lung_fields(maps["lung"], config.find.lung_threshold), sample.lung))
    balance = getattr(state.balance, "state")()  # noqa: B009
    return {
        "step": state.step,
        "epoch": state.step // source.steps_per_epoch,
        "loss": round(state.loss_sum / max(1, state.loss_steps), 6),
        "balance": round(float(balance), 6),
        **(criterion.figures(images) if validation else {"f1": None}),
        "lung_dice": round(float(np.mean(overlaps)), 4) if overlaps else None,
        "seconds": round(state.seconds, 1),
    }


def _sentence(entry: dict[str, Any]) -> str:
    lung = f", lung Dice {entry['lung_dice']:.3f}" if entry["lung_dice"] is not None else ""
    head = f"epoch {entry['epoch']}, step {entry['step']}: loss {entry['loss']:.4f}"
    if entry["f1"] is None and "dice" not in entry:
        return head
    head += "; validation"
    if entry["f1"] is None:
        return f"{head} Dice {entry['dice']:.3f}{lung}"
    reached = ", ".join(
        f"{'not reached' if value is None else f'{value:.2f}'} at {rate}"
        for rate, value in entry["sensitivity"].items()
    )
    return f"{head} F1 {entry['f1']:.3f}, sensitivity {reached} false positives per image{lung}"
