"""A long batch, with processes that read and without: its memory after a tenth of the images and after all, its pace.

The images are a few phantoms under many names. The model runs on a grid of 256, which does not change what is kept of
an image; --model takes another one as it is.

python benchmarks/soak.py FOLDER [--images 10000] [--workers 0,2] [--threads 1]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cxrcad.config import PhantomConfig
from cxrcad.core import ModelError
from cxrcad.files import Silent, read_json
from cxrcad.inference.model import resolve_model, write_card
from cxrcad.report.tables import Table
from cxrcad.synthesis.phantom.dataset import write_phantoms

SIDE = 256
PHANTOMS = 8
MOST = 0.05
WINDOW = 0.05
"""Memory is the median of what is seen over this part of the images, before a mark."""
SECONDS = 0.02


@dataclass(frozen=True)
class Seen:
    """After so many images: the seconds since the first, and the bytes of the process and of those that read for it."""

    images: int
    seconds: float
    own: int
    readers: int


def make_images(folder: Path, count: int) -> Path:
    """A folder of `count` radiographs, links to a few phantoms."""
    phantoms = write_phantoms(
        folder / "phantoms", PhantomConfig(cases=PHANTOMS, image_side=SIDE, format="png"), Silent()
    )
    images = folder / f"images-{count}"
    images.mkdir(exist_ok=True)
    for number in range(count):
        with contextlib.suppress(FileExistsError):
            os.link(phantoms[number % PHANTOMS].image, images / f"{number:06}.png")
    return images


def make_model(folder: Path, side: int = SIDE) -> Path:
    """The default model on a grid of `side`."""
    bundle = resolve_model()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / bundle.onnx_path.name).write_bytes(bundle.onnx_path.read_bytes())
    card = read_json(bundle.folder / "card.json", ModelError)
    write_card(folder, {**card, "grid": {**card["grid"], "side": side}})
    return folder


def resident(process: int) -> int:
    """The bytes of memory that a process holds, 0 where it is gone."""
    with contextlib.suppress(OSError, ValueError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    found: list[int] = []
    for thread in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, thread.read_text().split())
    return found


def watched(command: list[str], journal: Path) -> Iterator[Seen]:
    """What is seen of a detection while it runs, from its first image on. Raises RuntimeError where it fails."""
    told = journal.with_name(f"{journal.name}.stderr")
    with told.open("w") as file:
        process = subprocess.Popen(command, stderr=file)
    images, place, first = 0, 0, 0.0
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError), journal.open("rb") as lines:
            lines.seek(place)
            new = lines.read()
            place += len(new)
            images += new.count(b'{"image"')
        if images:
            first = first or time.monotonic()
            readers = sum(map(resident, children(process.pid)))
            if own := resident(process.pid):
                yield Seen(images, time.monotonic() - first, own, readers)
        time.sleep(SECONDS)
    if process.returncode:
        raise RuntimeError(told.read_text())


def around(seen: list[Seen], mark: int, count: int) -> list[Seen]:
    """What was seen in the images before a mark, as far as the processes that read, if there are any, had not ended."""
    seen = [one for one in seen if one.readers] or seen
    before = [one for one in seen if one.images < mark] or seen
    return [one for one in before if one.images >= mark - WINDOW * count] or before[-1:]


def row(workers: int, seen: list[Seen], count: int) -> tuple[list[str], float]:
    """The cells of a run, and by what part its memory, with that of the processes that read, is larger in the end."""
    first, last = seen[0], seen[-1]
    pace = (last.images - first.images) / (last.seconds - first.seconds)
    cells, sums = [str(workers), f"{pace:.2f}"], []
    for mark in (count // 10, count):
        near = around(seen, mark, count)
        own, readers = (statistics.median(getattr(one, name) for one in near) for name in ("own", "readers"))
        cells.append(f"{own / 1e6:.0f} + {readers / 1e6:.0f}")
        sums.append(own + readers)
    growth = sums[1] / sums[0] - 1
    return [*cells, f"{100 * growth:+.1f} %"], growth


def soak(folder: Path, count: int, workers: list[int], threads: int, model: Path | None) -> tuple[list[str], float]:
    """The lines of the table, and the largest growth of memory."""
    folder.mkdir(parents=True, exist_ok=True)
    images, model = make_images(folder, count), model or make_model(folder / "model")
    rows, most = [], 0.0
    for number in workers:
        out = folder / f"boxes-{number}.json"
        options = {"model": model, "device": "cpu", "threads": threads, "workers": number, "out": out}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        command = [sys.executable, "-m", "cxrcad", "detect", str(images), *words]
        cells, growth = row(number, list(watched(command, out.with_name(f"{out.name}.jsonl"))), count)
        rows.append(cells)
        most = max(most, growth)
    columns = ("processes that read", "images a second", f"MB after {count // 10:,}", f"MB after {count:,}", "change")
    return Table(columns, rows).markdown(), most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where images, model and results are written")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--workers", default="0,2", help="the numbers of processes that read, one run each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", type=Path)
    given = parser.parse_args()
    workers = [int(number) for number in given.workers.split(",")]
    lines, growth = soak(given.folder, given.images, workers, given.threads, given.model)
    print("\n".join(lines))
    if growth > MOST:
        sys.exit(f"memory grew by {100 * growth:.1f} %, more than {100 * MOST:.0f} %")


if __name__ == "__main__":
    main()
