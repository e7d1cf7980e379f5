"""`cxrcad reproduce`: list the jobs of a table or figure, or run them and compare with the paper's figures."""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cxrcad
from cxrcad.config import (
    FINDINGS,
    LESIONS,
    NODULE,
    EvaluateConfig,
    ReproduceConfig,
    ScoringConfig,
    TrainConfig,
    build,
    command_line,
    to_dict,
)
from cxrcad.core import CxrcadError, DataError, TrainingError, UsageError, counted
from cxrcad.datasets.read import how_to_get, read_data
from cxrcad.evaluation.protocols import protocol_of
from cxrcad.evaluation.records import IMAGE_WORDS
from cxrcad.files import Progress, Silent, write_atomically, write_json
from cxrcad.paper import jobs as work
from cxrcad.paper.cells import ITEMS, Item, chosen_cells, fitted, profile_file, resolved
from cxrcad.paper.duration import time_left
from cxrcad.paper.effusion import AREA_RULE, effusion_page
from cxrcad.paper.figures import draw_item
from cxrcad.paper.jobs import DONE, FAILED, NOT_RUN, Job, ScoredJob, folder_of
from cxrcad.paper.layout import Setup, document, text
from cxrcad.paper.learning import draw_curves
from cxrcad.paper.results import Drawn, cell_results, pairs_of
from cxrcad.paper.runs import check_data, check_settings, check_sources
from cxrcad.synthesis.nodules import ANALYTIC

__all__ = ["Reproduction", "list_jobs", "reproduce", "shown_command"]

ON_PAGE = (
    "side",
    "epochs",
    "max_steps",
    "batch",
    "learning_rate",
    "schedule",
    "precision",
    "normals",
    "channels",
)
"""Settings that the page names; each fold's config.toml has all of them."""

PER_JOB = ("fold", "run", "runs", "resume")


@dataclass(frozen=True)
class Reproduction:
    """What was made: the item's page, the number of its jobs, and of those that failed."""

    text: str
    jobs: int
    failed: int


def list_jobs(item: str, config: ReproduceConfig, progress: Progress | None = None) -> str:
    """A line for each job with its state, in the order in which they run; then how long those left take here.

    Raises UsageError.
    """
    chosen, config = _checked(item, config)
    jobs = work.plan(chosen, config)
    check_settings({job.run: job.config for job in jobs})
    records = work.read_records(folder_of(config), jobs)
    lines, width = [], max(len(job.key) for job in jobs)
    for job in jobs:
        record = records[job.key]
        note = f"  {record.error}" if record.state == FAILED else ""
        lines.append(f"{record.state:<8} {job.key:<{width}}  seed {job.seed}  {', '.join(job.cells)}{note}")
    states = [record.state for record in records.values()]
    total = ", ".join(f"{states.count(state)} {state}" for state in (DONE, FAILED, NOT_RUN))
    lines.append(f"{counted(len(jobs), 'job')}: {total}")
    left = [job for job in jobs if not job.finished]
    if left:
        (progress or Silent()).note("timing a few steps of each network")
        lines.append(_time_left(left))
    return "\n".join(lines) + "\n"


def _time_left(jobs: Sequence[Job]) -> str:
    """How long the jobs train here, or why that is not known, as a sentence."""
    try:
        _check_torch()
        return str(time_left(jobs))
    except (CxrcadError, RuntimeError) as error:  # torch's out-of-memory
        return f"How long training takes is not known: {str(error).partition(chr(10))[0]}"


def reproduce(item: str, config: ReproduceConfig, progress: Progress | None = None) -> Reproduction:
    """The item's page once all its jobs are done or have failed; also written to ITEM.md and ITEM.json of the folder.

    Finished folds are used again and begun ones continue, if they are of this data and these settings (`paper.runs`);
    finished ones of cells that were not asked for are in the page too. The files are written after every round of a
    fold, so they hold what is done when the work is stopped. Raises DataError, UsageError, TrainingError, WriteError; a
    fault of one job is in its record and in the page.
    """
    progress = progress or Silent()
    if not config.train.data.folders:
        raise DataError(how_to_get(ITEMS[item].lesion))
    chosen, config = _checked(item, config)
    jobs = _wanted(chosen, config)
    runs = {job.run: job.config for job in jobs}
    check_settings(runs)
    check_data(runs, read_data(resolved(chosen.cells[0], config.train).data), progress.note)
    check_sources({job.folder: job.config for job in jobs if job.finished}, progress.note)
    if not all(job.finished for job in jobs):
        _check_torch()
    for sentence in _not_used(chosen, config):
        progress.note(sentence)
    out = folder_of(config)
    records = work.read_records(out, jobs)
    work.write_records(out, jobs, records)
    scored = {job.key: ScoredJob(job, records[job.key]) for job in jobs}
    page, number = "", 0
    parts = work.rounds(jobs)
    for part in parts:
        news = not all(job.finished for job in part)
        for job in part:
            number += 1
            trained = "; trained before" if job.finished else ""
            what = f"{', '.join(job.cells)}, fold {job.fold}, seed {job.seed}{trained}"
            progress.note(f"job {number} of {len(jobs)}: {what}")
            scored[job.key] = done = work.do(job, records[job.key], progress)
            if done.record.error is not None:
                progress.note(f"failed: {done.record.error}")
            work.write_records(out, [job], {job.key: done.record})
        if news or part is parts[-1]:
            page = _write(chosen, config, scored)
    failed = sum(one.record.state == FAILED for one in scored.values())
    return Reproduction(page, len(jobs), failed)


def _wanted(item: Item, config: ReproduceConfig) -> tuple[Job, ...]:
    """The jobs that were asked for, and the finished ones of the item's other cells."""
    names = {cell.name for cell in chosen_cells(item, config.cells)}
    every = work.plan(item, replace(config, cells=None))
    return tuple(job for job in every if names & set(job.cells) or job.finished)


def _checked(name: str, config: ReproduceConfig) -> tuple[Item, ReproduceConfig]:
    """The item with the cells that fit these settings, and the config with absolute paths.

    Raises UsageError where the settings do not fit the item, or the folder of results is a file.
    """
    item, lesion = ITEMS[name], config.train.data.lesion
    if lesion not in (NODULE, item.lesion):
        fitting = ", ".join(one.name for one in ITEMS.values() if one.lesion == lesion)
        raise UsageError(
            f"--lesion {lesion}: {item.name} is about another lesion; leave the option out, or reproduce {fitting}"
        )
    config = _absolute(config)
    item = fitted(item, config.train)
    work.check_results(config)
    return item, config


def _absolute(config: ReproduceConfig) -> ReproduceConfig:
    """The config with absolute paths: a training is the same one whatever the working folder."""
    from cxrcad.training.initial_weights import lasting_name

    data, synthesis, classifier = config.train.data, config.train.synthesis, config.train.classifier
    loss = config.train.loss
    if len(data.folders) > 1:
        raise UsageError(
            f"--data: {len(data.folders)} folders, where an item of the paper is made on one data set; name one"
        )
    data = replace(data, data=data.folders[0].resolve() if data.folders else None)
    if synthesis.simulate not in (None, ANALYTIC):
        synthesis = replace(synthesis, simulate=synthesis.simulate.resolve())
    if classifier.classifier_weights is not None:
        classifier = replace(classifier, classifier_weights=lasting_name(classifier.classifier_weights))
    if loss.teacher is not None:
        loss = replace(loss, teacher=lasting_name(loss.teacher))
    first = config.train.initial_weights
    train = replace(
        replace(config.train, data=data, synthesis=synthesis, classifier=classifier, loss=loss),
        initial_weights=None if first is None else lasting_name(first),
    )
    return replace(config, train=train)


def _check_torch() -> None:
    for name in ("torch", "kornia", "safetensors", "onnx"):
        if importlib.util.find_spec(name) is None:
            raise TrainingError(f"training needs {name}, which is not installed; run pip install 'cxrcad[train]'")


def _not_used(item: Item, config: ReproduceConfig) -> list[str]:
    """A sentence for each given setting that every cell sets itself, and for the cells that were left out."""
    shared, default = to_dict(config.train), to_dict(TrainConfig())
    names = set.intersection(*(set(cell.overrides) for cell in item.cells)) - {"lesion"}
    given = sorted(name for name in names if shared[name] != default[name])
    sentences = [f"{name} {shared[name]} is not used: the cells of {item.name} set it themselves" for name in given]
    left = [cell.name for cell in ITEMS[item.name].cells if cell not in item.cells]
    if left:
        sentences.append(f"left out: {', '.join(left)} change nothing in these settings")
    return sentences


def _write(item: Item, config: ReproduceConfig, scored: Mapping[str, ScoredJob]) -> str:
    """Write the item's files of what is there; the page."""
    out, done = folder_of(config), tuple(scored.values())
    resamples, seed = ScoringConfig().resamples, ScoringConfig().bootstrap_seed
    if LESIONS[item.lesion] == FINDINGS:
        rows = cell_results(item, done, resamples, seed)
        pairs = pairs_of(item, rows, resamples, seed)
        names = [row.cell.name for row in rows if row.scored]
        cells = None if len(names) == len(rows) else ",".join(names)
        setup = _setup(item, replace(config, cells=cells), resamples)
        drawn = Drawn((), {})
        if item.curves:
            drawn = draw_curves(item, rows, out, f"{setup.protocol[0]} Profile {setup.profile}.")
        if item.pictures:
            drawn = draw_item(item, rows, pairs, out / f"{item.name}.png")
        page = text(item, rows, pairs, setup, drawn.lines)
        found = {**document(item, rows, pairs, setup), **drawn.document}
    else:
        setup = _setup(item, config, resamples)
        page, found = effusion_page(item, done, setup, out / f"{item.name}.png", seed)
    write_atomically(out / f"{item.name}.md", page)
    write_json(out / f"{item.name}.json", found)
    return page


def _setup(item: Item, config: ReproduceConfig, resamples: int) -> Setup:
    train = config.train
    protocol, _ = protocol_of(EvaluateConfig(data=train.data))
    shared = to_dict(train)
    first, repeats = train.seed, config.repeats or item.times
    folds = config.folds or item.folds
    of_folds = f"fold{'' if folds in '12345' else 's'} {folds}"
    seeds = f"seed {first}" if repeats == 1 else f"seeds {first}-{first + repeats - 1}"
    if LESIONS[item.lesion] == FINDINGS:
        how, best = f"protocol {protocol.name} ({IMAGE_WORDS[protocol.images]})", "F1"
        rule = protocol.rule.describe()
    else:
        how, rule, best = f"lesion {item.lesion}", AREA_RULE, "mean Dice"
    return Setup(
        protocol=(
            f"Data {train.data.data}, {how}; {of_folds} of five (fold seed {train.data.fold_seed}), {seeds}.",
            rule,
            f"Each fold's test cases are scored once, at the threshold with the best {best} on its validation cases.",
        ),
        profile=config.profile,
        settings={name: shared[name] for name in ON_PAGE if shared[name] is not None},
        command=shown_command(item.name, config),
        resamples=resamples,
        version=cxrcad.__version__,
    )


def shown_command(item: str, config: ReproduceConfig) -> str:
    """The command that gives the same jobs wherever no settings file and no variable is set."""
    recipe = tomllib.loads(profile_file(config.profile).read_text(encoding="utf-8"))
    given = to_dict(config)
    usual = {**to_dict(build(ReproduceConfig, recipe)), **{name: given[name] for name in PER_JOB}, "profile": None}
    return command_line(f"cxrcad reproduce {item}", config, usual)
