"""A tiny data set in JSRT's layout, with one bright disc a positive, for trainings of a few seconds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIDE = 64


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
