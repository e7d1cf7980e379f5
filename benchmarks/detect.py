"""Where the time of a detection goes, beside what the machine can do: in one run, on radiographs of your own.

GEMM is the rate of a product of two 1,024 x 1,024 matrices in float32. The limit is the network's multiplications and
additions at that rate. On one thread times are processor time, which other programs hardly change; with more threads,
from the start of a process and with workers they are seconds of a clock. With --against the same radiographs go through
the model and another one in turn, each on its own grid, and the ratio is the median of the pairs. An ONNX file takes
the model's grid.

python benchmarks/detect.py RADIOGRAPH... [--model MODEL] [--against OLD.onnx|MODEL] [--threads 1] [--workers 0,2]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.files import write_atomically
from cxrcad.imaging.read import read_radiograph
from cxrcad.inference.batch import detect_each, reading_for
from cxrcad.inference.detector import CPU, Detector, open_session
from cxrcad.inference.inputs import find_inputs
from cxrcad.inference.model import Bundle, resolve_model
from cxrcad.inference.reading import prepare
from cxrcad.inference.workers import Workers
from cxrcad.interchange import boxes
from cxrcad.report.tables import Table

SIDE = 1024
START_TIMES = 3

Grid = NDArray[np.float32]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Stored:
    """An ONNX Runtime session that has computed already: what is left of a detection is all but the network."""

    outputs: Sequence[Any]

    def run(self, names: Sequence[str], inputs: object) -> Sequence[Any]:
        """The outputs that it holds."""
        return self.outputs


def clock_of(threads: int) -> Clock:
    """Processor time of this process where it has one thread, else the clock."""
    return time.process_time if threads == 1 else time.perf_counter


def seconds_of(work: Callable[[], object], times: int, clock: Clock) -> float:
    """The median seconds of a piece of work that was done once before."""
    work()
    found = []
    for _ in range(times):
        start = clock()
        work()
        found.append(clock() - start)
    return statistics.median(found)


def gemm_rate(times: int, clock: Clock) -> float:
    """Multiplications and additions a second of a product of two matrices, as NumPy's BLAS computes it."""
    one, other = np.random.default_rng(0).random((2, SIDE, SIDE), np.float32)
    return 2 * SIDE**3 / seconds_of(lambda: one @ other, times, clock)


def operations(bundle: Bundle, image: Grid) -> int:
    """The network's multiplications and additions on one image, in its convolutions."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from cxrcad.packaging.parity import load_network

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        load_network(bundle.folder)(torch.from_numpy(image)[None, None])
    return int(counter.get_total_flops())


def stages(detector: Detector, files: Sequence[Path], times: int, clock: Clock) -> dict[str, float]:
    """Seconds an image of a warm detection, stage by stage: the mean over the files of each one's median."""
    found: dict[str, list[float]] = {}

    def take(stage: str, work: Callable[[], object]) -> None:
        found.setdefault(stage, []).append(seconds_of(work, times, clock))

    with tempfile.TemporaryDirectory(prefix="cxrcad-") as place:
        out = Path(place) / "boxes.json"
        for file in files:
            radiograph = read_radiograph(file)
            given = prepare(radiograph, detector.bundle.grid, detector.bundle.multiple)
            feed = {"image": given.image[None, None]}
            run = detector.session.run
            stored = replace(detector, session=Stored(run(detector.outputs, feed)))
            result = stored.detect(given)
            written = boxes.Found(detector.identity, [result])
            take("read", lambda: read_radiograph(file))  # noqa: B023 (used up before the next file)
            take("grid", lambda: prepare(radiograph, detector.bundle.grid, detector.bundle.multiple))  # noqa: B023
            take("network", lambda: run(detector.outputs, feed))  # noqa: B023
            take("findings", lambda: stored.detect(given))  # noqa: B023
            take("writing", lambda: write_atomically(out, boxes.write(written)))  # noqa: B023
    return {stage: statistics.mean(seconds) for stage, seconds in found.items()}


def cold(file: Path, bundle: Bundle, threads: int) -> dict[str, tuple[float, float]]:
    """Seconds of the clock and of the processor for `cxrcad --help` and for one scan, each from the start of a process.

    The least of a few: what else runs on the machine only adds.
    """
    with tempfile.TemporaryDirectory(prefix="cxrcad-") as place:
        out = Path(place) / "boxes.json"
        scan = ["detect", file, "--model", bundle.folder, "--device", "cpu", "--threads", threads, "--out", out]
        return {"cxrcad --help": started(["--help"]), "one scan": started(scan)}


def started(words: Sequence[object]) -> tuple[float, float]:
    """The least seconds of the clock and of the processor of a few runs of `cxrcad`."""
    found = []
    for _ in range(START_TIMES):
        before, start = os.times(), time.perf_counter()
        subprocess.run([sys.executable, "-m", "cxrcad", *map(str, words)], check=True, capture_output=True)
        seconds, after = time.perf_counter() - start, os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        found.append((seconds, spent))
    return min(one for one, _ in found), min(other for _, other in found)


def pace(detector: Detector, files: Sequence[Path], images: int, workers: int) -> tuple[float, float]:
    """Images a second of the clock, with so many processes, and seconds of our processor an image.

    The latter is what one process that infers must do for an image, however many cores there are. The first third of
    the images is not counted, in which processes start; `files` are taken in turn, each under names of its own.
    """
    reading = reading_for(detector, force=True, pixels=False)
    processes = Workers(workers, 60.0) if workers else None
    ends, spent = [], []
    with tempfile.TemporaryDirectory(prefix="cxrcad-") as place:
        for number in range(images):
            file = files[number % len(files)].absolute()
            (Path(place) / f"{number:06d}{file.suffix}").symlink_to(file)
        with closing(detect_each(find_inputs([Path(place)]), detector, reading, workers=processes)) as outcomes:
            for _ in outcomes:
                ends.append(time.perf_counter())
                spent.append(time.process_time())
    first = images // 3
    return (images - 1 - first) / (ends[-1] - ends[first]), (spent[-1] - spent[first]) / (images - 1 - first)


def pairs(
    sessions: Sequence[Any], images: Sequence[Sequence[Grid]], times: int, clock: Clock
) -> Iterator[tuple[list[float], float | None]]:
    """For image after image, in turn, the seconds of each session, and the largest difference of their maps.

    Each of `images` has a radiograph on the sessions' grids; maps on different grids are not compared.
    """
    names = [[one.name for one in session.get_outputs()] for session in sessions]
    for number in range(-1, times):  # the first is not counted
        seconds, maps = [], []
        for session, wanted, image in zip(sessions, names, images[number % len(images)], strict=True):
            start = clock()
            maps.append(session.run(wanted, {"image": image[None, None]}))
            seconds.append(clock() - start)
        both = [(one, other) for one, other in zip(*maps, strict=False) if one.shape == other.shape]
        apart = max((float(np.abs(one - other).max()) for one, other in both), default=None)
        if number >= 0:
            yield seconds, apart


def against(old: str, bundle: Bundle, files: Sequence[Path], times: int, threads: int) -> str:
    """How many times as fast the model's ONNX file is as another one, or another model's, in a sentence."""
    before, path = bundle, Path(old)
    if path.suffix != ".onnx":
        before = resolve_model(old)
        path = before.onnx_path
    sessions = [open_session(one, [CPU], threads) for one in (path, bundle.onnx_path)]
    read = [read_radiograph(file) for file in files]
    images = [[prepare(one, model.grid, model.multiple).image for model in (before, bundle)] for one in read]
    found = list(pairs(sessions, images, times, clock_of(threads)))
    ratios = sorted(first / second for (first, second), _ in found)
    quarters = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    slow, fast = (statistics.median(column) for column in zip(*(seconds for seconds, _ in found), strict=True))
    apart = [one for _, one in found if one is not None]
    return (
        f"{bundle.onnx_path}: {statistics.median(ratios):.2f} times as fast as {path} (quartiles {quarters[0]:.2f} to "
        f"{quarters[2]:.2f}, {len(found)} pairs, {1000 * fast:.0f} ms for {1000 * slow:.0f})"
        + (f"; the maps differ by at most {max(apart):.1e}" if apart else "")
    )


def processor() -> str:
    """The processor's name, as Linux knows it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def report(given: argparse.Namespace) -> Iterator[str]:
    """The lines that are printed, as they come."""
    bundle, clock = resolve_model(given.model), clock_of(given.threads)
    detector = Detector.open(bundle, "cpu", given.threads)
    grids = [prepare(read_radiograph(file), bundle.grid, bundle.multiple).image for file in given.files]
    rate, sum_of = gemm_rate(given.times, clock), operations(bundle, grids[0])
    limit = sum_of / rate
    yield f"{processor()}, {os.cpu_count()} cores; {given.threads} thread(s); {bundle.name}, {len(grids)} radiographs\n"
    found = stages(detector, given.files, given.times, clock)
    warm = sum(found.values())
    rows = [["GEMM", f"{rate / 1e9:.0f} GFLOP/s", ""]]
    rows += [["limit", f"{1000 * limit:.0f} ms", f"1 ({sum_of / 1e9:.1f} GFLOP)"]]
    rows += [[name, f"{1000 * one:.1f} ms", f"{one / limit:.2f}"] for name, one in found.items()]
    rows += [["warm detect", f"{1000 * warm:.0f} ms", f"{warm / limit:.2f}"]]
    rows += [["network / warm detect", f"{found['network'] / warm:.2f}", ""]]
    for name, (seconds, spent) in cold(given.files[0], bundle, given.threads).items():
        rows.append([f"{name}, cold", f"{seconds:.2f} s ({spent:.2f} s of processor)", f"{spent / limit:.2f}"])
    for workers in given.workers:
        images, spent = pace(detector, given.files, given.paced, workers)
        told = f"{images:.2f} images/s ({1000 * spent:.0f} ms of the inferring process an image)"
        rows.append([f"{workers} workers", told, f"{1 / images / limit:.2f}"])
    yield from Table(["what", "measured", "limits"], rows).markdown()
    if given.against:
        yield "\n" + against(given.against, bundle, given.files, given.times, given.threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="RADIOGRAPH")
    parser.add_argument("--model")
    parser.add_argument("--against", help="another ONNX file of the same network, or another model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--times", type=int, default=9, help="repeats of each, whose median counts")
    parser.add_argument("--workers", type=lambda text: [int(one) for one in text.split(",")], default=[0, 2])
    parser.add_argument("--paced", type=int, default=120, help="images with workers")
    for line in report(parser.parse_args()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
