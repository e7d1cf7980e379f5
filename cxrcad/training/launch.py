"""Processes that a training starts: its ranks, as torchrun starts them, and the folds of a run side by side."""

from __future__ import annotations

import logging
import queue
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from cxrcad.config import NO_FOLD, TrainConfig
from cxrcad.core import TrainingError, UsageError
from cxrcad.files import Progress
from cxrcad.training.plan import begin_folds
from cxrcad.training.processes import started

__all__ = ["launch", "train_folds"]

READ_SECONDS = 5.0
"""How long what an ended process said is waited for."""

Lines = queue.SimpleQueue[tuple[int, str | None]]


def launch(count: int, arguments: Sequence[str]) -> int:
    """The exit code of `cxrcad` with these arguments in `count` processes; the first one says why it is not 0.

    Raises TrainingError where they cannot be started.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed.elastic")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # each has a level of its own
    asked = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # a free port
        local_addr="localhost",
        max_restarts=0,
    )
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        elastic_launch(asked, sys.executable)("-m", "cxrcad", *arguments)
    except ChildFailedError as error:
        first = error.failures.get(0)
        return first.exitcode if first is not None and first.exitcode > 0 else 1
    except SignalException as stop:
        return 128 + int(stop.sigval)
    except (RuntimeError, OSError) as error:
        raise TrainingError(
            f"the {count} processes of --devices {count} cannot be started ({str(error).splitlines()[0]}); free a port "
            "of this machine, memory or processes, or leave --devices out"
        ) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def train_folds(config: TrainConfig, progress: Progress, given: Collection[str], words: Sequence[str]) -> Path:
    """The run's folder, its folds trained `config.jobs` at a time, each by a `cxrcad train` of its own.

    `words` are the arguments of `cxrcad` but for --fold, --jobs and --run. A fold that fails ends no other one. Raises
    TrainingError, which names those that failed, and what `train` raises before its first step.
    """
    if started() is not None:
        raise UsageError(f"--jobs {config.jobs}: starts its processes itself; leave it out with torchrun or srun")
    folder, folds = begin_folds(config, progress, given)
    start = [sys.executable, "-m", "cxrcad", *words, "--run", str(folder), "--fold"]
    failed = _run_each({fold: [*start, str(fold or NO_FOLD)] for fold in folds}, config.jobs, progress)
    if failed:
        raise TrainingError(
            f"{folder}: fold {', '.join(map(str, sorted(failed)))} failed, as its lines above say; mend that, and "
            f"cxrcad train --resume --fold all --run {folder} trains what lacks"
        )
    return folder


def _run_each(commands: Mapping[int, Sequence[str]], most: int, progress: Progress) -> list[int]:
    """The folds whose command failed; `most` run at once, and what they say is said with their fold.

    Ctrl-C and SIGTERM end all of them, each after its step.
    """
    lines, running, readers = Lines(), dict[int, subprocess.Popen[str]](), dict[int, threading.Thread]()
    waiting, failed = list(commands), list[int]()
    try:
        while waiting or running:
            while waiting and len(running) < most:
                fold = waiting.pop(0)
                running[fold] = subprocess.Popen(
                    commands[fold], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
                )
                readers[fold] = threading.Thread(target=_pass_on, args=(fold, running[fold], lines), daemon=True)
                readers[fold].start()
            fold, line = lines.get()
            if line is not None:
                _note(fold, line, progress)
            elif running.pop(fold).wait():
                failed.append(fold)
    finally:
        for process in running.values():
            process.terminate()
        for fold, process in running.items():
            process.wait()
            readers[fold].join(READ_SECONDS)
        while not lines.empty():
            fold, line = lines.get()
            if line is not None and not line.startswith("cxrcad: stopped"):  # that is said once, for all
                _note(fold, line, progress)
    return failed


def _note(fold: int, line: str, progress: Progress) -> None:
    """Say a line of a fold's process with its fold."""
    progress.note(line if line.startswith("fold ") else f"fold {fold}: {line}")


def _pass_on(fold: int, process: subprocess.Popen[str], lines: Lines) -> None:
    """Put each line of the process into `lines`, and None at its end."""
    assert process.stderr is not None
    with process.stderr as said:
        for line in said:
            lines.put((fold, line.rstrip()))
    lines.put((fold, None))
