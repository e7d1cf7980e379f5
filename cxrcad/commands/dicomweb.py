"""`cxrcad detect --dicomweb` as a library call: a study's radiographs from a server -> findings -> objects there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrcad.commands.detect import Summary
from cxrcad.core import UsageError, counted
from cxrcad.files import Progress
from cxrcad.pacs.dicomweb import Server
from cxrcad.pacs.objects import KINDS, kinds_of

__all__ = ["Study", "detect_study"]


@dataclass(frozen=True)
class Study:
    """A study, or one series of it, at a DICOMweb server, and the objects that are to be stored there."""

    url: str
    study: str | None
    series: str | None
    store: str


def detect_study(
    wanted: Study,
    folders: Mapping[str, Path],
    detect: Callable[[Sequence[Path], Mapping[str, Path], Mapping[str, str]], Summary],
    progress: Progress,
) -> Summary:
    """Fetch the radiographs, `detect` in them, and store the objects of each in which it went well.

    `folders` are those of objects that are kept here too, by their kind; `detect` takes files, such folders, and the
    name of each file, which is its SOP instance UID. A second time the same objects are stored. Raises UsageError,
    PeerError, and what `detect` raises.
    """
    if wanted.study is None:
        raise UsageError("--dicomweb: needs the study; give its UID with --study")
    kinds, server = kinds_of(wanted.store), Server(wanted.url)
    with tempfile.TemporaryDirectory(prefix="cxrcad-") as place:
        temporary = Path(place)
        files = server.fetch(wanted.study, wanted.series, temporary)
        progress.note(f"{counted(len(files), 'radiograph')} from {server.url}")
        to = {**dict.fromkeys(kinds, temporary / "objects"), **folders}
        for kind in kinds:
            for file in files:  # of another run, in a folder that is kept
                _object(to[kind], file, kind).unlink(missing_ok=True)
        summary = detect(files, to, {str(file): file.stem for file in files})
        made = [path for file in files for kind in kinds if (path := _object(to[kind], file, kind)).is_file()]
        if made:
            server.store(made)
            progress.note(f"{counted(len(made), 'object')} stored at {server.url}")
        return summary


def _object(folder: Path, file: Path, kind: str) -> Path:
    """The object of a radiograph."""
    ending = next(one.ending for one in KINDS if one.name == kind)
    return folder / f"{file.stem}{ending}"
