"""Detection on a Ray cluster: Ray Data gives the files to actors, each of which holds the model; nothing else uses Ray.

Ray starts an actor again that died, and tries its files again elsewhere. What is still without an outcome then is tried
once more, each file by itself, so that a file at which the process ends is known by its name.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cxrcad import __version__
from cxrcad.config import DetectConfig
from cxrcad.core import Failure, ModelError, Outcome, UsageError, WorkerError, counted
from cxrcad.imaging.read import content_sha256
from cxrcad.inference.batch import Outcomes, detect_files, reading_for
from cxrcad.inference.detector import CPU, CUDA, Detector
from cxrcad.inference.model import ONNX_NAME, Bundle
from cxrcad.inference.workers import FEW_FILES, MOST_BY_CORES, REMEDY, Workers

__all__ = ["RayEngine", "ray_engine"]

AT_ONCE = 64
"""Files that an actor is given at a time, at most: few enough to be done again, enough to be read ahead."""
PARTS_A_CPU = 4
"""Of a few files each CPU gets so many parts, that none waits long for the last."""
TRIES = 2
CONNECT_SECONDS = 10.0
OBJECT_STORE_BYTES = 2**28
"""On this machine alone: names and findings are all that passes through it."""


@dataclass(frozen=True)
class _Task:
    """What an actor needs to detect; `onnx` is the model's file, `folder` that to which paths are relative."""

    bundle: Bundle
    onnx: bytes
    config: DetectConfig
    device: str
    threads: int
    workers: int
    least: float
    folder: str
    version: str = __version__


class _Actor:
    """What detects on a node: the model, opened once."""

    def __init__(self, task: _Task) -> None:
        if task.version != __version__:
            raise ModelError(f"cxrcad {__version__} on a node and {task.version} here; install one version on all")
        with contextlib.suppress(OSError):
            os.chdir(task.folder)
        self._task = task
        with tempfile.TemporaryDirectory(prefix="cxrcad-") as folder:
            path = Path(folder) / ONNX_NAME
            path.write_bytes(task.onnx)
            bundle = replace(task.bundle, onnx_path=path)
            self._detector = Detector.open(bundle, task.device, task.threads, task.config.inference_batch)
        self._reading = reading_for(self._detector, force=task.config.force, pixels=False)

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """The outcome of each file, None of one whose content is that of a result that is there."""
        files = {int(number): pickle.loads(file) for number, file in zip(batch["number"], batch["file"], strict=True)}
        same = [number for number, (path, sha256) in files.items() if sha256 and content_sha256(path) == sha256]
        left = [number for number in files if number not in same]
        paths = [files[number][0] for number in left]
        few = self._task.config.workers is None and len(paths) < FEW_FILES
        workers = Workers.fitting(len(paths), 0 if few else self._task.workers, self._task.config.timeout)
        with closing(detect_files(paths, self._detector, self._reading, self._task.least, workers)) as found:
            outcomes = [*(outcome for outcome, _ in found), *(None for _ in same)]
        return {"number": [*left, *same], "outcome": [pickle.dumps(outcome) for outcome in outcomes]}


@contextlib.contextmanager
def ray_engine(config: DetectConfig, bundle: Bundle, least: float) -> Iterator[RayEngine]:
    """The cluster at `config.address` or RAY_ADDRESS, or one of this machine's cores; findings from the score `least`.

    Raises UsageError without Ray and where there is no such cluster.
    """
    try:
        import ray.data
    except ImportError:
        raise UsageError("--engine ray: Ray is not installed; pip install 'cxrcad[ray]'") from None
    with _connected(config.address or os.environ.get("RAY_ADDRESS") or "local"):
        yield RayEngine(config, bundle, least, ray.cluster_resources)


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else a cluster of our own reports its use
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what Ray's core notes of its actors is for its developers
    own: dict[str, Any] = (
        {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES} if address == "local" else {}
    )
    try:
        _check_answers(address)
        with _without_stderr():
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **own)
    except Exception as error:  # Ray raises no kind of its own
        raise UsageError(
            f"--address {address}: no Ray cluster answers there ({_first_line(error)}); start one with `ray start "
            "--head`, or leave out --address for one of this machine's cores"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raise OSError where nothing takes a connection at host:port or ray://host:port; Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal() and "://" not in host:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS):
            pass


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """What is written on stderr, by libraries below Python too, goes nowhere."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class RayEngine:
    """A cluster that detects, of which `has` tells CPUs and GPUs. `provider` is ONNX Runtime's, which actors demand."""

    def __init__(
        self, config: DetectConfig, bundle: Bundle, least: float, has: Callable[[], Mapping[str, float]]
    ) -> None:
        on_gpu = config.device == "cuda" or (config.device == "auto" and "GPU" in has())
        workers = config.workers if config.workers is not None else MOST_BY_CORES if on_gpu else 1
        self.provider = CUDA if on_gpu else CPU
        self._has = has
        self._cpus = max(1, workers) if on_gpu else config.threads or 1
        self._gpus = int(on_gpu)
        self._task = _Task(
            bundle,
            bundle.onnx_path.read_bytes(),
            config,
            "cuda" if on_gpu else "cpu",
            config.threads or 1,
            workers,
            least,
            os.getcwd(),
        )

    def detect(
        self,
        files: Sequence[Path],
        known: Mapping[Path, str],
        same: Callable[[str], object],
        note: Callable[[str], object],
    ) -> Outcomes:
        """What becomes of each file, as it comes; `same` is told of one whose content is `known` by its SHA-256.

        Raises WorkerError where the cluster fails as a whole.
        """
        left = dict(enumerate(files))
        at_once = max(1, min(AT_ONCE, len(files) // (PARTS_A_CPU * self._fitting())))
        alone = False
        while left:
            before = len(left)
            broken = None
            try:
                for number, outcome in self._pass(left, known, 1 if alone else at_once, alone):
                    path = left.pop(number)
                    if outcome is None:
                        same(str(path))
                    else:
                        yield outcome, None
            except _ray_errors() as error:
                broken = _last_line(error)
                if len(left) == before:
                    raise WorkerError(f"the Ray cluster cannot detect ({broken}); see its logs, and --resume") from None
            if left and broken is None and alone:
                break
            if left:
                how = f"broke off ({broken})" if broken else "ended"
                note(f"what detected {how}: {counted(len(left), 'file')} tried again")
                alone = alone or broken is None
        for path in left.values():
            sentence = f"{path}: the process that detected in it ended each time; {REMEDY}"
            yield Failure(str(path), sentence), None

    def _fitting(self) -> int:
        """The actors that fit on the nodes that are there now: Ray waits for as many as it is told to begin with."""
        has = self._has()
        return max(1, int(has.get("GPU", 1) if self._gpus else has.get("CPU", 1) // self._cpus))

    def _pass(
        self, files: Mapping[int, Path], known: Mapping[Path, str], at_once: int, alone: bool
    ) -> Iterator[tuple[int, Outcome | None]]:
        """The outcomes of files by their number, as far as they come; `at_once` are given to an actor at a time.

        Where files are tried `alone`, none waits at an actor that another may end.
        """
        from ray.data import ActorPoolStrategy, DataContext, from_items

        context = DataContext.get_current().copy()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1  # they are tried again by us
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        parts = -(-len(files) // at_once)
        items = [{"number": number, "file": pickle.dumps((path, known.get(path)))} for number, path in files.items()]
        with DataContext.current(context), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")  # nothing else bounds retries
            rows = from_items(items, override_num_blocks=parts).map_batches(
                _Actor,
                fn_constructor_args=(self._task,),
                batch_size=None,
                compute=ActorPoolStrategy(
                    min_size=1,
                    initial_size=min(parts, self._fitting()),
                    max_size=parts,
                    max_tasks_in_flight_per_actor=1 if alone else 2,
                ),
                num_cpus=self._cpus,
                num_gpus=self._gpus,
                max_restarts=-1,
                max_task_retries=TRIES - 1,
            )
        for row in rows.iter_rows():
            yield int(row["number"]), pickle.loads(row["outcome"])


def _ray_errors() -> tuple[type[Exception], ...]:
    from ray.exceptions import RayError

    return (RayError,)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].rstrip(".")
