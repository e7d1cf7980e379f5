"""Which execution providers of ONNX Runtime work: a small network is really run on each, and CUDA's fault is found."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxrcad.doctor.checks import ABSENT, BROKEN, OK, WARNING, Check
from cxrcad.imaging.faults import reason
from cxrcad.inference.detector import CPU, CUDA, driver_library, open_session, preload_cuda

__all__ = ["check_providers"]

NETWORK = base64.b64decode(
    "CAk6YwoPCgF4CgF3EgF5IgRDb252EgFnKhMIAQgBCAEIARABQgF3SgQAAABAWhsKAXgSFgoUCAESEAoCCAEKAggBCgIIAgoCCAJiGwoBeRIWChQI"
    "ARIQCgIIAQoCCAEKAggCCgIIAkIECgAQEQ=="
)
"""An ONNX file: one convolution, which cuDNN does, of a 1 x 1 x 2 x 2 image `x` with the weight 2."""

DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")
INSTALL = "pip install 'onnxruntime-gpu[cuda,cudnn]'"
NO_DEVICE = 100
"""CUDA_ERROR_NO_DEVICE of the driver's cuInit (NVIDIA, CUDA Driver API)."""


def check_providers(device: str) -> tuple[Check, ...]:
    """ONNX Runtime itself, its CPU provider, and CUDA, which is needed only where `device` is cuda."""
    try:
        import onnxruntime
    except Exception as error:  # a damaged installation raises more than ImportError
        told = f"ONNX Runtime cannot be imported ({reason(error)})"
        return (Check("ONNX Runtime", BROKEN, told, "pip install onnxruntime"),)
    installed = _installed()
    built = onnxruntime.get_available_providers()
    facts = {"version": onnxruntime.__version__, "distributions": installed, "built_in": built}
    runtime = Check("ONNX Runtime", OK, f"{onnxruntime.__version__}, {' and '.join(installed) or 'no pip package'}")
    if len(installed) > 1:
        told = f"{' and '.join(installed)} are both installed, and one has overwritten files of the other"
        runtime = Check("ONNX Runtime", WARNING, told, f"pip uninstall {' '.join(installed)}, then install one of them")
    fault = _fault_of(CPU)
    remedy = "pip install --force-reinstall onnxruntime" if fault else ""
    told = fault or "a small network gives the right answer"
    cpu = Check(CPU, BROKEN if fault else OK, told, remedy, {"works": not fault})
    runtime = Check(runtime.name, runtime.state, runtime.told, runtime.remedy, facts)
    return (runtime, cpu, _cuda(built, device == "cuda"))


def _installed() -> list[str]:
    found = []
    for name in DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(name)
            found.append(name)
    return found


def _fault_of(provider: str) -> str:
    """Why the small network does not run on the provider; "" where it does."""
    wanted = [provider] if provider == CPU else [provider, CPU]
    try:
        session = open_session(NETWORK, wanted, 1)
        if session.get_providers()[0] != provider:
            return "ONNX Runtime does not start it and falls back to the CPU"
        answer = session.run(None, {"x": np.ones((1, 1, 2, 2), np.float32)})[0]
    except Exception as error:
        return f"it does not start ({reason(error)})"
    return "" if np.array_equal(answer, np.full((1, 1, 2, 2), 2)) else f"it gives {answer.ravel().tolist()}, not 2"


def _cuda(built: Sequence[str], needed: bool) -> Check:
    """CUDA: absent without an NVIDIA GPU, and a warning where there is one that does not work and is not `needed`."""
    library = driver_library()
    if library is None:
        told, remedy = "no NVIDIA driver (libcuda.so.1) is installed", "for an NVIDIA GPU, install its driver"
        return _not_cuda(ABSENT, told, remedy, needed, {})
    status, version, names = _driver(library)
    gpus = ", ".join(names)
    facts = {"driver_cuda": version, "gpus": names, "built_for_cuda": _built_for(), "works": False}
    if status == NO_DEVICE:
        return _not_cuda(ABSENT, "the NVIDIA driver sees no GPU", "see what nvidia-smi says", needed, facts)
    if status:
        told = f"the NVIDIA driver does not start (CUDA error {status})"
        return _not_cuda(WARNING, told, "see what nvidia-smi says; reboot after an update", needed, facts)
    if CUDA not in built:
        told, remedy = "this ONNX Runtime was built without CUDA", f"pip uninstall onnxruntime, then {INSTALL}"
        return _not_cuda(WARNING, f"{gpus}: {told}", remedy, needed, facts)
    preload_cuda()
    fault = _fault_of(CUDA)
    if fault:
        told, remedy = _why(fault, version)
        return _not_cuda(WARNING, f"{gpus}: {told}", remedy, needed, facts)
    return Check(CUDA, OK, f"{gpus}: a small network gives the right answer", "", {**facts, "works": True})


def _not_cuda(state: str, told: str, remedy: str, needed: bool, facts: Mapping[str, Any]) -> Check:
    if needed:
        return Check(CUDA, BROKEN, told, remedy, facts)
    return Check(CUDA, state, f"{told}, so detection runs on the CPU", remedy, facts)


def _why(fault: str, version: str) -> tuple[str, str]:
    """What is behind a fault of CUDA, as a sentence and a remedy."""
    built = _built_for()
    if built and int(version.partition(".")[0]) < int(built.partition(".")[0]):
        told = f"the driver serves CUDA {version}, and this ONNX Runtime is built for CUDA {built}"
        return told, f"update NVIDIA's driver, or install an onnxruntime-gpu that is built for CUDA {version}"
    missing = _missing_library()
    if missing:
        what = "cuDNN" if "cudnn" in missing else f"CUDA {built}".strip()
        return f"a library of {what} cannot be loaded ({missing})", INSTALL
    return fault, INSTALL


def _built_for() -> str:
    """The CUDA version that this ONNX Runtime is built for, "" where it does not say."""
    import onnxruntime

    return str(getattr(onnxruntime, "cuda_version", "") or "")


def _missing_library() -> str:
    """What the loader says of ONNX Runtime's CUDA library; "" where it can be loaded."""
    import onnxruntime

    folder = Path(onnxruntime.__file__).parent / "capi"
    for name in ("shared", "cuda"):
        for path in folder.glob(f"*onnxruntime_providers_{name}.*"):
            try:
                ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
            except OSError as error:
                return reason(error)
    return ""


def _driver(library: Any) -> tuple[int, str, list[str]]:
    """The code of cuInit (0: it works), the CUDA version that the driver serves, and the names of the GPUs."""
    status = int(library.cuInit(0))
    number = ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(number))
    version = f"{number.value // 1000}.{number.value % 1000 // 10}"
    count = ctypes.c_int()
    if status or library.cuDeviceGetCount(ctypes.byref(count)):
        return status, version, []
    names = []
    for index in range(count.value):
        text = ctypes.create_string_buffer(256)
        library.cuDeviceGetName(text, len(text), index)
        names.append(text.value.decode(errors="replace"))
    return status, version, names
