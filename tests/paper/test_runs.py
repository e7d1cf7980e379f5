"""Runs by their settings: names that a new setting leaves alone, and folders of any name that are used again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from cxrcad.config import ReproduceConfig, TrainConfig, build, to_toml
from cxrcad.core import UsageError
from cxrcad.files import sha256_of
from cxrcad.inference.model import load_bundle
from cxrcad.paper import runs
from cxrcad.paper.cells import ITEMS
from cxrcad.paper.jobs import Job, plan, read_records
from cxrcad.paper.runs import check_settings, check_sources, run_name


def name(**values) -> str:
    return run_name(build(TrainConfig, values))


def test_a_run_is_named_by_what_decides_the_training():
    assert name() == "mo-segnet-multi-v2-44136fa3-s0"  # SHA-256 of {}
    same = {"fold": "4", "device": "cpu", "threads": 1, "data": "/elsewhere", "run": "r", "resume": True}
    assert name(**same, checkpoint_minutes=7) == name()
    assert name(seed=3) == "mo-segnet-multi-v2-44136fa3-s3"
    for change in ({"side": 512}, {"epochs": 1}, {"max_steps": 9}, {"precision": "bf16"}, {"fold_seed": 1}):
        assert name(**change) != name()
    assert name(network="u-net", tasks="single").startswith("u-net-single-v2-")
    assert name(patch_classifier=True).startswith("patch-classifier-v2-")


def test_a_new_setting_that_has_its_default_changes_no_name(monkeypatch):
    before = name(), name(side=512, seed=3)

    def later(config, to_dict=runs.to_dict):
        return {"a_new_setting": 7, **to_dict(config)}

    monkeypatch.setattr(runs, "to_dict", later)
    assert (name(), name(side=512, seed=3)) == before


def jobs_in(out: Path, **values) -> tuple[Job, ...]:
    return plan(ITEMS["table2"], build(ReproduceConfig, {"out": out, "folds": "3", "side": 64, **values}))


def keep(job: Job, run: Path, fold: int = 3, **changed: str) -> None:
    """A finished fold of the job's settings in the run's folder; of `changed` lines of its settings file others."""
    folder = run / f"fold{fold}"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "card.json").write_text("{}")
    lines = to_toml(dataclasses.replace(job.config, run=None, fold=str(fold))).splitlines()
    kept = [line for line in lines if line.split(" = ")[0] not in changed]
    (folder / "config.toml").write_text("\n".join([*kept, *changed.values()]) + "\n")


@pytest.mark.parametrize("folder", ["76a6223e46-s0", "any name"])
def test_a_run_of_the_same_settings_is_used_again_whatever_its_name(tmp_path, folder):
    job = jobs_in(tmp_path)[0]
    keep(job, tmp_path / "runs" / folder)
    found, *others = jobs_in(tmp_path)
    assert (found.run, found.config.run) == (tmp_path / "runs" / folder, tmp_path / "runs" / folder)
    assert found.finished
    assert not any(other.finished for other in others)
    assert found.key == f"{folder}/fold3"
    check_settings({found.run: found.config})


def test_what_an_earlier_version_wrote_of_the_job_stays_with_it(tmp_path):
    keep(jobs_in(tmp_path)[0], tmp_path / "runs" / "76a6223e46-s0")
    known = {"state": "done", "seconds": 90.5, "device": "a GPU", "error": None, "cells": ["u-net-single"]}
    ledger = {"schema": "cxrcad/reproduction-jobs/1", "data": None, "jobs": {"76a6223e46-s0/fold3": known}}
    (tmp_path / "jobs.json").write_text(json.dumps(ledger))
    jobs = jobs_in(tmp_path)
    record = read_records(tmp_path, jobs)[jobs[0].key]
    assert (record.state, record.seconds, record.device) == ("done", 90.5, "a GPU")


def test_settings_that_were_renamed_or_removed_are_the_same_ones(tmp_path):
    """`train_share` and `look` are former names; `tversky = 0.0` and `checkpoint_steps` changed nothing."""
    own = {"train_fraction": "train_share = 1.0", "patch_classifier": "look = false"}
    more = {"tversky": "tversky = 0.0", "checkpoint_steps": "checkpoint_steps = 200"}
    keep(jobs_in(tmp_path)[0], tmp_path / "runs" / "old", **own, **more)
    assert jobs_in(tmp_path)[0].run == tmp_path / "runs" / "old"


@pytest.mark.parametrize(
    "changed",
    [{"side": "side = 32"}, {"seed": "seed = 1"}, {"tversky": "tversky = 0.1"}, {"tasks": 'tasks = "multi"'}],
)
def test_a_run_of_another_setting_is_not_used(tmp_path, changed):
    job = jobs_in(tmp_path)[0]
    keep(job, tmp_path / "runs" / "other", **changed)
    found = jobs_in(tmp_path)[0]
    assert found.run == job.run == tmp_path / "runs" / run_name(job.config)
    assert not found.finished


def test_a_run_with_a_fold_of_another_setting_is_not_used(tmp_path):
    job = jobs_in(tmp_path)[0]
    keep(job, tmp_path / "runs" / "mixed")
    keep(job, tmp_path / "runs" / "mixed", fold=4, side="side = 32")
    assert jobs_in(tmp_path)[0].run == job.run


def test_of_two_runs_of_the_same_settings_the_one_with_the_name_is_used(tmp_path):
    job = jobs_in(tmp_path)[0]
    keep(job, tmp_path / "runs" / "a copy")
    keep(job, job.run)
    assert jobs_in(tmp_path)[0].run == job.run


def test_a_run_of_the_name_and_other_settings_is_refused(tmp_path):
    job = jobs_in(tmp_path)[0]
    keep(job, job.run, side="side = 32")
    found = jobs_in(tmp_path)[0]
    with pytest.raises(UsageError) as error:
        check_settings({found.run: found.config})
    assert str(error.value) == (
        f"{job.folder}/config.toml: side is 32, and this training has 64; remove the folder {job.folder} to train it "
        "again, or name another folder with --out"
    )


def sourced(tmp_path: Path, **training) -> tuple[Path, TrainConfig]:
    """A finished fold whose card has this training, and its settings: CT nodules and a model to start from."""
    nodules, start = tmp_path / "nodules.npz", tmp_path / "start"
    job = jobs_in(tmp_path, simulate=nodules, initial_weights=str(start))[0]
    keep(job, job.run)
    (job.folder / "model" / "card.json").write_text(json.dumps({"training": training}))
    return job.folder, job.config


def test_a_fold_made_from_other_nodules_or_another_model_is_not_used(tmp_path, make_toy):
    nodules = tmp_path / "nodules.npz"
    nodules.write_bytes(b"balls")
    start = load_bundle(make_toy(tmp_path / "start")).sha256
    known = {"nodules_sha256": sha256_of(nodules), "init": {"sha256": start}}
    said: list[str] = []
    folder, config = sourced(tmp_path, **known)
    check_sources({folder: config}, said.append)
    assert said == []
    for changed, flag in (({"nodules_sha256": "0"}, "--simulate"), ({"init": {"sha256": "0"}}, "--initial-weights")):
        (folder / "model" / "card.json").write_text(json.dumps({"training": {**known, **changed}}))
        words = f"{folder}: {flag} names another file than it was trained with; remove the folder {folder.parent} to"
        with pytest.raises(UsageError, match=words):
            check_sources({folder: config}, said.append)
    (folder / "model" / "card.json").write_text(json.dumps({"training": {"init": {"sha256": start}}}))
    nodules.unlink()
    check_sources({folder: config}, said.append)
    words = "trained before, and it is not known whether with these files"
    assert said == [f"{words}: {folder} (--simulate)"]
