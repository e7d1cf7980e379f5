"""What every layout of data folders is read into: a data set's cases, and which of them a protocol scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from cxrcad.config import PROTOCOLS, DataConfig, build
from cxrcad.core import Case, DataError, Nodule
from cxrcad.datasets.fields import SPACING_MM, Entry, named
from cxrcad.datasets.masks import centre_in_lung

__all__ = ["NORMAL", "OTHER_FINDING", "Dataset", "by_name", "check_images", "lung_masks", "spacing_mm"]

NORMAL, OTHER_FINDING = "normal", "other_finding"
"""Roles of a radiograph without a lesion. A training projects nodules into normals, not beside other findings."""

USABLE_MASKS = ("good", "fair")
"""What a column lung_mask may say of a mask that is used."""


@dataclass(frozen=True)
class Dataset:
    """All cases of a data folder, sorted by name, whatever the protocol; `notes` say what is incomplete.

    Of several sets that were joined, `folder` is the first one's and `folders` has all.
    """

    folder: Path
    protocol: str
    cases: tuple[Case, ...]
    notes: tuple[str, ...] = ()
    lesion: str = "nodule"
    folders: tuple[Path, ...] = ()

    @property
    def where(self) -> str:
        """The folder or folders, to stand in a sentence."""
        return ", ".join(map(str, self.folders or (self.folder,)))

    @cached_property
    def by_name(self) -> Mapping[str, Case]:
        """The cases by name."""
        return {case.name: case for case in self.cases}

    @property
    def positives(self) -> tuple[Case, ...]:
        """The cases with a lesion."""
        return tuple(case for case in self.cases if case.positive)

    @property
    def normals(self) -> tuple[Case, ...]:
        """The cases without a lesion."""
        return tuple(case for case in self.cases if not case.positive)

    def select(self, names: Iterable[str]) -> tuple[Case, ...]:
        """The cases of these names, in their order. Raises DataError for a name that is not there."""
        wanted = tuple(names)
        unknown = [name for name in wanted if name not in self.by_name]
        if unknown:
            raise DataError(f"{self.where}: no case {named(unknown)}; read the data that the names come from")
        return tuple(self.by_name[name] for name in wanted)

    def scored(self, protocol: str | None = None) -> tuple[Case, ...]:
        """The cases that a protocol scores (default: the data set's own).

        By its image set (`config.PROTOCOLS`): the positives; in-lung, the positives whose every nodule's centre lies in
        the lung fields (the 14 others of JSRT's 154 lie behind the heart or below the diaphragm); or all.
        Raises DataError, UsageError.
        """
        images = _image_set(protocol or self.protocol)
        if images == "all":
            return self.cases
        if images == "positives":
            return self.positives
        located = _located(self.positives, self.where)
        inside = {case.name for case in located if all(nodule.in_lung for nodule in case.nodules)}
        return tuple(case for case in self.positives if case.name in inside)

    def for_protocol(self, protocol: str) -> Dataset:
        """The same cases, to be scored by this protocol; for an in-lung one, `in_lung` of every nodule is known.

        Raises DataError where masks that tell it are missing, and where all images are scored and there is no normal.
        """
        images, cases = _image_set(protocol), self.cases
        if images == "all" and not self.normals:
            raise DataError(
                f"{self.where}: no radiograph without a nodule in it, which protocol {protocol} scores; add some (in "
                "JSRT's layout CNNDAT_EN.TXT, the table of normals), or take protocol paper"
            )
        if images == "in-lung":
            cases = _located(cases, self.where)
        return replace(self, protocol=protocol, cases=cases)


def by_name(table: Path, cases: Iterable[Case]) -> tuple[Case, ...]:
    """The cases sorted by name. Raises DataError where two have one."""
    ordered = tuple(sorted(cases, key=lambda case: case.name))
    if len({case.name for case in ordered}) < len(ordered):
        raise DataError(f"{table}: two files have one name apart from their endings; rename one of them")
    return ordered


def check_images(folder: Path, images: Sequence[Path]) -> None:
    """Raise DataError unless all of `images` are there."""
    missing = [image.name for image in images if not image.is_file()]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(images)} images are missing: {named(missing)}; copy them there "
            "(docs/DATA.md says from where)"
        )


def lung_masks(row: Entry, folder: Path) -> tuple[Path, ...]:
    """The mask in lungs/ of the row's file, called as it or ending in .png; none where the table calls it unusable."""
    if row.fields.get("lung_mask", USABLE_MASKS[0]) not in USABLE_MASKS:
        return ()
    mask = folder / "lungs" / row.inside("file")
    return next(((path,) for path in (mask, mask.with_suffix(".png")) if path.is_file()), ())


def spacing_mm(row: Entry) -> tuple[float, float] | None:
    """The row's spacing_row_mm and spacing_col_mm; None unless both are given."""
    if not row.fields.get("spacing_row_mm") or not row.fields.get("spacing_col_mm"):
        return None
    return row.number("spacing_row_mm", SPACING_MM), row.number("spacing_col_mm", SPACING_MM)


def _image_set(protocol: str) -> str:
    return PROTOCOLS[build(DataConfig, {"protocol": protocol}).protocol]


def _located(cases: Sequence[Case], where: str) -> tuple[Case, ...]:
    """The cases with `in_lung` of every nodule known: from the data set, otherwise from the lung mask at its centre."""
    unknown = [
        case.name for case in cases if not case.lung_masks and any(nodule.in_lung is None for nodule in case.nodules)
    ]
    if unknown:
        raise DataError(
            f"{where}: the image set of protocol jsrt-140 needs to know which nodules lie in the lung fields, and "
            f"{named(unknown)} have no lung mask; add SCR's masks (scr/fold1, scr/fold2) or take protocol paper"
        )
    return tuple(replace(case, nodules=tuple(_with_lung(case, nodule) for nodule in case.nodules)) for case in cases)


def _with_lung(case: Case, nodule: Nodule) -> Nodule:
    return nodule if nodule.in_lung is not None else replace(nodule, in_lung=centre_in_lung(case, nodule))
