"""The second look trained on patches, beside a first look that stays as it is; then both weighed and packaged."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from cxrcad.config import TrainConfig, to_dict
from cxrcad.core import Case, TrainingError, UsageError
from cxrcad.datasets.folds import Split
from cxrcad.datasets.jsrt import Dataset
from cxrcad.datasets.lesions import cases_to_train
from cxrcad.evaluation.froc import best_f1_threshold, froc, score_at_threshold, sensitivity_at
from cxrcad.evaluation.matching import HitRule, match_image
from cxrcad.imaging.preprocess import Geometry
from cxrcad.inference.bundle import Bundle
from cxrcad.inference.findings import find
from cxrcad.jobs import Progress, write_json
from cxrcad.networks.registry import build_network
from cxrcad.networks.twolooks import TwoLooks, first_of, nodule_logit
from cxrcad.training.checkpoint import no_checkpoint
from cxrcad.training.device import Backend, channels_last, open_backend
from cxrcad.training.export import export_fold, load_network
from cxrcad.training.inputs import inputs_of
from cxrcad.training.loader import Sample, drawn_ahead, load_samples, make_source
from cxrcad.training.patches import Ground, PatchSource, Places, cut, make_grounds
from cxrcad.training.starts import start_model
from cxrcad.training.stopping import Stopping
from cxrcad.training.trainer import CHECKPOINT, State, follow, keep_state, learning_rate, new_state, total_steps

__all__ = ["RATES", "SHARES", "both_looks", "joined", "reached", "start_looks", "train_second_look"]

Map = NDArray[np.float32]

SHARES = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
"""Weights of the second look's logit that are tried on the validation cases."""

RATES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""False positives an image at which the sensitivity is averaged to choose one."""

SOFT = 0.02  # labels are 0.02 and 0.98: an outline is no certainty


def train_second_look(config: TrainConfig, dataset: Dataset, split: Split, folder: Path, progress: Progress) -> Path:
    """The folder of a finished fold whose model has two looks; the first is `config.init`, another model.

    Patches are drawn from the training cases that have lung masks, with nodules, shams and look-alikes in them; the
    look-alikes are found anew `config.second.minings` times, by the network as it then is. The second look's share is
    the one with the best mean sensitivity on the validation cases. Each time look-alikes are sought, the weights go
    back to their moving average, which seeks them. Raises UsageError, TrainingError, DataError.
    """
    first, second = start_looks(config, dataset, split)
    config = replace(config, init=str(first.folder))
    backend = open_backend(config)
    torch.manual_seed(config.seed)
    network = build_network(config.network, config.grid.side)
    assert isinstance(network, TwoLooks)
    network.first.load_state_dict(first_of(load_network(first.folder)).state_dict())
    if second is not None:
        config = replace(config, second=replace(config.second, second_init=str(second.folder)))
        network.second.load_state_dict(_two_looks(second).second.state_dict())
    state = new_state(channels_last(network.second), config)
    chosen = cases_to_train(dataset, split.train, config.normals)
    source = make_source(load_samples(chosen, config, network.multiple), config, dataset, split.train)
    held = cases_to_train(dataset, split.validation, config.normals) if split.validation else ()
    validation = load_samples(held, config, network.multiple)
    state.inputs = inputs_of(config, [*chosen, *held])
    patches = PatchSource(make_grounds(source.samples, source.zones), source.projections, config)
    if not patches.grounds:
        raise TrainingError("no training case has a lung mask, and a second look is trained in and about the lungs")
    total = total_steps(config, source)
    network.to(backend.device)
    state.average.to(backend.device)
    if config.resume and (folder / CHECKPOINT).is_file():
        _take_hard(patches.grounds, state.load(folder / CHECKPOINT).get("hard"), folder / CHECKPOINT)
        progress.note(f"fold {split.fold}: going on from step {state.step}")
    progress.start(f"fold {split.fold}, second look", total, state.step)
    _run(state, network, patches, total, backend, folder, progress)
    network.second.load_state_dict((state.average if config.ema else state.network).state_dict())
    entry = _weigh(network, validation, config)
    progress.note(_sentence(entry))
    entry = {
        "step": state.step,
        "epoch": state.step // source.steps_per_epoch,
        "loss": round(state.loss_sum / max(1, state.loss_steps), 6),
        **entry,
    }
    state.history = (*state.history, {**entry, "seconds": round(state.seconds, 1)})
    write_json(folder / "history.json", list(state.history))
    return export_fold(network, config, source, validation, folder, state.history, state.seconds)


def _take_hard(grounds: Sequence[Ground], kept: Any, path: Path) -> None:
    """Give each image the look-alikes that the checkpoint `path` holds. Raises TrainingError for damaged ones."""
    try:
        places = [np.array(hard, dtype=np.float64).reshape(-1, 2) for hard in kept]
        fitting = len(places) == len(grounds) and all(
            ((place >= 0) & (place < ground.sample.image.shape)).all()
            for place, ground in zip(places, grounds, strict=True)
        )
    except (TypeError, ValueError, OverflowError):
        fitting = False
    if not fitting:
        raise no_checkpoint(path, f"its look-alikes are no places in {len(grounds)} images")
    for ground, place in zip(grounds, places, strict=True):
        ground.hard = place


def start_looks(config: TrainConfig, dataset: Dataset, split: Split) -> tuple[Bundle, Bundle | None]:
    """The models that `--init` and `--second-init` name, if this training of the split can take them.

    Raises UsageError, TrainingError, ModelError.
    """
    return _first_look(config, dataset, split), _second_look(config, dataset, split)


def _first_look(config: TrainConfig, dataset: Dataset, split: Split) -> Bundle:
    if config.init is None:
        raise UsageError("--look needs a first look: name a model, or a run, with --init")
    bundle = start_model(config.init, "--init", config, dataset, split)
    card = bundle.card.get("network", {})
    wanted = {name: value for name, value in to_dict(config.network).items() if name not in ("look", "halve", "patch")}
    differing = [name for name, value in wanted.items() if card.get(name, value) != value]
    side = config.grid.side // 2 if config.network.halve else config.grid.side
    own_side = bundle.grid.side // 2 if card.get("look") and card.get("halve", True) else bundle.grid.side
    if differing or own_side != side:
        theirs = ", ".join([f"side {own_side}", *(f"{name} {card[name]}" for name in differing)])
        ours = ", ".join([f"side {side}", *(f"{name} {wanted[name]}" for name in differing)])
        raise TrainingError(
            f"--init {config.init}: has {theirs}, and this training's first look {ours}; give the settings that its "
            "card names (the first look's side is half of --side, or all of it with --no-halve)"
        )
    return bundle


def _second_look(config: TrainConfig, dataset: Dataset, split: Split) -> Bundle | None:
    name = config.second.second_init
    if name is None:
        return None
    bundle = start_model(name, "--second-init", config, dataset, split)
    own, wanted, side = bundle.network, config.network, config.grid.side
    if not own.look or (own.channels, own.patch, bundle.grid.side) != (wanted.channels, wanted.patch, side):
        raise TrainingError(
            f"--second-init {name}: is no two-look model of side {side}, channels {wanted.channels} and patch "
            f"{wanted.patch}; name one, or leave it out"
        )
    return bundle


def _two_looks(bundle: Bundle) -> TwoLooks:
    network = load_network(bundle.folder)
    assert isinstance(network, TwoLooks)
    return network


def _run(
    state: State,
    network: TwoLooks,
    patches: PatchSource,
    total: int,
    backend: Backend,
    folder: Path,
    progress: Progress,
) -> None:
    config = patches.config
    started, before = time.monotonic(), state.seconds
    turns = config.second.minings
    minings = sorted({round(total * (turn + 1) / (turns + 1)) for turn in range(turns)})
    mined = state.step

    def hard() -> list[Any]:
        return [ground.hard.round(1).tolist() for ground in patches.grounds]

    def keep() -> None:
        """The state as it stands, unless a search for look-alikes was cut short."""
        if state.step not in minings or mined == state.step:
            keep_state(state, folder, progress, hard=hard())

    with Stopping(keep) as stopping:
        for last in [*(step for step in minings if step > state.step), total]:  # look-alikes stay the same in between
            with closing(drawn_ahead(patches.draw, state.step, last, backend.workers)) as drawn:
                for places in drawn:
                    with stopping.step():
                        loss = _step(state, places, network, total, config, backend)
                        if not np.isfinite(loss):
                            raise TrainingError(f"the loss is {loss} at step {state.step}; lower --learning-rate")
                        state.loss_sum, state.loss_steps = state.loss_sum + loss, state.loss_steps + 1
                        state.step += 1
                    if state.step in minings:
                        state.network.load_state_dict(state.average.state_dict())  # state.network is network.second
                        _mine(network, patches.grounds, backend)
                        mined = state.step
                    state.seconds = before + time.monotonic() - started
                    progress.step(state.step, state.loss_sum / state.loss_steps)
                    if state.step % config.checkpoint_steps == 0 or state.step == total:
                        state.save(folder / CHECKPOINT, hard=hard())


def _step(state: State, places: Places, network: TwoLooks, total: int, config: TrainConfig, backend: Backend) -> float:
    generator = torch.Generator(backend.device).manual_seed(int(places.rng.integers(2**62)))
    torch.manual_seed(int(places.rng.integers(2**62)))  # dropout
    images = cut(places, network.inputs, config, generator, backend.device)
    labels = places.labels.to(backend.device)
    state.network.train()
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(config, state.step, total)
    with backend.autocast():
        logits = state.network(images.contiguous(memory_format=torch.channels_last))
    loss = functional.binary_cross_entropy_with_logits(logits.float(), labels * (1 - 2 * SOFT) + SOFT)
    state.optimizer.zero_grad()
    backend.backward(loss)
    state.optimizer.step()
    follow(state.average, state.network, min(config.ema, (1 + state.step) / (10 + state.step)))
    return float(loss.detach())


@torch.inference_mode()
def _mine(network: TwoLooks, grounds: Sequence[Ground], backend: Backend) -> None:
    """Find each image's look-alikes: what the second look, as it is, takes for nodules outside them."""
    network.eval()
    for ground in grounds:
        image = torch.from_numpy(ground.sample.pixels)[None, None].to(backend.device)
        with backend.autocast():
            judged = network.second_look(image)
        ground.take(judged[0, 0].float().cpu().numpy())


def _weigh(network: TwoLooks, validation: Sequence[Sample], config: TrainConfig) -> dict[str, Any]:
    """Set the share: the one given, else the best mean sensitivity at RATES on the validation cases.

    With validation cases, what it and either look reach on them.
    """
    network.eval()
    given = config.second.second_share
    if not validation:
        assert given is not None  # `training.heldout` put it there
        network.share.fill_(given)
        return {"share": given}
    looks = [both_looks(network, sample.pixels) for sample in validation]
    cases = [(sample.case, sample.geometry) for sample in validation]
    tried = sorted({*SHARES, *(() if given is None else (given,))})
    scored = {share: reached(joined(looks, share), cases, config)[-2:] for share in tried}
    best = max(SHARES, key=lambda share: scored[share]) if given is None else given
    network.share.fill_(best)
    return {
        "share": best,
        "f1": round(scored[best][1], 4),
        "f1_first": round(scored[0.0][1], 4),
        "f1_second": round(scored[1.0][1], 4),
        "mean_sensitivity": {f"{share:g}": round(value[0], 4) for share, value in scored.items()},
    }


def _sentence(entry: dict[str, Any]) -> str:
    share = f"second look's share {entry['share']:g}"
    if "f1" not in entry:
        return share
    alone = f"first look alone {entry['f1_first']:.3f}, second alone {entry['f1_second']:.3f}"
    return f"{share}: validation F1 {entry['f1']:.3f} ({alone})"


@torch.inference_mode()
def both_looks(network: TwoLooks, pixels: Map) -> tuple[Map, Map]:
    """The nodule's logit (H, W) of the first look and of the second, of one grid image (H, W), 0-1."""
    x = torch.from_numpy(pixels)[None, None].to(network.share.device)
    maps = nodule_logit(network.first_look(x)), network.second_look(x)
    return maps[0][0, 0].cpu().numpy(), maps[1][0, 0].cpu().numpy()


def joined(looks: Sequence[tuple[Map, Map]], share: float) -> list[Map]:
    """Each image's logits averaged by the second look's share."""
    return [(1 - share) * first + share * second for first, second in looks]


def reached(logits: Sequence[Map], cases: Sequence[tuple[Case, Geometry]], config: TrainConfig) -> list[float]:
    """Sensitivity at RATES (0 where not reached), their mean, and the best F1, of maps of logits."""
    matches = [
        match_image(case, find((1 / (1 + np.exp(-logit))).astype(np.float32), None, geometry, config.find), HitRule())
        for logit, (case, geometry) in zip(logits, cases, strict=True)
    ]
    curve = froc(matches)
    values = [sensitivity_at(curve, rate) or 0.0 for rate in RATES]
    return [*values, float(np.mean(values)), score_at_threshold(matches, best_f1_threshold(matches)).f1]
