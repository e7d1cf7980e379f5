"""What the tests of trainings share: a training of three steps needs as many drawn nodules as a long one."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session", autouse=True)
def _nodules_are_drawn_once() -> Iterator[None]:
    """Trainings with the same settings get the same projections; drawing them takes longer than those trainings do."""
    from cxrcad.training import data

    drawn, load = {}, data.load_projections

    def load_once(path: Path, *, exclude_series: Collection[str], spacing_mm: float, count: int, seed: int) -> object:
        key = (path, frozenset(exclude_series), spacing_mm, count, seed)
        if key not in drawn:
            drawn[key] = load(path, exclude_series=exclude_series, spacing_mm=spacing_mm, count=count, seed=seed)
        return drawn[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(data, "load_projections", load_once)
        yield


@pytest.fixture(scope="module")
def boxed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 images of 96 x 96 with a boxed lesion, 10 normals and 5 with other findings; every third lacks a lung mask."""
    folder = tmp_path_factory.mktemp("boxed")
    (folder / "lungs").mkdir()
    rows, cols = np.mgrid[:96, :96]
    lung = (abs(rows - 48) < 36) & ((abs(cols - 26) < 18) | (abs(cols - 70) < 18))
    table = ["file,x0,y0,x1,y1,label,role,patient"]
    for index in range(25):
        name = f"i{index:02d}.png"
        image = np.where(lung, 70, 150) + (rows + cols) % (7 + index)
        if index < 10:
            x, y = 22 + index, 30 + 3 * index
            image = image + 90 * (((cols - x) / 9) ** 2 + ((rows - y) / 5) ** 2 <= 1)
            table.append(f"{name},{x - 10},{y - 6},{x + 10},{y + 6},Mass,,{index}")
        else:
            table.append(f"{name},,,,,,{'normal' if index < 20 else 'other_finding'},{index}")
        Image.fromarray(image.astype(np.uint8)).save(folder / name)
        if index % 3:
            Image.fromarray(lung.astype(np.uint8) * 255).save(folder / "lungs" / name)
    (folder / "boxes.csv").write_text("\n".join(table) + "\n")
    return folder
