"""What an earlier call left in --out is used again only where it is of the same data and the same settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cxrcad.config import TrainConfig, build, to_dict
from cxrcad.core import DataError, UsageError
from cxrcad.datasets.content import check_content
from cxrcad.datasets.jsrt.reader import Dataset
from cxrcad.documents import toml_value
from cxrcad.paper.cells import NOT_IN_NAME
from cxrcad.paper.jobs import Job

__all__ = ["check_data", "check_settings"]

CONFIG = "config.toml"


def check_settings(jobs: Sequence[Job]) -> None:
    """Raise UsageError where a fold in a job's run was trained with other settings than the job's.

    A run is found by its name, which is a hash of them; a folder that was renamed, or whose files were changed or
    copied, has that name and other settings.
    """
    for run, job in _runs(jobs).items():
        given = to_dict(job.config)
        wanted = {name: value for name, value in given.items() if name == "seed" or name not in NOT_IN_NAME}
        folds = {one.parent.parent for one in run.glob("fold?/model/card.json")}
        for fold in sorted(folds | {one.parent for one in run.glob(f"fold?/{CONFIG}")}):
            kept = to_dict(_settings(fold / CONFIG))
            for name, value in {**wanted, "fold": fold.name.removeprefix("fold")}.items():
                if kept[name] != value:
                    raise UsageError(
                        f"{fold / CONFIG}: {name} is {kept[name]!r}, and this training has {value!r}; {_way_out(fold)}"
                    )


def check_data(jobs: Sequence[Job], dataset: Dataset, note: Callable[[str], None]) -> None:
    """Raise UsageError where a job's run was made from other images, truth or masks than the data set's.

    The same data in another folder is the same. Runs of a version that did not keep their content are told: of their
    data only the folder is known, and it must be the data set's.
    """
    unknown: list[Path] = []
    for run in _runs(jobs):
        try:
            known = check_content(run, dataset, _way_out(run))
        except DataError as error:
            raise UsageError(str(error)) from None
        if known:
            continue
        for file in sorted(run.glob(f"fold?/{CONFIG}")):
            before = _settings(file).data.data
            if before is not None and before.resolve() != dataset.folder.resolve():
                raise UsageError(
                    f"--out {run.parent.parent}: holds trainings on {before}, not on {dataset.folder}, of which no "
                    "more than the folder's name is kept; name another folder"
                )
            unknown = list(dict.fromkeys([*unknown, run]))
    if unknown:
        note(f"trained before, and whether on these images and this truth is not kept: {', '.join(map(str, unknown))}")


def _runs(jobs: Sequence[Job]) -> dict[Path, Job]:
    """The run folders that are there, each with a job of it."""
    return {job.run: job for job in jobs if job.run.is_dir()}


def _settings(file: Path) -> TrainConfig:
    try:
        return build(TrainConfig, toml_value(file.read_text(encoding="utf-8")), str(file))
    except UsageError as error:
        raise UsageError(f"{error}; {_way_out(file.parent)}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: cannot be read ({error}); {_way_out(file.parent)}") from None


def _way_out(folder: Path) -> str:
    return f"remove the folder {folder} to train it anew, or name another folder with --out"
