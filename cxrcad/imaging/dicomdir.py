"""DICOMDIR, the index of a CD or of an export: the files that it names (DICOM PS3.3 F, PS3.10 8)."""

from __future__ import annotations

import contextlib
import io
import os
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrcad.imaging.faults import reason, refuse

__all__ = ["References", "is_dicomdir", "references_of", "spelled_in"]

MEDIA_STORAGE_DIRECTORY = re.compile(rb"\x02\x00\x02\x00UI\x14\x001\.2\.840\.10008\.1\.3\.10", re.DOTALL)
"""MediaStorageSOPClassUID of a DICOMDIR, in the file meta information: explicit little endian (PS3.10, 7.1)."""
SHOWN = 3


@dataclass(frozen=True)
class References:
    """The files that a DICOMDIR names and that are there, in its order; `fault` is the sentence on others, or ""."""

    files: tuple[Path, ...]
    fault: str


def is_dicomdir(head: bytes) -> bool:
    """Whether a file starts as a DICOMDIR does."""
    return head[128:132] == b"DICM" and MEDIA_STORAGE_DIRECTORY.search(head, 132, 1024) is not None


def references_of(path: Path, content: bytes, spelled: Callable[[tuple[str, ...]], Path | None]) -> References:
    """The files that the DICOMDIR `path` of this content names and that are there, each once.

    `spelled` gives the file of folders and a name below that of the DICOMDIR, None where there is none. What lies
    outside of that folder is never asked for. Raises ReadError where the content is damaged.
    """
    import pydicom

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(content), force=True)
            records = [record.get("ReferencedFileID") for record in dataset.get("DirectoryRecordSequence") or ()]
            named = [[record] if isinstance(record, str) else list(map(str, record)) for record in records if record]
    except Exception as error:  # pydicom raises whatever a damaged value leads to
        refuse(path, f"a damaged DICOMDIR ({reason(error)})", "copy the whole folder again, or name the files in it")
    files: dict[Path, None] = {}
    missing, outside = [], []
    for parts in named:
        if any(part in ("", ".", "..") or re.search(r"[/\\:]", part) for part in parts):
            outside += ["/".join(parts)]
        elif file := spelled(tuple(parts)):
            files[file] = None
        else:
            missing += ["/".join(parts)]
    faults = [f"names {_listed(outside)} outside its folder"] if outside else []
    faults += [f"names {_listed(missing)} that {'are' if len(missing) > 1 else 'is'} not there"] if missing else []
    faults = faults or ([] if named else ["names no files"])
    fault = f"{path}: {' and '.join(faults)}; copy the whole folder again, or name the files in it" if faults else ""
    return References(tuple(files), fault)


def spelled_in(folder: Path) -> Callable[[tuple[str, ...]], Path | None]:
    """Finds a file below a folder by its parts; where it is not there as named, in any case of its letters."""
    names: dict[Path, dict[str, str]] = {}

    def find(parts: tuple[str, ...]) -> Path | None:
        place = folder
        for part in parts:
            if not os.path.exists(place / part):
                if place not in names:
                    names[place] = _names_in(place)
                part = names[place].get(part.upper(), "")
                if not part:
                    return None
            place /= part
        return place if os.path.isfile(place) else None

    return find


def _names_in(folder: Path) -> dict[str, str]:
    """The names in a folder by their capitals; none where it cannot be read."""
    with contextlib.suppress(OSError):
        return {name.upper(): name for name in os.listdir(folder)}
    return {}


def _listed(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > SHOWN else ""
    return f"{len(names):,} file{'s' * (len(names) > 1)} ({', '.join(names[:SHOWN])}{more})"
