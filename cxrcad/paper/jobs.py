"""The jobs of an item: one cell, fold and seed each; their order, their state on disk, and one of them done."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cxrcad.config import FINDINGS, LESIONS, EvaluateConfig, ReproduceConfig, ScoringConfig, TrainConfig
from cxrcad.core import CxrcadError, EvaluationError, TrainingError, UsageError
from cxrcad.datasets.fields import FINITE, Entry, listed
from cxrcad.datasets.folds import FOLDS
from cxrcad.documents import MALFORMED, shown
from cxrcad.evaluation.records import FoldResult
from cxrcad.evaluation.segmentation import SegmentedFold
from cxrcad.files import Progress, json_sha256, read_json, write_json
from cxrcad.paper.cells import Item, chosen_cells, resolved
from cxrcad.paper.runs import KeptRuns
from cxrcad.scoring.runs import score
from cxrcad.scoring.segmentation import score_segmentation

__all__ = [
    "DONE",
    "FAILED",
    "NOT_RUN",
    "Job",
    "Record",
    "ScoredJob",
    "check_results",
    "do",
    "folder_of",
    "plan",
    "read_records",
    "rounds",
    "write_records",
]

SCHEMA = "cxrcad/reproduction-jobs/1"
LEDGER = "jobs.json"

DONE, FAILED, NOT_RUN = "done", "failed", "not run"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One training: the cells that it serves, its fold and seed, and its settings, which name the run's folder."""

    cells: tuple[str, ...]
    fold: int
    seed: int
    run: Path
    config: TrainConfig

    @property
    def key(self) -> str:
        """What the job is called in jobs.json: the run's name and the fold."""
        return f"{self.run.name}/fold{self.fold}"

    @property
    def folder(self) -> Path:
        """The fold's folder."""
        return self.run / f"fold{self.fold}"

    @property
    def finished(self) -> bool:
        """Whether the fold is trained and packaged."""
        return (self.folder / "model" / "card.json").is_file()

    @property
    def history(self) -> tuple[Mapping[str, Any], ...]:
        """The validations so far; of a finished fold, those of its model.

        Raises EvaluationError for a damaged history.json, and for one that is not the finished model's.
        """
        path = self.folder / "history.json"
        document = read_json(path, EvaluationError) if path.is_file() else []
        if not isinstance(document, list):
            raise EvaluationError(f"{path}: holds {shown(document)}, where a list is needed; train the fold again")
        if self.finished and self._known_history() not in (None, json_sha256(document)):
            raise EvaluationError(
                f"{path}: is not of the training whose model lies beside it; remove {self.folder} to train it again"
            )
        return tuple(entry.fields for entry in listed(path, EvaluationError, document))

    def _known_history(self) -> object:
        """The SHA-256 of the validations that the model's card names; cards of before name none."""
        card = read_json(self.folder / "model" / "card.json", EvaluationError)
        training = card.get("training") if isinstance(card, dict) else None
        return training.get("history_sha256") if isinstance(training, dict) else None


@dataclass(frozen=True)
class Record:
    """What became of a job: done, failed or not run; seconds of training, the device, and the error's sentence."""

    state: str = NOT_RUN
    seconds: float | None = None
    device: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class ScoredJob:
    """A job with what became of it; `result` is None where it failed or has not run.

    A job whose lesion is measured by its area has `segmented` in its place.
    """

    job: Job
    record: Record
    result: FoldResult | None = None
    segmented: SegmentedFold | None = None


def folder_of(config: ReproduceConfig) -> Path:
    """The folder of results, jobs and runs."""
    return config.out or Path("reproduction")


def plan(item: Item, config: ReproduceConfig) -> tuple[Job, ...]:
    """The jobs of an item in their order: for each seed and fold, the cells as listed; one job for equal trainings.

    Raises UsageError for cells, folds or settings that do not exist.
    """
    first = config.train.seed
    jobs: dict[str, Job] = {}
    kept = KeptRuns(folder_of(config) / "runs")
    for seed in range(first, first + (config.repeats or item.times)):
        for fold in _folds(config.folds or item.folds):
            for cell in chosen_cells(item, config.cells):
                own = resolved(cell, replace(config.train, seed=seed, fold=str(fold), resume=False, run=None))
                run = kept.run_for(own)
                job = Job((cell.name,), fold, seed, run, replace(own, run=run))
                known = jobs.get(job.key)
                jobs[job.key] = job if known is None else replace(known, cells=(*known.cells, cell.name))
    return tuple(jobs.values())


def rounds(jobs: Sequence[Job]) -> tuple[tuple[Job, ...], ...]:
    """The jobs parted where the fold or the seed changes: after each round every cell has as many folds."""
    parts: dict[tuple[int, int], list[Job]] = {}
    for job in jobs:
        parts.setdefault((job.seed, job.fold), []).append(job)
    return tuple(tuple(part) for part in parts.values())


def _folds(text: str) -> tuple[int, ...]:
    if text.strip() == "all":
        return tuple(range(1, FOLDS + 1))
    names = [name.strip() for name in text.split(",")]
    if not all(name in {str(fold) for fold in range(1, FOLDS + 1)} for name in names):
        raise UsageError(f"--folds {text}: it takes numbers of 1-{FOLDS}, comma-separated, or all")
    return tuple(dict.fromkeys(int(name) for name in names))


def check_results(config: ReproduceConfig) -> None:
    """Raise UsageError where the folder is a file."""
    out = folder_of(config)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is a file; name a folder")


def _ledger(out: Path) -> dict[str, Any]:
    path = out / LEDGER
    if not path.is_file():
        return {"schema": SCHEMA, "data": None, "jobs": {}}
    document = read_json(path, EvaluationError)
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise EvaluationError(f"{path}: not a document of schema {SCHEMA}; remove it, finished trainings are kept")
    whole = Entry(path, EvaluationError, document, remedy="remove the file, finished trainings are kept")
    whole.text_or_none("data")
    jobs = whole.part("jobs")
    for key in jobs.fields:
        job = jobs.part(key)
        for name in ("state", "device", "error"):
            if job.fields.get(name) is not None and not isinstance(job.fields[name], str):
                job.refuse_field(name, "a text")
        job.number_or_none("seconds", FINITE)
        if "cells" in job.fields:
            job.texts("cells")
    return document


def read_records(out: Path, jobs: Sequence[Job]) -> dict[str, Record]:
    """What is known of each job by its key: jobs.json, and whether its fold lies there finished."""
    kept = _ledger(out)["jobs"]
    records = {}
    for job in jobs:
        values = kept.get(job.key, {})
        record = Record(**{name: values.get(name) for name in ("seconds", "device", "error")}, state=NOT_RUN)
        if values.get("state") == FAILED:
            record = replace(record, state=FAILED)
        elif job.finished:
            record = replace(record, state=DONE)
        records[job.key] = record
    return records


def write_records(out: Path, jobs: Sequence[Job], records: Mapping[str, Record]) -> None:
    """Put these jobs into jobs.json; those of other items stay as they are. Raises WriteError."""
    document = _ledger(out)
    for job in jobs:
        known = document["jobs"].get(job.key, {}).get("cells", [])
        cells = list(dict.fromkeys([*known, *job.cells]))
        document["jobs"][job.key] = {"cells": cells, "fold": job.fold, "seed": job.seed, **asdict(records[job.key])}
    data = jobs[0].config.data.folders
    write_json(out / LEDGER, {**document, "data": str(data[0].resolve()) if data else None})


def do(job: Job, before: Record, progress: Progress) -> ScoredJob:
    """Train the job unless its fold is finished, and score its test cases; a fault is in the record, whatever it is.

    Ctrl-C is no fault: it goes through, and the last checkpoint is kept.
    """
    device, scored = before.device, ScoredJob(job, before)
    fault = None
    try:
        if not job.finished:
            device = _train(job, progress)
        evaluation = _evaluation(job)
        if LESIONS[job.config.data.lesion] == FINDINGS:
            scored = replace(scored, result=score(evaluation, progress.note)[0].results[0])
        else:
            scored = replace(scored, segmented=score_segmentation(evaluation, progress.note).folds[0])
    except CxrcadError as error:
        fault = str(error)
    except Exception as error:  # torch's out-of-memory, a full disk: the other jobs go on
        log.exception("%s", job.key)
        fault = f"{type(error).__name__}: {error}"
    return replace(scored, record=Record(FAILED if fault else DONE, _seconds(job), device, fault))


def _train(job: Job, progress: Progress) -> str:
    """Train the fold, from its checkpoint if there is one; the device in words."""
    import torch

    from cxrcad.training.plan import train

    train(replace(job.config, resume=job.run.is_dir()), progress)
    if not job.finished:
        raise TrainingError(f"{job.folder}: the training ended without a model; start the job again")
    if job.config.device != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def _seconds(job: Job) -> float | None:
    try:
        return float(job.history[-1]["seconds"])
    except (EvaluationError, *MALFORMED):
        return None


def _evaluation(job: Job) -> EvaluateConfig:
    """The settings of the scoring: the data and protocol of the training, else those of `cxrcad evaluate`."""
    scoring = ScoringConfig(device="cpu" if job.config.device == "cpu" else "auto", threads=job.config.threads)
    return EvaluateConfig(data=job.config.data, fold=str(job.fold), run=job.run, scoring=scoring)
