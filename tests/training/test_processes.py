"""Several processes train as one does, and end together whatever happens to one of them."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from safetensors.numpy import load_file

from cxrcad.cli.main import main
from cxrcad.core import WriteError
from cxrcad.training import data, loop, processes
from cxrcad.training.segmentation import SegmentationTask
from cxrcad.training.state import State, read_record

specification = importlib.util.spec_from_file_location("ranks", Path(__file__).with_name("ranks.py"))
ranks = importlib.util.module_from_spec(specification)
specification.loader.exec_module(ranks)

SMALL = ("--side", 64, "--threads", 1, "--precision", "fp32", "--device", "cpu", "--min-area-mm2", 30,
         "--peak-distance-mm", 20, "--fold", 1)  # fmt: skip
BATCH_NORM = (*SMALL, "--network", "deeplabv3plus", "--width", 16, "--norm", "batch", "--ema", 0.9)
PLAIN = (*SMALL, "--network", "u-net", "--norm", "group", "--tasks", "single", "--accumulate", 2)
LOST = "Error: another process of this training ended, or did not answer in time (--timeout-minutes)"

pytestmark = pytest.mark.usefixtures("interruptible")


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """Whatever started the tests, their own process trains alone."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC_"))]:
        monkeypatch.delenv(name)


def alone(*arguments) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", *map(str, arguments)])
    assert not ended.value.code


def together(folder: Path, *arguments, disturb=lambda rank: None, by="torchrun", port=None):
    """Two processes that train; `disturb(rank)` is called in each before."""

    def work(rank: int) -> None:
        disturb(rank)
        ranks.command("train", *arguments)

    return ranks.Ranks(folder, 2, work, by, port)


def before_step(number: int, what) -> None:
    """Have `what` done before a step is taken."""
    take = loop.take_step

    def taking(state, *others):
        if state.step == number:
            what()
        return take(state, *others)

    loop.take_step = taking


def farthest(one: Path, other: Path) -> float:
    """The largest difference of a weight, a running statistic or a moment of Adam, relative to its tensor's largest."""
    mine, theirs = (load_file(run / "fold1" / "checkpoint.safetensors") for run in (one, other))
    assert mine.keys() == theirs.keys()
    largest = {name: float(np.abs(value).max()) + 1e-12 for name, value in mine.items()}
    return max(float(np.abs(value - theirs[name]).max()) / largest[name] for name, value in mine.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ((*BATCH_NORM, "--batch", 2, "--accumulate", 2, "--workers", 1), 1e-6),
        ((*SMALL, "--network", "u-net", "--norm", "group", "--accumulate", 4), 5e-3),
    ],
)
def test_two_processes_train_as_one_that_accumulates_their_micro_batches(tiny_data, tmp_path, settings, tolerance):
    """Some cases have no lung mask. Adam makes steps of rounding errors where a gradient is nearly 0."""
    own = ("--data", tiny_data, *settings, "--max-steps", 3)
    ran = together(tmp_path / "two", *own, "--run", tmp_path / "b")
    assert ran.codes() == [0, 0], ran.said(0)
    alone(*own, "--run", tmp_path / "a")
    assert farthest(tmp_path / "a", tmp_path / "b") < tolerance
    assert (ran.said(0, "out"), ran.said(1, "out")) == (f"{tmp_path / 'b'}\n", "")
    histories = [json.loads((tmp_path / run / "fold1" / "history.json").read_text())[-1] for run in "ab"]
    assert histories[0]["loss"] == pytest.approx(histories[1]["loss"], rel=1e-4)


@pytest.mark.slow
def test_two_processes_mine_the_hard_negatives_that_one_does(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "PROJECTIONS", 40)
    shared = ("--data", tiny_data, *SMALL, "--normals", "--norm", "group", "--network", "u-net")
    alone(*shared, "--side", 32, "--max-steps", 1, "--run", tmp_path / "first")
    own = (*shared, "--patch-classifier", "--initial-weights", tmp_path / "first", "--simulate", "analytic",
           "--ema", 0.9, "--patches-per-image", 8, "--mining-rounds", 1, "--max-steps", 4,
           "--accumulate", 2)  # fmt: skip
    alone(*own, "--run", tmp_path / "a")  # the other processes take over what it drew
    ran = together(tmp_path / "two", *own, "--run", tmp_path / "b")
    assert ran.codes() == [0, 0], ran.said(0)
    assert farthest(tmp_path / "a", tmp_path / "b") < 1e-3
    hard = [read_record(tmp_path / run / "fold1" / "checkpoint.safetensors")["hard"] for run in "ab"]
    assert hard[0] == hard[1]
    assert any(hard[0])


@pytest.mark.slow
def test_a_killed_process_ends_the_others_and_the_run_goes_on_with_another_number(disc_data, tmp_path):
    def die(rank):
        if rank == 1:
            before_step(2, lambda: os.kill(os.getpid(), signal.SIGKILL))

    own = ("--data", disc_data, *PLAIN, "--max-steps", 4, "--checkpoint-minutes", 0)
    ran = together(tmp_path / "two", *own, "--run", tmp_path / "b", disturb=die, by="srun")
    ran.processes[1].join()
    ran.processes[0].terminate()  # as torchrun and srun then do
    assert ran.codes() == [1, -signal.SIGKILL]
    assert ran.said(0).splitlines()[-1].startswith(LOST)
    assert "Traceback" not in ran.said(0)
    assert read_record(tmp_path / "b" / "fold1" / "checkpoint.safetensors")["step"] == 2
    alone("--resume", "--run", tmp_path / "b")
    alone(*own, "--run", tmp_path / "a")
    assert farthest(tmp_path / "a", tmp_path / "b") < 1e-4


def out_of_memory(rank):
    def fail():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore lines.")

    if rank == 1:
        before_step(1, fail)


def out_of_disk(rank):
    def save(*_, **more):
        raise WriteError("fold1: cannot be written (No space left on device)")

    State.save = save


@pytest.mark.parametrize(
    ("disturb", "words"),
    [
        (out_of_memory, f"Error: rank 1 of 2 on {socket.gethostname()}: not enough memory (CUDA out of memory. Tried "
                        "to allocate 2 GiB.); lower --batch and raise --accumulate, or lower --side"),
        (out_of_disk, "Error: fold1: cannot be written (No space left on device)"),
    ],
)  # fmt: skip
def test_a_fault_of_one_ends_all_with_one_sentence(disc_data, tmp_path, disturb, words):
    ran = together(tmp_path / "two", "--data", disc_data, *PLAIN, "--max-steps", 3, "--run", tmp_path / "run",
                   "--checkpoint-minutes", 0, disturb=disturb)  # fmt: skip
    assert ran.codes() == [1, 1]
    assert (ran.said(0).splitlines()[-1], ran.said(1)) == (words, "")


def test_other_data_in_one_of_them_are_named_before_the_first_step(disc_data, tmp_path):
    for rank in range(2):
        shutil.copytree(disc_data, tmp_path / str(rank) / "data")
    image = tmp_path / "1" / "data" / "images" / "JPCLN003.png"
    shutil.copy(image.with_name("JPCLN004.png"), image)
    ran = together(tmp_path / "two", "--data", "data", *PLAIN, "--max-steps", 1, "--run", tmp_path / "run",
                   disturb=lambda rank: os.chdir(tmp_path / str(rank)))  # fmt: skip
    assert ran.codes() == [1, 1]
    assert ran.said(0).splitlines()[-1] == (
        f"Error: rank 1 of 2 on {socket.gethostname()} has other data: the image, truth or lung masks of JPCLN003 is "
        "not as in rank 0; give all of them the same data"
    )
    assert ran.said(1) == ""


def test_a_port_that_is_taken_is_told_and_no_process_waits_for_ever(disc_data, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = together(tmp_path / "two", "--data", disc_data, *PLAIN, "--run", tmp_path / "run", "--timeout-minutes",
                       0.05, by="srun", port=taken.getsockname()[1])  # fmt: skip
        assert ran.codes() in ([1, 1], [1, -signal.SIGALRM])
    last = ran.said(0).splitlines()[-1]
    assert last.startswith("Error: the 2 processes of the training cannot be joined (")
    assert last.endswith("set MASTER_PORT to a port that is free there")


def test_a_signal_to_one_ends_all_after_the_same_step_which_is_kept(disc_data, tmp_path):
    def stop(rank):
        if rank == 1:
            before_step(2, lambda: os.kill(os.getpid(), signal.SIGTERM))

    run = tmp_path / "run"
    ran = together(tmp_path / "two", "--data", disc_data, *PLAIN, "--max-steps", 9, "--run", run, disturb=stop)
    assert ran.codes() == [130, 143]
    assert ran.said(0).splitlines()[-3:] == [
        "step 3 is kept",
        "",
        f"cxrcad: stopped; `cxrcad train --resume --run {run}` goes on from what is kept",
    ]
    assert ran.said(1) == ""


def test_the_others_wait_for_a_validation_that_takes_longer_than_the_timeout(disc_data, tmp_path):
    def slow(rank):
        work = SegmentationTask.work
        SegmentationTask.work = lambda *values: (time.sleep(3), work(*values))

    ran = together(tmp_path / "two", "--data", disc_data, *PLAIN, "--max-steps", 1, "--run", tmp_path / "run",
                   "--timeout-minutes", 0.02, disturb=slow)  # fmt: skip
    assert ran.codes() == [0, 0], ran.said(0)


def test_two_processes_cannot_share_three_micro_batches(disc_data, tmp_path):
    ran = together(tmp_path / "two", "--data", disc_data, *PLAIN, "--accumulate", 3, "--run", tmp_path / "run")
    assert ran.codes()[0] == 2
    assert ran.said(0).startswith(
        "Error: --accumulate 3: 2 processes share the micro-batches of a step; give a multiple"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, None),
        (ranks.torchrun(1, 4), ("torchrun", 4, 1)),
        (ranks.torchrun(5, 8) | {"LOCAL_WORLD_SIZE": "4"}, ("torchrun", 4, 2)),
        (ranks.srun(3, 8) | {"SLURM_NNODES": "2"}, ("Slurm", 4, 2)),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, None),  # a batch script, without srun
        (ranks.srun(0, 1) | {"SLURM_ARRAY_TASK_ID": "3"}, None),
    ],
)
def test_what_started_the_processes_is_told_by_its_variables(monkeypatch, variables, found):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert processes.started() == found
    assert processes.is_first() == (int(variables.get("RANK", variables.get("SLURM_PROCID", 0))) == 0)


def test_nodes_and_devices_that_are_asked_for_must_have_been_started(cxrcad, disc_data):
    answer = cxrcad("train", "--data", disc_data, "--device", "cpu", "--nodes", 2, "--devices", 2)
    assert (answer.code, answer.err) == (
        2,
        "Error: --devices 2: this call started 1; start it on each node, with torchrun or srun (docs/TRAIN.md)\n",
    )
