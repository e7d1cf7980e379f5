"""Fixtures shared by all tests: open data where it lies, small data sets, toy models, and the command line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.toys import export_toy, tiny_card, write_onnx

ROOT = Path(__file__).resolve().parent.parent
SIDE = 64
LONGEST = (
    *("test_pages.py", "test_readme.py", "networks/test_contract.py", "training/test_loop.py", "pacs/test_listen.py"),
    *("commands/test_archive.py", "test_benchmarks.py", "report/test_page.py", "cli/test_export.py"),
)
"""The files that take longest, longest first: they start first, so that no process is left with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    place = {ROOT / "tests" / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture(scope="session")
def boxes_schema() -> dict[str, Any]:
    """The JSON Schema that every boxes.json follows."""
    schema: dict[str, Any] = json.loads((ROOT / "cxrcad" / "interchange" / "boxes.schema.json").read_text("utf-8"))
    return schema


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reader who has what the pages take for granted."""
    from tests.reader import make_reader

    return make_reader(tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="session")
def open_data() -> Path:
    """The folder with nih/ and lidc-nodules.npz ($CXRCAD_OPEN_DATA, else ../shared/data), or a skip."""
    folder = Path(os.environ.get("CXRCAD_OPEN_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "nih" / "metadata.csv").is_file():
        pytest.skip(f"no open data at {folder}; set CXRCAD_OPEN_DATA")
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 positives and 10 normals of 64 x 64 pixels (5.6 mm a pixel); fold masks for all but OXLN001."""
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    masks = folder / "scr" / "fold1" / "masks"
    for side in ("left lung", "right lung"):
        (masks / side).mkdir(parents=True)
    rows, cols = np.mgrid[:SIDE, :SIDE]
    right, left = (abs(rows - 32) < 22) & (abs(cols - 18) < 12), (abs(rows - 32) < 22) & (abs(cols - 46) < 12)
    table, normals = [], []
    for index in range(30):
        name = f"OXLN{index + 1:03d}" if index < 20 else f"OXNN{index - 19:03d}"
        image = 150 - 90.0 * (right | left) + rng.normal(0, 4, (SIDE, SIDE))
        if index < 20:
            x, y = 12 + int(rng.integers(12)), 14 + int(rng.integers(36))
            image += 70.0 * ((rows - y) ** 2 + (cols - x) ** 2 <= 9)
            scale = 2048 / SIDE
            row = (f"{name}.IMG", 1 + index % 5, 36, 60, "Male", round((x + 0.5) * scale), round((y + 0.5) * scale))
            table.append("\t".join(map(str, (*row, "benign", "r.upper lobe", "disc"))))
        else:
            normals.append(f"{name}.IMG\t50\tFemale\tnormal")
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(folder / "images" / f"{name}.png")
        if name != "OXLN001":
            for side, mask in (("right lung", right), ("left lung", left)):
                Image.fromarray(mask.astype(np.uint8) * 255).save(masks / side / f"{name}.gif")
    (folder / "CLNDAT_EN.txt").write_text("\r\n".join(table) + "\r\n")
    (folder / "CNNDAT_EN.TXT").write_text("\n".join(normals) + "\n")
    return folder


def with_corner(image: np.ndarray) -> np.ndarray:
    """`image` with four more values in a corner: of fewer it would be refused as a mask."""
    image[-1, -4:] -= np.arange(1, 5, dtype=np.uint8)
    return image


@pytest.fixture(scope="session")
def disc_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 positives and 5 normals of 64 x 64 pixels whose answer a toy model knows.

    Each nodule is the brightest disc (240 on 40); the even positives also have a fainter disc (200) outside the lungs.
    The lung mask is rows 16-59 and columns 12-51.
    """
    folder = tmp_path_factory.mktemp("discs")
    (folder / "images").mkdir()
    lungs = {"right lung": slice(12, 32), "left lung": slice(32, 52)}
    for side in lungs:
        (folder / "scr" / "fold1" / "masks" / side).mkdir(parents=True)
    rows, cols = np.mgrid[:SIDE, :SIDE]
    table = []
    for number in range(1, 11):
        name, x, y = f"JPCLN{number:03d}", 16 + 2 * number, 24 + 3 * number
        image = with_corner(np.full((SIDE, SIDE), 40, np.uint8))
        image[(rows - y) ** 2 + (cols - x) ** 2 <= 9] = 240
        if number % 2 == 0:
            image[(rows - 7) ** 2 + (cols - 7) ** 2 <= 9] = 200
        row = (f"{name}.IMG", 1 + number % 5, 36, 60, "Male", 32 * x + 16, 32 * y + 16, "benign", "r.lower lobe", "")
        table.append("\t".join(map(str, row)))
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
    for number in range(1, 6):
        name, image = f"JPCNN{number:03d}", with_corner(np.full((SIDE, SIDE), 40, np.uint8))
        image[:, :number] = 200
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
    for image_file in (folder / "images").iterdir():
        for side, columns in lungs.items():
            lung = np.zeros((SIDE, SIDE), np.uint8)
            lung[16:60, columns] = 255
            Image.fromarray(lung).save(folder / "scr" / "fold1" / "masks" / side / f"{image_file.stem}.gif")
    (folder / "CLNDAT_EN.txt").write_text("\n".join(table) + "\n")
    (folder / "CNNDAT_EN.TXT").write_text("".join(f"JPCNN{i:03d}.IMG\t50\tFemale\tnormal\n" for i in range(1, 6)))
    return folder


@pytest.fixture(scope="session")
def toy_exporter() -> Iterator[Callable[..., None]]:
    """Trainings write the toy graph as their ONNX file, with the weights' SHA-256; gives the real `write_onnx`.

    torch takes some seconds to export even the smallest network, which is most of what a training of a few steps takes,
    and most tests of trainings and packages are about everything but the graph. Those that compare the graph with the
    network ask for `real_exporter`.
    """
    from cxrcad.packaging import fold, package

    real = fold.write_onnx
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fold, "write_onnx", export_toy)
        patched.setattr(package, "write_onnx", export_toy)
        yield real


@pytest.fixture(scope="session", autouse=True)
def _exporter_is_a_toy(request: pytest.FixtureRequest) -> None:
    """Makes it so for every test, where one of them imports torch: else none trains, and torch stays out."""
    if "torch" in sys.modules:
        request.getfixturevalue("toy_exporter")


@pytest.fixture
def real_exporter(toy_exporter: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own export, for this test."""
    monkeypatch.setattr("cxrcad.packaging.fold.write_onnx", toy_exporter)
    monkeypatch.setattr("cxrcad.packaging.package.write_onnx", toy_exporter)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM as in a terminal, here and in processes started meanwhile: `nohup ... &` ignores SIGINT."""
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGTERM: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def make_toy() -> Callable[..., Path]:
    """`make_toy(folder, outputs=..., **card)` -> the folder of a packaged model: nodules are what is bright."""
    from cxrcad.config import FindConfig, GridConfig
    from cxrcad.inference.model import write_card

    def make(folder: Path, outputs: tuple[str, ...] = ("lesion", "lung"), threshold: float = 0.9, **card: Any) -> Path:
        write_onnx(folder / "model.onnx", outputs)
        find = FindConfig(threshold=threshold, min_area_mm2=30.0, peak_distance_mm=20.0)
        own = {
            "name": folder.name,
            "grid": GridConfig(side=SIDE),
            "find": find,
            "tasks": list(outputs),
            "network": {"network": "u-net", "tasks": "multi" if len(outputs) > 1 else "single", "norm": "group"},
            "training": {"images": [], "steps": 7, "minutes": 0.5},
            "intended_use": "Tests.",
        }
        write_card(folder, tiny_card(**{**own, **card}))
        return folder

    return make


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory, make_toy: Callable[..., Path]) -> Path:
    """A packaged model that finds what is bright."""
    return make_toy(tmp_path_factory.mktemp("model") / "toy")


@pytest.fixture(scope="session")
def make_run(disc_data: Path, make_toy: Callable[..., Path]) -> Callable[..., Path]:
    """`make_run(folder, folds=(3,), finished=seconds, **make_toy's)` -> a run on `disc_data` with toy models."""
    from cxrcad.config import TrainConfig, build, to_toml
    from cxrcad.datasets.folds import make_folds, save_folds
    from cxrcad.datasets.read import read_dataset

    def make(folder: Path, folds: Sequence[int] = (3,), finished: float | None = None, **toy: Any) -> Path:
        dataset = read_dataset(disc_data)
        save_folds(folder / "folds.json", make_folds(dataset, 2020), dataset)
        for fold in folds:
            place = folder / f"fold{fold}"
            make_toy(place / "model", **{"name": f"{folder.name}-fold{fold}", **toy})
            (place / "config.toml").write_text(to_toml(build(TrainConfig, {"data": disc_data, "fold": str(fold)})))
            if finished is not None:
                os.utime(place / "model" / "card.json", (finished, finished))
        return folder

    return make


@pytest.fixture(scope="session")
def fold_names() -> Callable[..., list[str]]:
    """`fold_names(run, fold, prefix="")` -> the fold's test cases."""

    def names(run: Path, fold: int, prefix: str = "") -> list[str]:
        folds = json.loads((run / "folds.json").read_text())["folds"]
        return [name for name in folds[fold - 1]["test"] if name.startswith(prefix)]

    return names


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def cxrcad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """`cxrcad("detect", path, ...)` -> Answer(code, out, err): the command line in an empty folder, `tmp_path`."""
    from cxrcad.cli.main import main

    _in_folder(tmp_path, monkeypatch)
    return lambda *arguments: _answer(main, arguments)


@pytest.fixture(scope="session")
def command_line() -> Callable[..., Answer]:
    """`command_line(folder, "detect", path, ...)` -> Answer, for fixtures that several tests share."""
    from cxrcad.cli.main import main

    def run(folder: Path, *arguments: object) -> Answer:
        with pytest.MonkeyPatch.context() as patched:
            _in_folder(folder, patched)
            return _answer(main, arguments)

    return run


def _in_folder(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("CXRCAD_")]:
        patch.delenv(name)


def _answer(main: Callable[..., None], arguments: Sequence[object]) -> Answer:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert "Traceback" not in err.getvalue()
    return Answer(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def tiny_run(tiny_data: Path, toy_exporter: object, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """A run that `cxrcad train` made in seconds (fold 3, u-net, both tasks; torch's own ONNX), and what it said."""
    pytest.importorskip("torch")
    from cxrcad.cli.main import main

    run = tmp_path_factory.mktemp("runs") / "tiny"
    flags = {
        "data": tiny_data, "run": run, "fold": 3, "network": "u-net", "tasks": "multi", "norm": "group", "side": SIDE,
        "epochs": 12, "precision": "fp32", "threads": 1, "device": "cpu", "min-area-mm2": 30, "peak-distance-mm": 20,
        "max-class-weight": 20, "min-class-weight": 1, "validate-epochs": 6,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("cxrcad.packaging.fold.write_onnx", toy_exporter)
        return run, _answer(main, ["train", *(part for name, value in flags.items() for part in (f"--{name}", value))])


BALLS_MM = (16, 12, 5)


@pytest.fixture(scope="session")
def ball_nodules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An .npz of three balls of water, 16, 12 and 5 mm, from the series 1.1, 1.2 and 1.3."""
    balls = []
    for diameter in BALLS_MM:
        grid = np.mgrid[:diameter, :diameter, :diameter] - (diameter - 1) / 2
        balls.append(np.where((grid**2).sum(0) <= (diameter / 2) ** 2, 1000, 0).astype(np.int16))
    path = tmp_path_factory.mktemp("balls") / "nodules.npz"
    np.savez(
        path,
        shapes=np.array([ball.shape for ball in balls]),
        densities=np.concatenate([ball.ravel() for ball in balls]),
        diameters=np.array(BALLS_MM, np.float32),
        series_uid=np.array(["1.1", "1.2", "1.3"]),
    )
    return path


@pytest.fixture
def nih_folder(tmp_path: Path) -> Path:
    """Five normals and one effusion in the NIH layout: 64 x 64 pixels of 5.6 mm, 150 with lungs of 60 to 64.

    04.png has an empty lung mask, 05.png (effusion) none.
    """
    folder = tmp_path / "nih"
    (folder / "lungs").mkdir(parents=True)
    lung = np.zeros((SIDE, SIDE), np.uint8)
    lung[8:56, 6:29] = lung[8:56, 35:58] = 255
    table = ["file,role,patient,age,sex,view,spacing_row_mm,spacing_col_mm,lung_mask"]
    for index in range(6):
        name = f"{index:02d}.png"
        image = with_corner(np.where(lung > 0, 60 + index, 150).astype(np.uint8))
        Image.fromarray(image).save(folder / name)
        if index < 5:
            Image.fromarray(lung if index < 4 else np.zeros_like(lung)).save(folder / "lungs" / name)
        role, said = ("normal", "good") if index < 5 else ("effusion", "none")
        table.append(f"{name},{role},{100 + index},{40 + index},{'MF'[index % 2]},PA,5.6,5.6,{said}")
    (folder / "metadata.csv").write_text("\n".join(table) + "\n")
    return folder


@pytest.fixture(scope="session")
def effusion_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 effusions of 9 patients and 8 normals in the NIH layout, 128 x 128 pixels of 2.8 mm: 150, lungs 60.

    An effusion fills its right lung's base with 230 (rows 80-111, columns 16-55): a polygon on the 1024 grid. Every
    image has one column of 230, so that grey levels are stretched alike. `e00` and `e01` are of one patient. The
    normals' lungs are masked (`n07` has no mask); an other finding is not used.
    """
    side, folder = 128, tmp_path_factory.mktemp("effusions")
    (folder / "lungs").mkdir()
    lung = np.zeros((side, side), bool)
    lung[16:112, 16:56] = lung[16:112, 72:112] = True
    table = ["file,role,patient,age,sex,view,spacing_row_mm,spacing_col_mm,lung_mask"]
    outlines = {}
    for index in range(19):
        kind = "e" if index < 10 else "n" if index < 18 else "o"
        number = index if kind == "e" else index - 10
        name = f"{kind}{number:02d}.png"
        image = with_corner(np.where(lung, 60, 150))
        image[:, 64] = 230
        role, said = ("effusion", "none") if kind == "e" else ("normal" if kind == "n" else "other_finding", "good")
        if kind == "e":
            image[80:112, 16:56] = 230
            corners = [[16, 80], [56, 80], [56, 112], [16, 112]]
            outlines[name] = [{"polygon": [[8 * x, 8 * y] for x, y in corners], "box": [128, 640, 448, 896]}]
        elif name != "n07.png":
            Image.fromarray(lung.astype(np.uint8) * 255).save(folder / "lungs" / name)
        Image.fromarray(image.astype(np.uint8)).save(folder / name)
        table.append(f"{name},{role},{max(1, index)},{40 + index},F,PA,2.8,2.8,{said}")
    (folder / "metadata.csv").write_text("\n".join(table) + "\n")
    (folder / "effusion.json").write_text(json.dumps(outlines))
    return folder
