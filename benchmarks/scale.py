"""What an archive costs on machines that are not here: a simulation of fetching, reading, inference and writing.

It is fed with processor seconds an image that `rates` measures on this machine: of 2,048 x 2,048 in JPEG 2000 with the
default model, and of 256 x 256 with that model on a grid of 64. `run` predicts a detection in many of the small ones,
does it, and compares. `plan` is of ten million large ones; what a GPU takes was not measured, so it is an option.

python benchmarks/scale.py rates FOLDER
python benchmarks/scale.py run FOLDER [--images 20000] [--engine local]
python benchmarks/scale.py plan FOLDER [--card-ms 5]
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detect import stages
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless
from soak import make_images, make_model

from cxrcad.config import PhantomConfig
from cxrcad.core import ModelError
from cxrcad.files import Silent, read_json, write_json
from cxrcad.imaging.read import read_radiograph
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import Bundle, load_bundle, resolve_model
from cxrcad.interchange.boxes import image_document, json_line
from cxrcad.report.tables import Table
from cxrcad.synthesis.phantom.dataset import write_phantoms

SMALL_GRID = 64
LARGE, CASES, TIMES = 2048, 4, 3
READ, WORK = ("read", "grid"), ("network", "findings")
FEW = 24
"""Images of the run that shows what the start takes."""
SIMULATED = 20_000
"""Of more images the pace of the last half of so many goes on."""
AHEAD = 4
"""Images for each core or card that are begun before they are done."""
ARCHIVE = 10_000_000
LINKS = (125.0, 1250.0)
"""MB a second of 1 and 10 Gbit/s; of a disk or an object store it is the same sum."""
MEGABYTE = 1e6


@dataclass(frozen=True)
class Step:
    """A piece of work on an image: what does it, for how many seconds."""

    by: str
    seconds: float


@dataclass(frozen=True)
class Ran:
    """Seconds of the clock, and processor seconds of the process that infers, or of the driver of Ray."""

    clock: float
    own: float


def simulate(
    images: int, steps: Sequence[Step], servers: Mapping[str, int], ahead: int
) -> tuple[float, dict[str, float]]:
    """Seconds until all images are done, of which at most `ahead` are begun, and the part of them that each is busy."""
    free, busy = dict(servers), dict.fromkeys(servers, 0.0)
    waiting: dict[str, list[int]] = {name: [] for name in servers}  # heaps: what is nearer its end goes first
    ends: list[tuple[float, int, int]] = []
    now, begun, done = 0.0, 0, 0

    def ask(step: int) -> None:
        """Have a step done of an image, or wait for who does it."""
        nonlocal begun
        by = steps[step].by
        if not free[by]:
            heapq.heappush(waiting[by], -step)
            return
        free[by] -= 1
        busy[by] += steps[step].seconds
        heapq.heappush(ends, (now + steps[step].seconds, len(steps) - step, step))

    while done < images:
        while begun < images and begun - done < ahead:
            begun += 1
            ask(0)
        now, _, step = heapq.heappop(ends)
        by = steps[step].by
        free[by] += 1
        if waiting[by]:
            ask(-heapq.heappop(waiting[by]))
        if step + 1 < len(steps):
            ask(step + 1)
        else:
            done += 1
    return now, {name: busy[name] / (servers[name] * now) for name in servers}


def rates_of(bundle: Bundle, images: Sequence[Path]) -> dict[str, float]:
    """Processor seconds of each stage of an image on one thread, the bytes of its file, and those of all candidates."""
    detector = Detector.open(bundle, "cpu", 1)
    size = sum(image.stat().st_size for image in images) / len(images)
    found = [len(json_line(image_document(detector.detect(read_radiograph(image))))) for image in images]
    seconds = stages(detector, images, TIMES, time.process_time)
    return {**seconds, "bytes": size, "row_bytes": sum(found) / len(found)}


def large_images(folder: Path) -> list[Path]:
    """Phantoms of LARGE as DICOM in lossless JPEG 2000."""
    config = PhantomConfig(cases=CASES, image_side=LARGE, format="dcm")
    images = [phantom.image for phantom in write_phantoms(folder, config, Silent())]
    for image in images:
        dataset = dcmread(image)
        if not dataset.file_meta.TransferSyntaxUID.is_compressed:
            dataset.compress(JPEG2000Lossless)
            dataset.save_as(image)
    return images


def measure(folder: Path) -> None:
    """Write rates.json."""
    small = sorted(make_images(folder, CASES).iterdir())
    rates = {
        "large": rates_of(resolve_model(), large_images(folder / "large")),
        "small": rates_of(load_bundle(make_model(folder / "model", SMALL_GRID)), small),
    }
    write_json(folder / "rates.json", rates)
    names = [*READ, *WORK, "writing", "bytes", "row_bytes"]
    cells = [[kind, *(f"{of[name]:,.0f}" if "bytes" in name else f"{1000 * of[name]:.1f} ms" for name in names)]
             for kind, of in rates.items()]  # fmt: skip
    print("\n".join(Table(("images", *names), cells).markdown()))


def sum_of(rates: Mapping[str, float], stages: Sequence[str]) -> float:
    """Seconds of several stages of an image."""
    return sum(rates[stage] for stage in stages)


def predicted(rates: Mapping[str, float], images: int, engine: str) -> float:
    """Seconds on this machine's cores if they were free: one reads and one infers, or each does both with Ray."""
    read, work = sum_of(rates, READ), sum_of(rates, WORK)
    cores = len(os.sched_getaffinity(0))
    if engine == "ray":
        return simulate(images, [Step("core", read + work)], {"core": cores}, AHEAD * cores)[0]
    return simulate(images, [Step("reader", read), Step("main", work)], {"reader": 1, "main": 1}, AHEAD)[0]


def own_seconds(process: int) -> float:
    """Processor seconds of a process by itself."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def detection(folder: Path, images: Path, engine: str) -> Ran:
    """Detect in a folder of images, with one process that reads, or as Ray shares it out."""
    out = folder / f"{engine}-{images.name}"
    if out.is_dir():
        raise SystemExit(f"{out}: is there from a run before; remove it")
    place = ["--engine", "ray", "--out", f"{out}/"] if engine == "ray" else ["--workers", "1", "--out", f"{out}.json"]
    options = ["--model", str(folder / "model"), "--device", "cpu", "--threads", "1", *place]
    start, own = time.monotonic(), 0.0
    process = subprocess.Popen([sys.executable, "-m", "cxrcad", "detect", str(images), *options])
    while process.poll() is None:
        with contextlib.suppress(OSError, IndexError):  # it has just ended
            own = own_seconds(process.pid)
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"cxrcad detect ended with code {process.returncode}")
    return Ran(time.monotonic() - start, own)


def compare(folder: Path, images: int, engine: str) -> None:
    """Predict a long detection, do it, and write run.json.

    With the local engine one process paces all, and its processor time tells of free cores; Ray's processes are many,
    so there the clock counts.
    """
    rates = read_json(folder / "rates.json", ModelError)["small"]
    start = detection(folder, make_images(folder, FEW), engine)
    before = start.clock if engine == "ray" else start.own
    seconds = predicted(rates, images, engine) - predicted(rates, FEW, engine) + before
    print(f"predicted for {images:,} images: {seconds:.0f} s on free cores", flush=True)
    ran = detection(folder, make_images(folder, images), engine)
    write_json(
        folder / f"run-{engine}.json", {"images": images, "predicted": seconds, "own": ran.own, "clock": ran.clock}
    )
    if engine == "local":
        print(f"the process that infers took {ran.own:.0f} s of a core, {100 * (ran.own / seconds - 1):+.1f} %")
    print(f"the clock showed {ran.clock:.0f} s, {100 * (ran.clock / seconds - 1):+.1f} %")


def site(rates: Mapping[str, float], cores: int, cards: int, card: float, link: float) -> tuple[float, str]:
    """Images a second of a site and what is busiest; `card` is a GPU's seconds an image, `link` MB a second."""
    fetch = Step("link", rates["bytes"] / MEGABYTE / link)
    read, find = Step("core", sum_of(rates, READ)), Step("core", rates["findings"])
    network = Step("card", card) if cards else Step("core", rates["network"])
    servers = {"link": 1, "core": cores, **({"card": cards} if cards else {})}
    ahead = AHEAD * (cores + cards)
    steps = [fetch, read, network, find]
    half, whole = (simulate(number, steps, servers, ahead) for number in (SIMULATED // 2, SIMULATED))
    busy = whole[1]
    return (SIMULATED - SIMULATED // 2) / (whole[0] - half[0]), max(busy, key=lambda name: busy[name])


def plan(folder: Path, card: float | None) -> None:
    """The table of ten million large radiographs."""
    rates = read_json(folder / "rates.json", ModelError)["large"]
    sites = [(cores, 0) for cores in (2, 16, 64, 512, 2048)]
    sites += [(cores, cards) for cores, cards in ((16, 1), (64, 1), (64, 4), (512, 16)) if card is not None]
    rows = []
    for cores, cards in sites:
        for link in LINKS:
            pace, busiest = site(rates, cores, cards, card or 0.0, link)
            hours = ARCHIVE / pace / 3600
            rows.append([f"{cores:,}", str(cards), f"{link * 8 / 1000:g}", f"{pace:,.1f}", f"{hours / 24:,.1f}",
                         f"{hours * cores:,.0f}", busiest])  # fmt: skip
    print(
        "\n".join(
            Table(("cores", "cards", "Gbit/s", "images a second", "days", "core-hours", "busiest"), rows).markdown()
        )
    )
    print(f"{ARCHIVE * rates['bytes'] / 1e12:.1f} TB are read, {ARCHIVE * rates['row_bytes'] / 1e9:.1f} GB are written")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rates", "run", "plan"))
    parser.add_argument("folder", type=Path, help="where images, models, rates and results are")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--card-ms", type=float, help="milliseconds that a GPU takes of an image: an assumption")
    given = parser.parse_args()
    if given.what == "rates":
        measure(given.folder)
    elif given.what == "run":
        compare(given.folder, given.images, given.engine)
    else:
        plan(given.folder, given.card_ms and given.card_ms / 1000)


if __name__ == "__main__":
    main()
