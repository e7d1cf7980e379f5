"""Providers are really run: one that does not start, gives another answer or falls back is told, with its cause."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from cxrcad.doctor import providers
from cxrcad.doctor.checks import ABSENT, BROKEN, OK, WARNING
from cxrcad.inference.detector import CPU, CUDA

NO_LIBRARY = "libcudnn.so.9: cannot open shared object file: No such file or directory"


class Driver:
    """An NVIDIA driver with one GPU."""

    def __init__(self, status=0, version=13000):
        self.status, self.version = status, version

    def cuInit(self, flags):
        return self.status

    def cuDriverGetVersion(self, number):
        number._obj.value = self.version

    def cuDeviceGetCount(self, number):
        number._obj.value = 1
        return 0

    def cuDeviceGetName(self, text, length, index):
        text.value = b"NVIDIA Test"


def found(device="auto"):
    return {check.name: check for check in providers.check_providers(device)}


@pytest.fixture
def driver(monkeypatch):
    """`driver(status, version)`: the driver that is found, with an ONNX Runtime that is built for CUDA 13."""

    def use(**values):
        monkeypatch.setattr(providers, "driver_library", lambda: Driver(**values))
        monkeypatch.setattr(providers, "_built_for", lambda: "13.0")
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [CUDA, CPU])

    return use


def on_cuda(monkeypatch, answer):
    """What ONNX Runtime does with CUDA: `answer()`."""
    real = providers.open_session
    monkeypatch.setattr(
        providers, "open_session", lambda network, wanted, threads: real(network, wanted, threads)
        if wanted == [CPU] else answer(),
    )  # fmt: skip


def test_the_cpu_runs_the_small_network():
    checks = found()
    assert checks[CPU].state == OK
    assert checks["ONNX Runtime"].facts["version"] in checks["ONNX Runtime"].told


def test_a_provider_that_does_not_start_is_broken(monkeypatch):
    def fail(*_):
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(providers, "open_session", fail)
    check = found()[CPU]
    assert (check.state, check.told) == (BROKEN, "it does not start (no such instruction)")
    assert check.remedy


def test_a_provider_with_another_answer_is_broken(monkeypatch):
    class Wrong:
        def get_providers(self):
            return [CPU]

        def run(self, *_):
            return [np.full((1, 1, 2, 2), 3, np.float32)]

    monkeypatch.setattr(providers, "open_session", lambda *_: Wrong())
    check = found()[CPU]
    assert (check.state, check.told) == (BROKEN, "it gives [3.0, 3.0, 3.0, 3.0], not 2")


def test_without_onnx_runtime_it_says_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    (check,) = providers.check_providers("auto")
    assert check.state == BROKEN
    assert check.remedy == "pip install onnxruntime"


def test_two_packages_of_onnx_runtime_are_a_warning(monkeypatch):
    monkeypatch.setattr(providers, "_installed", lambda: ["onnxruntime", "onnxruntime-gpu"])
    check = found()["ONNX Runtime"]
    assert check.state == WARNING
    assert "pip uninstall onnxruntime onnxruntime-gpu" in check.remedy


def test_cuda_is_needed_only_where_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(providers, "driver_library", lambda: None)
    assert found()[CUDA].state == ABSENT
    assert found()[CUDA].told.endswith("so detection runs on the CPU")
    assert found("cuda")[CUDA].state == BROKEN


@pytest.mark.parametrize(
    ("values", "state", "told"),
    [
        ({"status": 100}, ABSENT, "the NVIDIA driver sees no GPU"),
        ({"status": 803}, WARNING, "the NVIDIA driver does not start (CUDA error 803)"),
    ],
    ids=["no GPU", "an error"],
)
def test_a_driver_that_does_not_start_is_told(driver, values, state, told):
    driver(**values)
    check = found()[CUDA]
    assert (check.state, check.told) == (state, f"{told}, so detection runs on the CPU")


def test_an_onnx_runtime_without_cuda_is_told(driver, monkeypatch):
    driver()
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [CPU])
    check = found()[CUDA]
    assert check.told.startswith("NVIDIA Test: this ONNX Runtime was built without CUDA")
    assert "onnxruntime-gpu[cuda,cudnn]" in check.remedy


def fall_back():
    return providers.open_session(providers.NETWORK, [CPU], 1)


def test_a_driver_for_an_older_cuda_is_told_with_both_versions(driver, monkeypatch):
    driver(version=12040)
    on_cuda(monkeypatch, fall_back)
    check = found()[CUDA]
    assert check.state == WARNING
    assert "the driver serves CUDA 12.4, and this ONNX Runtime is built for CUDA 13.0" in check.told
    assert "update NVIDIA's driver" in check.remedy


def test_a_library_that_is_missing_is_named(driver, monkeypatch):
    def load(path, mode):
        if "cuda" in path:
            raise OSError(NO_LIBRARY)

    driver()
    on_cuda(monkeypatch, fall_back)
    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(providers.Path, "glob", lambda folder, pattern: [folder / pattern.replace("*", "lib")])
    check = found("cuda")[CUDA]
    assert check.state == BROKEN
    assert check.told == f"NVIDIA Test: a library of cuDNN cannot be loaded ({NO_LIBRARY})"


def test_cuda_that_falls_back_for_no_known_cause_is_told(driver, monkeypatch):
    driver()
    on_cuda(monkeypatch, fall_back)
    monkeypatch.setattr(providers, "_missing_library", lambda: "")
    assert "does not start it and falls back to the CPU" in found()[CUDA].told


def test_cuda_that_works_is_ok(driver, monkeypatch):
    class Works:
        def get_providers(self):
            return [CUDA, CPU]

        def run(self, outputs, inputs):
            return [inputs["x"] * 2]

    driver()
    on_cuda(monkeypatch, Works)
    check = found("cuda")[CUDA]
    assert (check.state, check.facts["gpus"]) == (OK, ["NVIDIA Test"])
