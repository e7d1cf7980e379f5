"""Processes that `cxrcad train` starts itself: the ranks of --devices, the folds of --jobs."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import threading
import time

import numpy as np
import pytest

pytest.importorskip("torch")

from safetensors.numpy import load_file

from cxrcad.cli.main import main
from cxrcad.config import TrainConfig, build
from cxrcad.training import launch
from cxrcad.training.processes import check_devices
from tests.told import Told

pytestmark = pytest.mark.usefixtures("interruptible")

PLAIN = shlex.split(
    "--side 64 --threads 1 --precision fp32 --device cpu --min-area-mm2 30 --peak-distance-mm 20 --network u-net "
    "--norm group --tasks single --max-steps 1"
)


def code_of(words) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


def test_more_processes_than_cores_are_refused_and_a_missing_gpu_is_noted(cxrcad, disc_data, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    answer = cxrcad("train", "--data", disc_data, "--fold", 1, "--devices", 9999)
    assert answer.code == 2
    assert re.fullmatch(r"Error: --devices 9999: this machine has (\d+) cores?; give \1 at most\n", answer.err)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(2), raising=False)
    notes = Told()
    check_devices(build(TrainConfig, {"devices": 2, "device": "cpu"}), notes)
    assert notes.notes == []
    check_devices(build(TrainConfig, {"devices": 2}), notes)
    assert notes.notes == ["no GPU here: the 2 processes share 2 cores"]


@pytest.mark.slow
def test_devices_start_processes_and_the_first_one_says_what_is_wrong(cxrcad, tmp_path, capfd):
    answer = cxrcad("train", "--data", tmp_path / "none", *PLAIN, "--devices", 2, "--fold", 1)
    assert answer.code == 1
    assert answer.err == ""
    assert capfd.readouterr().err.count("Error: ") == 1


def test_folds_side_by_side_are_those_of_single_runs_and_what_failed_is_named(disc_data, tmp_path, monkeypatch, cxrcad):
    """The commands are run here, one after another; torch is not imported five times."""
    run, commands = tmp_path / "run", {}

    def run_each(given, most, progress):
        commands.update(given)
        assert most == 2
        return [fold for fold, words in given.items() if fold == 4 or code_of(words[3:])]

    monkeypatch.setattr(launch, "_run_each", run_each)
    answer = cxrcad("train", "--data", disc_data, *PLAIN, "--fold", "all", "--jobs", 2, "--run", run)
    assert (answer.code, answer.err.splitlines()[-1]) == (
        1,
        f"Error: {run}: fold 4 failed, as its lines above say; mend that, and cxrcad train --resume --fold all --run "
        f"{run} trains what lacks",
    )
    assert [shlex.join(words[:3]) for words in commands.values()] == [f"{sys.executable} -m cxrcad"] * 5
    assert code_of(["train", "--data", str(disc_data), *PLAIN, "--fold", "3", "--run", str(tmp_path / "single")]) == 0
    one, other = (load_file(place / "fold3" / "checkpoint.safetensors") for place in (run, tmp_path / "single"))
    assert all(np.array_equal(value, other[name]) for name, value in one.items())
    cxrcad("train", "--resume", "--fold", "all", "--jobs", 2, "--run", run)
    assert sorted(place.parent.parent.name for place in run.glob("fold?/model/card.json")) == [
        f"fold{fold}" for fold in (1, 2, 3, 5)
    ]


def python(code: str) -> list[str]:
    return [sys.executable, "-c", f"import sys, time; {code}"]


def test_so_many_run_at_once_and_one_that_fails_ends_no_other():
    notes = Told()
    say = "print('epoch 1', file=sys.stderr, flush=True); time.sleep(0.3)"
    failed = launch._run_each({1: python(say), 2: python("sys.exit('out of memory')"), 3: python(say)}, 2, notes)
    assert failed == [2]
    assert sorted(notes.notes) == ["fold 1: epoch 1", "fold 2: out of memory", "fold 3: epoch 1"]


def test_ctrl_c_ends_all_of_them():
    started = time.monotonic()
    say = "(print('step 3 is kept', file=sys.stderr), sys.exit('cxrcad: stopped'))"
    ends = f"import signal; signal.signal(signal.SIGTERM, lambda *_: {say}); print('on', file=sys.stderr, flush=True)"
    commands = {fold: python(f"{ends}; time.sleep(60)") for fold in (1, 2)}
    notes = Told()

    def interrupt() -> None:
        while len(notes.notes) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        launch._run_each(commands, 2, notes)
    assert time.monotonic() - started < 50
    assert sorted(notes.notes[2:]) == ["fold 1: step 3 is kept", "fold 2: step 3 is kept"]


def test_jobs_are_for_all_folds(cxrcad, disc_data):
    answer = cxrcad("train", "--data", disc_data, "--fold", 1, "--jobs", 2)
    assert (answer.code, answer.err) == (2, "Error: --jobs 2: is for --fold all; leave it out\n")


def test_jobs_repeat_all_folds_of_a_run(cxrcad, disc_data, tmp_path, monkeypatch):
    commands = {}
    monkeypatch.setattr(launch, "_run_each", lambda given, most, progress: commands.update(given) or [])
    run = tmp_path / "run"
    cxrcad("train", "--data", disc_data, *PLAIN, "--fold", "all", "--jobs", 2, "--run", run)
    for fold in "2345":  # it was stopped in its first fold
        assert (run / f"fold{fold}").is_dir()
    commands.clear()
    answer = cxrcad("train", "--from-run", run, "--jobs", 2, "--run", tmp_path / "again")
    assert answer.code == 0, answer.err
    assert list(commands) == [1, 2, 3, 4, 5]


def test_a_call_among_ranks_starts_no_jobs(cxrcad, disc_data, monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    answer = cxrcad("train", "--data", disc_data, "--fold", "all", "--jobs", 2)
    assert answer.code == 2
    assert answer.err.startswith("Error: --jobs 2: starts its processes itself")
