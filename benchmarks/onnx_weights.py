"""What an ONNX file with smaller weights loses and gains: fp32, fp16 and int8, as `cxrcad export` writes them.

int8 is calibrated on 16 validation cases. Each file's size, seconds an image, largest difference in probability from
fp32, sensitivity at 1/4 to 4 false positives an image and F1 at the model's threshold on the fold's test cases.

python benchmarks/onnx_weights.py MODEL --data DATA [--fold 3] [--threads 1]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from cxrcad.cli.progress import Bar
from cxrcad.config import DataConfig
from cxrcad.core import Case
from cxrcad.datasets.folds import make_folds
from cxrcad.datasets.images import read_case
from cxrcad.datasets.read import read_dataset
from cxrcad.evaluation.froc import froc, score_at_threshold, sensitivity_at
from cxrcad.evaluation.matching import HitRule, ImageMatch, match_image
from cxrcad.imaging.preprocess import Geometry, to_grid
from cxrcad.inference.candidates import find
from cxrcad.inference.model import Bundle, load_bundle
from cxrcad.packaging.int8 import quantize
from cxrcad.packaging.onnx_export import write_onnx
from cxrcad.packaging.parity import load_network
from cxrcad.report.tables import Table
from cxrcad.training.patch_classifier.task import RATES

CALIBRATED_ON = 16

Map = NDArray[np.float32]


def write_files(bundle: Bundle, folder: Path, images: Sequence[Map]) -> dict[str, Path]:
    """The model's ONNX files by the kind of their weights."""
    files = {name: folder / f"{name}.onnx" for name in ("fp32", "fp16", "int8")}
    for name in ("fp32", "fp16"):
        write_onnx(load_network(bundle.folder), bundle.tasks, bundle.multiple, files[name], weights=name)
    files["int8"].write_bytes(files["fp32"].read_bytes())
    quantize(files["int8"], images)
    return files


def opened(file: Path, threads: int) -> Any:
    """An ONNX Runtime session on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def difference(maps: Sequence[Map], others: Sequence[Map]) -> float:
    """The largest difference of any map's pixel."""
    return max(float(np.abs(one - other).max()) for one, other in zip(maps, others, strict=True))


def row(
    name: str, file: Path, seconds: float, worst: float, matches: Sequence[ImageMatch], threshold: float
) -> list[str]:
    """One line of the table; figures in percent."""
    curve, at = froc(matches), score_at_threshold(matches, threshold)
    reached = [sensitivity_at(curve, rate) for rate in RATES]
    figures = [f"{100 * (value or 0):.1f}" for value in (*reached, at.f1)]
    return [name, f"{file.stat().st_size / 1e6:.1f}", f"{seconds:.2f}", f"{worst:.1e}", *figures]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fold", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    bundle = load_bundle(given.model)
    dataset = read_dataset(given.data, protocol="jsrt-247")
    split = next(one for one in make_folds(dataset, DataConfig().fold_seed) if one.fold == given.fold)

    def on_grid(case: Case) -> tuple[Map, Geometry]:
        return to_grid(read_case(case), bundle.grid, bundle.multiple)

    with tempfile.TemporaryDirectory(prefix="cxrcad-") as place, Bar("image") as bar:
        calibration = dataset.select(split.validation[:CALIBRATED_ON])
        files = write_files(bundle, Path(place), [on_grid(case)[0] for case in calibration])
        sessions = {name: opened(file, given.threads) for name, file in files.items()}
        seconds, worst = dict.fromkeys(files, 0.0), dict.fromkeys(files, 0.0)
        matches: dict[str, list[ImageMatch]] = {name: [] for name in files}
        cases = dataset.select(split.test)
        bar.start("images", len(cases), 0)
        for number, case in enumerate(cases):
            image, geometry = on_grid(case)
            maps = {}
            for name, session in sessions.items():  # in turn, so that a slow moment is nobody's
                start = time.perf_counter()
                maps[name] = [one[0] for one in session.run(list(bundle.tasks), {"image": image[None, None]})]
                seconds[name] += time.perf_counter() - start
                worst[name] = max(worst[name], difference(maps[name], maps["fp32"]))
                found = find(maps[name][0], None, geometry, bundle.find)
                matches[name].append(match_image(case, found, HitRule()))
            bar.step(number + 1)
        head = ["weights", "MB", "seconds an image", "largest difference", *(f"at {rate:g}" for rate in RATES), "F1"]
        body = [
            row(name, file, seconds[name] / len(cases), worst[name], matches[name], bundle.threshold)
            for name, file in files.items()
        ]
    print(f"{bundle.name}, {len(cases)} test cases of fold {given.fold}")
    print("\n".join(Table(head, body).markdown()))


if __name__ == "__main__":
    main()
