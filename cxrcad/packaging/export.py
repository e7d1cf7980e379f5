"""A trained network -> a packaged model: safetensors, ONNX, card; and torch compared with ONNX Runtime."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cxrcad import config as settings
from cxrcad.config import LESIONS, FindConfig, TrainConfig
from cxrcad.core import ModelError
from cxrcad.datasets.images import read_case
from cxrcad.documents import as_name
from cxrcad.evaluation.froc import Operating, best_f1_threshold, score_at_threshold
from cxrcad.evaluation.matching import HitRule, match_image
from cxrcad.evaluation.segmentation import BEST_DICE, best_dice, overlap
from cxrcad.evaluation.statistics import dice
from cxrcad.files import write_atomically
from cxrcad.inference.candidates import find
from cxrcad.inference.detector import Detector, Examined
from cxrcad.inference.lungs import lung_fields
from cxrcad.inference.model import ONNX_NAME, WEIGHTS_NAME, Bundle, load_bundle, resolve_model, write_card
from cxrcad.networks.blocks import tasks_of
from cxrcad.networks.registry import build_network
from cxrcad.training.data import Sample, Source
from cxrcad.training.out_of_fold import held_out_words
from cxrcad.training.series import listed_series, unknown_series

__all__ = ["compare_runtimes", "export_fold", "load_network", "write_onnx"]

PATHS = (
    "data",
    "simulate",
    "initial_weights",
    "classifier_weights",
    "run",
    "runs",
    "threshold_from",
)  # of these settings a card keeps the last part alone
SMALLEST_HALVED = 1024  # weights; what is smaller (gains, offsets) takes no room
LEVELS = tuple(step / 20 for step in range(19, 0, -1))  # thresholds that are tried where not each score can be
INTENDED_USE = "Research on computer-aided detection. Not a medical device; not for diagnosis."


class _Probabilities(nn.Module):
    """The network with its softmax: (B, 1, H, W) -> per task (B, H, W), the probability of channel 1."""

    def __init__(self, network: nn.Module, tasks: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.tasks = network, tasks

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        outputs = self.network(image)
        return tuple(outputs[task].softmax(dim=1)[:, 1] for task in self.tasks)


def write_onnx(network: nn.Module, tasks: tuple[str, ...], multiple: int, path: Path, *, weights: str = "fp32") -> None:
    """Write `network` as ONNX, float32, inference mode: image (1, 1, height, width) -> a map a task (1, height, width).

    Height and width are dynamic. Weights lie in the file; with `weights` fp16 as 16-bit floats, which are made 32-bit
    ones when the file is opened. Raises ModelError where the export fails.
    """
    module = _Probabilities(network.cpu().float().eval(), tasks)
    side = 8 * multiple
    units = torch.export.Dim("rows", min=4, max=512), torch.export.Dim("cols", min=4, max=512)
    shapes = {"image": {2: multiple * units[0], 3: multiple * units[1]}}
    chatter = io.StringIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(chatter), contextlib.redirect_stderr(chatter), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                module,
                (torch.rand(1, 1, side, side + multiple),),
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=["image"],
                output_names=list(tasks),
                verbose=False,
            )
        except Exception as error:
            if _interrupted(error):
                raise KeyboardInterrupt from None
            raise ModelError(f"{path}: the network cannot be written as ONNX ({str(error).splitlines()[0]})") from error
    assert program is not None
    model = program.model_proto
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.value_info):
        del part.metadata_props[:]  # torch keeps each operation's stack trace there, with this machine's paths
        part.doc_string = ""
    if weights == "fp16":
        _halve_weights(model.graph)
    write_atomically(path, model.SerializeToString())


def _halve_weights(graph: Any) -> None:
    """Keep the graph's larger float32 weights as float16, each with a cast back under its name."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= SMALLEST_HALVED:
            casts.append(helper.make_node("Cast", [f"{weight.name}_fp16"], [weight.name], to=TensorProto.FLOAT))
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{weight.name}_fp16"))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _interrupted(error: BaseException | None) -> bool:
    """Whether a Ctrl-C lies behind an error: torch's exporter makes another one of it."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or "KeyboardInterrupt" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def load_network(folder: Path) -> nn.Module:
    """The torch network of a packaged model, from its card and weights, in inference mode. Raises ModelError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    bundle = load_bundle(folder)
    network = build_network(bundle.network, bundle.grid.side)
    try:
        network.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"{folder / 'model.safetensors'}: weights do not fit ({reason}); export the run again"
        ) from None
    return network.eval()


def compare_runtimes(folder: Path, images: Sequence[NDArray[np.float32]]) -> float:
    """The largest difference in probability between torch and ONNX Runtime on `images` (H, W, on the model's grid)."""
    network, detector = load_network(folder), Detector.open(load_bundle(folder), device="cpu")
    worst = 0.0
    for image in images:
        served = detector.probabilities(image)
        with torch.inference_mode():
            outputs = network(torch.from_numpy(image)[None, None])
        for task, logits in outputs.items():
            worst = max(worst, float(np.abs(logits.softmax(1)[0, 1].numpy() - served[task]).max()))
    return worst


def export_fold(
    network: nn.Module,
    config: TrainConfig,
    source: Source,
    validation: Sequence[Sample],
    folder: Path,
    history: Sequence[Mapping[str, Any]],
    seconds: float,
) -> Path:
    """Write `folder`/model: weights, ONNX, card, which names what `source` may have shown the network.

    The validation set gives the threshold, through ONNX Runtime, unless one is given or comes from another run.
    """
    from safetensors.torch import save

    outlined = config.data.lesion != LESIONS[0]
    found = replace(config.find, method="components") if outlined else config.find  # an area has no peaks
    weights = {key: value.detach().cpu().float().contiguous() for key, value in network.state_dict().items()}
    multiple = int(getattr(network, "multiple"))  # noqa: B009
    card = {
        "name": as_name(f"{folder.resolve().parent.name}-{folder.name}"),
        "lesion": config.data.lesion,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "network": settings.to_dict(config.network),
        "tasks": list(tasks_of(config.network)),
        "multiple": multiple,
        "grid": settings.to_dict(config.grid),
        "find": settings.to_dict(replace(found, threshold=0.5)),
        "training": _training(config, source, history, seconds),
        "figures": {},
        "sources": [],
        "intended_use": INTENDED_USE,
    }
    with tempfile.TemporaryDirectory(prefix="cxrcad-") as name:
        trial = Path(name)  # a fold has a card only once its threshold is known
        write_onnx(network, tasks_of(config.network), multiple, trial / ONNX_NAME)
        write_card(trial, card)
        best: float | None = None
        examined = _examined(load_bundle(trial), validation)
        if config.threshold_from is not None:
            assert config.find.threshold is not None  # `training.heldout` put it there
            threshold, card["threshold_from"] = config.find.threshold, held_out_words(config.threshold_from)
        elif config.find.threshold is None:
            threshold, best = _dice_threshold(examined) if outlined else _threshold(found, examined)
            card["threshold_from"] = BEST_DICE if outlined else "best F1 on the validation cases"
        else:
            threshold, card["threshold_from"] = config.find.threshold, "given for the training"
        target = folder / "model"
        write_atomically(target / WEIGHTS_NAME, save(weights, {"format": "pt"}))
        write_atomically(target / ONNX_NAME, (trial / ONNX_NAME).read_bytes())
    if found.lung_threshold is None:
        found = replace(found, lung_threshold=_lung_threshold(examined))
    card["find"] = settings.to_dict(replace(found, threshold=threshold))
    if validation:
        measured = {"dice" if outlined else "f1": best, "threshold": round(threshold, 4)}
        card["figures"] = {"validation cases": {"cases": len(validation), **measured}}
    write_card(target, card)
    return folder


def _training(
    config: TrainConfig, source: Source, history: Sequence[Mapping[str, Any]], seconds: float
) -> dict[str, Any]:
    """The card's part on the training; images and CT series of the models that it started from count as its own."""
    training: dict[str, Any] = {
        "images": [sample.sha256 for sample in source.samples],
        "series": sorted(source.series),
        "config": _without_folders(settings.to_dict(config)),
        "steps": history[-1]["step"] if history else 0,
        "minutes": round(seconds / 60, 1),
    }
    second = config.classifier.classifier_weights if config.network.patch_classifier else None
    unknown: set[str] = set()
    for name, start in (("init", config.initial_weights), ("second_init", second)):
        if start is not None:
            first = resolve_model(start)
            training[name] = _before(first)
            training["images"] = sorted({*training["images"], *first.training_images})
            training["series"] = sorted({*training["series"], *listed_series(first)})
            unknown |= set(unknown_series(first))
    if unknown:
        training["series_unknown"] = sorted(unknown)
    return training


def _before(first: Bundle) -> dict[str, Any]:
    """What a card tells of the model that a training started from."""
    kept = first.training
    before = {name: kept[name] for name in ("steps", "minutes", "init", "second_init") if name in kept}
    config = _without_folders(first.training_config)
    return {"name": first.name, "sha256": first.sha256, "config": config, **before}


def _without_folders(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings for a card: of paths, which are this machine's, the last part."""
    return {name: Path(value).name if name in PATHS and value else value for name, value in values.items()}


def _examined(bundle: Bundle, validation: Sequence[Sample]) -> list[tuple[Sample, Examined]]:
    """The validation cases through the code that serves."""
    detector = Detector.open(bundle, device="cpu")
    return [(sample, detector.examine(read_case(sample.case))) for sample in validation]


def _threshold(find_config: FindConfig, examined: Sequence[tuple[Sample, Examined]]) -> tuple[float, float]:
    """The threshold with the best F1 on the validation cases, and that F1.

    Peaks are scored once and their scores are the candidates; components depend on the level at which the map is cut,
    so each level of 0.05 ... 0.95 is tried.
    """
    if find_config.method == "peaks":
        matches = [match_image(sample.case, one.result.findings, HitRule()) for sample, one in examined]
        best = score_at_threshold(matches, best_f1_threshold(matches))
    else:
        best = max((_components_at(find_config, level, examined) for level in LEVELS), key=lambda one: one.f1)
    assert best.threshold is not None
    return best.threshold, round(best.f1, 4)


def _dice_threshold(examined: Sequence[tuple[Sample, Examined]]) -> tuple[float, float]:
    """The threshold with the best mean Dice on the validation cases that have the lesion, and that mean."""
    positives = [(sample, one) for sample, one in examined if sample.case.positive]
    threshold, best = best_dice(
        [overlap(one.maps["nodule"], sample.nodules, one.geometry) for sample, one in positives]
    )
    return threshold, round(best, 4)


def _lung_threshold(examined: Sequence[tuple[Sample, Examined]]) -> float | None:
    """The level with the best mean Dice of the lung fields; None without lung maps or masks. Of equal ones the higher.

    Class weights above 1 for lung pixels let the map reach beyond the lungs at 0.5.
    """
    known = [
        (one.maps["lung"], sample.lung) for sample, one in examined if "lung" in one.maps and sample.lung is not None
    ]
    if not known:
        return None
    means = {
        level: float(np.mean([dice(lung_fields(found, level), true) for found, true in known])) for level in LEVELS
    }
    return max(LEVELS, key=lambda level: means[level])


def _components_at(find_config: FindConfig, level: float, examined: Sequence[tuple[Sample, Examined]]) -> Operating:
    config = replace(find_config, threshold=level)
    matches = [
        match_image(sample.case, find(one.maps["nodule"], one.maps.get("lung"), one.geometry, config), HitRule())
        for sample, one in examined
    ]
    return score_at_threshold(matches, level)
