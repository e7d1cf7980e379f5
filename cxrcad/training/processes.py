"""The processes of one training, on one machine or several: what they share, what they agree on, how they end together.

torchrun or Slurm starts them; Lightning Fabric joins them and averages their gradients (torch's DDP).
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from cxrcad.config import TrainConfig
from cxrcad.core import CxrcadError, RankError, ToldElsewhere, TrainingError, UsageError, counted, usable_cores
from cxrcad.files import Progress
from cxrcad.training.signals import ignore_signals

__all__ = ["Processes", "check_devices", "is_first", "open_processes", "started"]

T = TypeVar("T")

FAULT = "cxrcad/fault"
"""The key under which a process that fails says why, in the store that all of them reach."""
SAID_WITHIN = timedelta(seconds=5)
GRACE_S = 5.0  # after the time in which the first process gives up
PATIENT = timedelta(days=30)
"""How long a process waits for the first one, which validates and packages; it waits in vain only until that ends."""


@dataclass(frozen=True, eq=False)
class Processes:
    """This process and its peers. `patient` is a group of all of them that waits without end, None where there is one.

    The first one (rank 0) writes, says, validates and packages.
    """

    fabric: Any
    patient: Any = None

    @property
    def size(self) -> int:
        """How many there are."""
        return int(self.fabric.world_size)

    @property
    def rank(self) -> int:
        """Which one this is, from 0."""
        return int(self.fabric.global_rank)

    @property
    def first(self) -> bool:
        """Whether it is the first."""
        return self.rank == 0

    def share(self, value: T) -> T:
        """The first one's `value`."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, 0, group=self.patient)
        return values[0]

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            distributed.barrier(self.patient)

    def agree(self, loss: float, asked: bool) -> tuple[float, bool]:
        """The mean loss of all, and whether any of them was asked to stop."""
        if self.size == 1:
            return loss, asked
        values = torch.tensor([loss / self.size, float(asked)], dtype=torch.float64)
        distributed.all_reduce(values, group=self.patient)
        return float(values[0]), bool(values[1])

    def check_alike(self, inputs: Mapping[str, Any], changed: Callable[[Any, Any], list[str]]) -> None:
        """Raise TrainingError, in all of them, where one has other `inputs` than the first; `changed` names what."""
        if self.size == 1:
            return
        words = changed(self.share(inputs), inputs)
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, f"{self._name} has other data: {words[0]}" if words else "", self.patient)
        if any(found):
            raise TrainingError(f"{next(filter(None, found))} is not as in rank 0; give all of them the same data")

    def learner(self, loss: Callable[..., Tensor], *modules: nn.Module, unused: bool) -> nn.Module:
        """`loss` as a module over the weights of `modules`; its gradients are the mean of all processes'.

        `unused`: there may be weights on which a loss does not depend.
        """
        if self.size > 1:
            self.fabric.strategy._ddp_kwargs["find_unused_parameters"] = unused  # known only now, with the samples
        learner: nn.Module = self.fabric.setup_module(_Loss(loss, modules), move_to_device=False)
        return learner

    @contextlib.contextmanager
    def statistics(self, network: nn.Module, count: int) -> Iterator[None]:
        """Within, each process runs `count` batches forward: batch norms end as if one had run all, in rank order.

        A running value r becomes keep x r + (1 - keep) x x for each batch of value x.
        """
        norms: list[Any] = [one for one in network.modules() if isinstance(one, _BatchNorm) and one.training]
        if self.size == 1 or not norms:
            yield
            return
        keeps = [(1 - one.momentum) ** count for one in norms]
        pairs = zip(norms, keeps, strict=True)
        values = [(value, keep) for one, keep in pairs for value in (one.running_mean, one.running_var)]
        before = [value.clone() for value, _ in values]
        yield
        later = self.size - 1 - self.rank
        own = [keep**later * (value - keep * old) for (value, keep), old in zip(values, before, strict=True)]
        summed = self.fabric.all_reduce(torch.cat(own), reduce_op="sum")
        for (value, keep), old, part in zip(values, before, summed.split([len(one) for one in own]), strict=True):
            value.copy_(keep**self.size * old + part)
        for one in norms:
            one.num_batches_tracked += count * (self.size - 1)

    @property
    def _name(self) -> str:
        return f"rank {self.rank} of {self.size} on {socket.gethostname()}"

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """A fault within ends all processes, and the first one raises it, whosever it was; the others ToldElsewhere.

        Memory that ran out is a TrainingError. A process that was killed is one, too, for the others.
        """
        try:
            yield
        except BaseException as error:
            fault = _out_of_memory(error) or error
            if self.size == 1 and fault is error:
                raise
            if self.size == 1:
                raise fault from None
            lost = fault is error and isinstance(error, RuntimeError) and _is_lost(error)
            if lost:
                ignore_signals()  # what started the processes now ends the others
            if self.first:
                said = self._said(wait=lost) if lost or isinstance(error, KeyboardInterrupt) else ""
                raise (RankError(said) if said else fault) from None
            if not lost and not isinstance(error, KeyboardInterrupt):
                with contextlib.suppress(RuntimeError):
                    _store().set(FAULT, f"{self._name}: {fault}")
            if not isinstance(fault, CxrcadError | KeyboardInterrupt) and not lost:
                raise
            raise ToldElsewhere from None
        if self.size > 1:
            distributed.destroy_process_group()

    def _said(self, wait: bool) -> str:
        """What another process said before it ended; with `wait`, it did end."""
        try:
            if wait:
                _store().wait([FAULT], SAID_WITHIN)
            return str(_store().get(FAULT).decode()) if wait or _store().check([FAULT]) else ""
        except RuntimeError:
            return LOST if wait else ""


LOST = (
    "another process of this training ended, or did not answer in time (--timeout-minutes); --resume goes on from the "
    "last checkpoint (--checkpoint-minutes), with any number of processes that --accumulate is a multiple of"
)


class _Loss(nn.Module):
    """The loss of a micro-batch's tensors as a module, so that its weights are DDP's."""

    def __init__(self, loss: Callable[..., Tensor], modules: tuple[nn.Module, ...]) -> None:
        super().__init__()
        self.loss, self.learned = loss, nn.ModuleList(modules)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.loss(*inputs)


def started() -> tuple[str, int, int] | None:
    """What started this process among others: torchrun or Slurm, its processes on each node, its nodes; or None."""
    known = os.environ
    if "TORCHELASTIC_RUN_ID" in known:
        local = int(known["LOCAL_WORLD_SIZE"])
        return "torchrun", local, int(known["WORLD_SIZE"]) // local
    tasks, nodes = int(known.get("SLURM_NTASKS", 1)), int(known.get("SLURM_NNODES", 1))
    if tasks > 1 and "SLURM_STEP_ID" in known:  # srun's; a batch script is one process, whatever the tasks of its job
        return "Slurm", tasks // nodes, nodes
    return None


def is_first() -> bool:
    """Whether this is the first of the processes that were started together, or the only one."""
    return started() is None or int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))) == 0


def check_devices(config: TrainConfig, progress: Progress) -> None:
    """Note where the processes of `--devices` have no GPU. Raises UsageError for more of them than GPUs or cores."""
    asked = config.devices or 1
    cuda = config.device != "cpu" and torch.cuda.is_available()
    cores = usable_cores()
    most, what = (torch.cuda.device_count(), "GPU") if cuda else (cores, "core")
    if asked > most:
        raise UsageError(f"--devices {asked}: this machine has {counted(most, what)}; give {most} at most")
    if not cuda and config.device == "auto":
        progress.note(f"no GPU here: the {asked} processes share {counted(cores, 'core')}")


def open_processes(config: TrainConfig) -> Processes:
    """This process, joined with the others that torchrun or Slurm started. Raises UsageError, TrainingError."""
    by, devices, nodes = started() or ("", 1, 1)
    for flag, asked, number in (("--devices", config.devices, devices), ("--nodes", config.nodes, nodes)):
        if asked is not None and asked != number:
            remedy = "leave it out" if by else "start it on each node, with torchrun or srun (docs/TRAIN.md)"
            raise UsageError(f"{flag} {asked}: {by or 'this call'} started {number}; {remedy}")
    cuda = config.device != "cpu" and torch.cuda.is_available()
    if cuda and devices > torch.cuda.device_count():
        raise UsageError(
            f"{devices} processes on this machine see {torch.cuda.device_count()} CUDA devices; start one for each "
            "(with Slurm give --gpus-per-node, not --gpus-per-task)"
        )
    try:
        return _joined(by, devices, nodes, cuda, timedelta(minutes=config.timeout_minutes))
    except (RuntimeError, ValueError, OSError) as error:
        if not is_first():
            raise ToldElsewhere from None
        raise TrainingError(
            f"the {devices * nodes} processes of the training cannot be joined ({str(error).splitlines()[0]}); check "
            "that MASTER_ADDR is reached from every node, and set MASTER_PORT to a port that is free there"
        ) from None


def _joined(by: str, devices: int, nodes: int, cuda: bool, timeout: timedelta) -> Processes:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import lightning, slurm, torchelastic
    from lightning_fabric.strategies.ddp import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    kinds: dict[str, Any] = {
        "torchrun": torchelastic.TorchElasticEnvironment,
        "Slurm": slurm.SLURMEnvironment,
        "": lightning.LightningEnvironment,
    }
    if by == "Slurm":
        os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(devices))
    several = devices * nodes > 1
    present = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters  # torch 2.13 has it
    buffers: dict[str, Any] = {"forward_sync_buffers" if present else "broadcast_buffers": False}
    fabric = Fabric(
        accelerator="cuda" if cuda else "cpu",
        devices=devices,
        num_nodes=nodes,
        strategy=DDPStrategy(timeout=timeout, **buffers) if several else "auto",
        plugins=[kinds[by]()],
    )
    with _within(timeout.total_seconds() + GRACE_S) if several and not is_first() else contextlib.nullcontext():
        fabric.launch()
    return Processes(fabric, distributed.new_group(timeout=PATIENT, backend="gloo") if several else None)


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
    """The kernel ends this process (SIGALRM) after that time: torch waits for ever where another has the port."""
    if not hasattr(signal, "setitimer"):  # Windows
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _store() -> Any:
    return distributed.distributed_c10d._get_default_store()


def _is_lost(error: RuntimeError) -> bool:
    """Whether the error is that another process ended or did not answer."""
    words = ("closed by peer", "reset by peer", "Broken pipe", "Timed out", "timed out", "gloo", "NCCL", "TCPStore")
    return isinstance(error, distributed.DistError) or any(word in str(error) for word in words)


def _out_of_memory(error: BaseException) -> TrainingError | None:
    """The error in one sentence, where it is that memory ran out, on a GPU or beside one."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if not known and not (isinstance(error, RuntimeError) and "can't allocate memory" in str(error)):
        return None
    first = (str(error) or "out of memory").splitlines()[0]
    return TrainingError(f"not enough memory ({first}); lower --batch and raise --accumulate, or lower --side")
