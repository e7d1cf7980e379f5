"""`cxrcad detect`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cxrcad.cli.options import TABLES, Command, Option, given_files, with_settings, with_tables
from cxrcad.cli.paths import with_paths
from cxrcad.cli.progress import Bar, note
from cxrcad.config import DetectConfig
from cxrcad.core import UsageError, WorkerError, WriteError

__all__ = ["command"]


BOXES = "boxes.json"


DICOM = "DICOM objects and servers"
OBJECTS = {
    "sr": "a measurement report (DICOM SR, TID 1500)",
    "cad-sr": "a Chest CAD report (DICOM SR, TID 4100)",
    "seg": "a segmentation (DICOM SEG) of boxes and lung fields",
    "gsps": "a presentation state (DICOM GSPS) with boxes and scores",
    "sc": "a picture with boxes (DICOM secondary capture)",
}


def _object_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each kind of DICOM object."""
    for name, words in reversed(OBJECTS.items()):
        kind, words = click.Path(path_type=Path), f"Write {words} for each DICOM radiograph."
        command = click.option(f"--{name}", type=kind, metavar="DIR", help=words, cls=Option, group=DICOM)(command)
    return command


def _study_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a study at a DICOMweb server."""
    for name, metavar, words in (
        ("store", "KINDS", "DICOM objects that --dicomweb gets, comma-separated, or none.  [default: sr]"),
        ("series", "UID", "Take only this series of the study."),
        ("study", "UID", "Study at --dicomweb to take the radiographs of."),
        ("dicomweb", "URL", "Take a study from this server instead of PATHS, and store DICOM objects there."),
    ):
        command = click.option(f"--{name}", metavar=metavar, help=words, cls=Option, group=DICOM)(command)
    return command


@click.command("detect", cls=Command)
@with_paths("paths", found=True, unless="dicomweb")
@click.option(
    "--out",
    type=click.Path(allow_dash=True),
    default=BOXES,
    show_default=True,
    metavar="FILE",
    help="Where the boxes go: JSON, or CSV where the name ends in .csv; - for stdout; with --engine ray a folder.",
)
@click.option(
    "--overlay", type=click.Path(path_type=Path), metavar="DIR", help="Write each radiograph with its boxes as PNG."
)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="PAGE",
    help="Write a page of all cases with their boxes, a slider for the score and a filter, in one file.",
)
@with_tables
@_object_options
@_study_options
@with_settings(DetectConfig)
def command(
    config: DetectConfig,
    paths: tuple[Path, ...],
    out: str,
    overlay: Path | None,
    **files: Any,
) -> None:
    """Find nodules in PATHS: DICOM, JSRT .IMG, PNG, TIFF, JPEG, MHA, NIfTI, or folders and zip archives of these.

    Give - for a list of PATHS on standard input; a pattern in quotes ('archive/**/*.dcm') stands for what it matches.
    A model that is made for another lesion finds that one; --lesion demands such a model.

    Exit code 0 when every file was done, 1 when some failed (they are in "failures"; the others are done). What lies
    beside radiographs in a folder or archive and is none is in "skipped". A radiograph of which a DICOM object that was
    asked for could not be made, as of every PNG, makes the exit code 1 too; its findings stand in --out.
    """
    if config.engine != "local":
        _to_folder(config, paths, out, {"overlay": overlay, **files})
        return
    if config.address is not None:
        raise UsageError(f"--address {config.address}: is of a Ray cluster; give --engine ray too")
    if out.endswith(("/", os.sep)):
        raise UsageError(f"--out {out}: is a folder; name the file, for example {out}boxes.json")
    from cxrcad.commands.detect import Summary, detect_to_file

    document: list[str] = []  # for stdout, which a bar on a terminal holds until it ends
    try:
        with Bar("image", click.get_current_context().obj) as bar:
            place = document.append if out == "-" else Path(out)
            objects = {name: folder for name in OBJECTS if (folder := files.pop(name.replace("-", "_"))) is not None}
            url, *study = (files.pop(name) for name in ("dicomweb", "study", "series", "store"))
            if url is None and any(study):
                raise UsageError("--study, --series and --store are of a server; name it with --dicomweb URL")

            def detect(
                paths: Sequence[Path], objects: Mapping[str, Path], lasting: Mapping[str, str] | None = None
            ) -> Summary:
                return detect_to_file(config, paths, place, overlay, bar, given_files(files), objects, lasting)

            summary = detect(paths, objects) if url is None else _of_study(url, study, objects, detect, bar)
    except (KeyboardInterrupt, WorkerError, WriteError):
        with contextlib.suppress(BrokenPipeError):  # Ctrl-C also stops who reads it
            click.echo("".join(document), nl=False)
        raise
    click.echo("".join(document), nl=False)
    note(summary.sentence)
    if summary.failed:
        raise click.exceptions.Exit(1)


def _to_folder(config: DetectConfig, paths: Sequence[Path], out: str, others: Mapping[str, Any]) -> None:
    """Write the partitions of an archive."""
    from cxrcad.commands.archive import detect_to_folder

    named = [f"--{name.replace('_', '-')}" for name, value in others.items() if value is not None]
    if named:
        remedy = "cxrcad merge writes tables of the folder" if named[0][2:] in TABLES else "leave it out"
        raise UsageError(f"{named[0]}: is of the local engine; {remedy}")
    if out in (BOXES, "-") or out.endswith((".json", ".csv")):
        raise UsageError("--engine ray: writes a folder of partitions; name it with --out, for example results/")
    with Bar("image", click.get_current_context().obj) as bar:
        summary = detect_to_folder(config, paths, Path(out), bar)
    note(summary.sentence)
    if summary.failed:
        raise click.exceptions.Exit(1)


def _of_study(url: str, study: Sequence[str | None], objects: Mapping[str, Path], detect: Any, bar: Bar) -> Any:
    from cxrcad.commands.dicomweb import Study, detect_study

    uid, series, store = study
    return detect_study(Study(url, uid, series, store or "sr"), objects, detect, bar)
