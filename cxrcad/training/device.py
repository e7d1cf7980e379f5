"""Where a training runs: device, precision, and the settings that pay on each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cxrcad.config import TrainConfig
from cxrcad.core import TrainingError
from cxrcad.training.processes import Processes, open_processes

__all__ = ["Backend", "channels_last", "check_device", "open_backend", "predict"]

MOST_WORKERS = 4  # that draw images beside a GPU where nobody says how many


@dataclass(frozen=True)
class Backend:
    """A device. `precision` is fp32 or bf16 (autocast; weights stay float32); `workers` draw images for it."""

    device: torch.device
    precision: str
    workers: int
    processes: Processes

    def autocast(self) -> torch.autocast:
        """The context in which the network runs forward."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def channels_last(network: nn.Module) -> nn.Module:
    """The network with its weights laid out channels last, in place: fast for convolutions."""
    moved: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def check_device(device: str) -> None:
    """Raise TrainingError where CUDA is asked for and torch cannot use it."""
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: torch finds no usable CUDA device; use --device auto, or mend the driver")


def open_backend(config: TrainConfig, processes: Processes | None = None) -> Backend:
    """The device and precision that `config` asks for. Raises TrainingError where CUDA is asked for and not usable.

    `processes` are those that train together, by default this one alone.
    """
    check_device(config.device)
    processes = processes or open_processes(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    cuda = config.device != "cpu" and torch.cuda.is_available()
    precision = config.precision if config.precision != "auto" else _precision_that_pays(cuda)
    torch.backends.cudnn.benchmark = cuda and not config.deterministic  # it pays where images are of one size
    torch.use_deterministic_algorithms(config.deterministic)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, CUDA has no deterministic products
    workers = min(MOST_WORKERS, os.cpu_count() or 1) if cuda else 0
    return Backend(processes.fabric.device, precision, workers if config.workers is None else config.workers, processes)


def _precision_that_pays(cuda: bool) -> str:
    if cuda:
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    flags = Path("/proc/cpuinfo")
    text = flags.read_text(errors="replace") if flags.is_file() else ""
    return "bf16" if "avx512_bf16" in text or "amx_bf16" in text else "fp32"


def predict(network: nn.Module, image: NDArray[np.uint8], backend: Backend) -> dict[str, NDArray[np.float32]]:
    """Probability maps (H, W) by task, of one image on the model's grid, in inference mode."""
    network.eval()
    tensor = torch.from_numpy(image.astype(np.float32) / 255)[None, None].to(backend.device)
    with torch.inference_mode(), backend.autocast():
        outputs = network(tensor.contiguous(memory_format=torch.channels_last))
    return {task: logits.float().softmax(1)[0, 1].cpu().numpy() for task, logits in outputs.items()}
