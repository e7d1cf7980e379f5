"""How often the polarity of radiographs, and of their inverses, is told from their pixels.

python benchmarks/polarity.py FOLDER [FOLDER ...]      radiographs, all of right polarity but those of --inverted
python benchmarks/polarity.py FOLDER ... --turned      also as they would be upside down and lying, without a tag
python benchmarks/polarity.py FOLDER ... --ways        where their pixels show the head instead, which is at the top
python benchmarks/polarity.py NIH --mean-chest         the table in cxrcad/imaging/polarity.py, from NIH and NIH/lungs
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrcad.imaging import polarity
from cxrcad.imaging.raster import read, read_mask

KNOWN_INVERTED = ("00017999_000",)
"""Of NIH ChestX-ray14, dark where it is dense: looked at."""
VARIANTS = ("as it is", "inverse", "upside down", "lying, head left", "lying, head right")
SIDE, AROUND = 20, 0.15


def images(folders: Sequence[Path]) -> list[Path]:
    """The PNG and JPEG files of some folders, by name."""
    return [path for folder in folders for path in sorted(folder.iterdir()) if path.suffix in (".png", ".jpg")]


def told(paths: Iterable[Path], inverted: Sequence[str], turned: bool) -> Iterator[tuple[str, dict[str, str]]]:
    """Each radiograph's name, and what its polarity is taken for in each variant; dense is dark in "inverse" only."""
    for path in paths:
        pixels = read(path).pixels
        pixels = 1 - pixels if path.stem in inverted else pixels
        variants = (pixels, 1 - pixels)
        variants += (pixels[::-1], np.rot90(pixels), np.rot90(pixels, 3)) if turned else ()
        yield path.stem, {name: polarity.polarity(one) for name, one in zip(VARIANTS, variants, strict=False)}


def lines(found: Sequence[tuple[str, dict[str, str]]]) -> list[str]:
    """A Markdown table: how many radiographs are taken for what, a row a variant; then the names of those in doubt."""
    kinds = (polarity.RIGHT, polarity.INVERTED, polarity.UNSURE, polarity.UNTOLD)
    rows = [f"| {len(found)} radiographs | {' | '.join(kinds)} |", "|---|---|---|---|---|"]
    for name in found[0][1]:
        counts = Counter(one[name] for _, one in found)
        rows.append(f"| {name} | {' | '.join(str(counts[kind]) for kind in kinds)} |")
    wanted = dict(zip(VARIANTS[:2], kinds[:2], strict=True))
    for variant, kind in wanted.items():
        rows.append(
            f"{variant}, not {kind}: {', '.join(name for name, one in found if one[variant] != kind) or 'none'}"
        )
    return rows


def ways_line(paths: Sequence[Path]) -> str:
    """In how many radiographs, all upright, the head is found at the top, elsewhere, and not for certain."""
    found = Counter(polarity.way_shown(read(path).pixels) for path in paths)
    top, untold = found[1], found[None]
    return f"{len(paths)} radiographs: at the top {top}, elsewhere {len(paths) - top - untold}, untold {untold}"


def mean_chest(folder: Path) -> NDArray[np.float64]:
    """(SIDE, SIDE / 2): left half of the mean of a folder's radiographs, as ranks, cut to the lung masks and AROUND."""
    total = np.zeros((SIDE, SIDE))
    for path in images([folder]):
        mask = folder / "lungs" / path.name
        if not mask.is_file() or not (lung := read_mask(mask)).any():
            continue
        ends = []
        for axis, length in ((1, lung.shape[0]), (0, lung.shape[1])):
            inside = np.flatnonzero(lung.any(axis=axis))
            around = AROUND * (inside[-1] + 1 - inside[0])
            ends.append(slice(max(0, round(inside[0] - around)), min(length, round(inside[-1] + 1 + around))))
        ranks = polarity.ranks_of(polarity.resized(read(path).pixels[tuple(ends)], SIDE, SIDE))
        total += (ranks - ranks.mean()) / ranks.std()
    mean = (total + total[:, ::-1])[:, : SIDE // 2]
    return mean / np.abs(mean).max()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--inverted", nargs="*", default=KNOWN_INVERTED)
    parser.add_argument("--turned", action="store_true")
    parser.add_argument("--ways", action="store_true")
    parser.add_argument("--mean-chest", action="store_true")
    given = parser.parse_args()
    if given.mean_chest:
        for row in np.rint(99 * mean_chest(given.folders[0])).astype(int):
            print(f"    ({', '.join(map(str, row))}),")
    elif given.ways:
        print(ways_line(images(given.folders)))
    else:
        print("\n".join(lines(list(told(images(given.folders), given.inverted, given.turned)))))


if __name__ == "__main__":
    main()
