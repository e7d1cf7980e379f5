"""What tests of the network share: radiographs, a listener in a process of its own, peers of every kind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

from cxrcad.synthesis.files import dicom_bytes

ROOT = Path(__file__).resolve().parents[2]
SIDE = 64
WAIT_SECONDS = 300.0  # the machine may be busy with other work


def radiograph(number: int) -> pydicom.Dataset:
    """A Digital X-Ray image with a bright disc, of its own UID for each number."""
    rows, cols = np.mgrid[:SIDE, :SIDE]
    pixels = (0.2 + 0.1 * rows / SIDE).astype(np.float32)
    pixels[(rows - 20) ** 2 + (cols - 24) ** 2 <= 16] = 0.95
    data = dicom_bytes(pixels, f"scan{number}", 2 * number, 0, "Female", 60)
    return pydicom.dcmread(pydicom.filebase.DicomBytesIO(data))


def until(happened: Callable[[], object], what: str) -> None:
    """Wait until it happens, or fail."""
    end = time.monotonic() + WAIT_SECONDS
    while not happened():
        assert time.monotonic() < end, f"{what} did not happen in {WAIT_SECONDS:g} s"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as wire:
        wire.bind(("127.0.0.1", 0))
        return int(wire.getsockname()[1])


class Running:
    """A command of cxrcad in a process of its own, and what it has said so far on stderr."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith("CXRCAD_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cxrcad", *map(str, arguments)], cwd=folder, stderr=subprocess.PIPE, text=True,
            env={**own, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # of a shell's background it is ignored
        )  # fmt: skip
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(iter(self.process.stderr.readline, ""))

    @property
    def said(self) -> str:
        return "".join(self.lines)

    def wait_for(self, words: str, times: int = 1) -> None:
        until(lambda: self.said.count(words) >= times or self.process.poll() is not None, words)
        assert self.said.count(words) >= times, self.said

    @property
    def port(self) -> int:
        self.wait_for(" listens on ")
        line = next(line for line in self.lines if " listens on " in line)
        return int(line.split(" listens on ")[1].split(":")[1].split(";")[0].split(",")[0])

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(WAIT_SECONDS)
        self._reader.join()
        if number != signal.SIGKILL:
            assert "Traceback" not in self.said, self.said
        return code


@pytest.fixture
def run(tmp_path: Path, toy: Path) -> Iterator[Callable[..., Running]]:
    """`run("listen", ...)` -> the running command, with the toy model; ended after the test."""
    started: list[Running] = []

    def start(command: str, *arguments: object) -> Running:
        started.append(Running(tmp_path, command, *arguments, "--model", toy, "--device", "cpu", "--threads", "1"))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


class Archive:
    """A peer that stores: what came, in order. `status` is what it answers, `seconds` how long it thinks first."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        from pynetdicom import AE, AllStoragePresentationContexts, evt

        self.came: list[pydicom.Dataset] = []
        self.status, self.seconds, self.drop = 0x0000, 0.0, False
        entity = AE("ARCHIVE")
        entity.require_called_aet = True
        entity.supported_contexts = AllStoragePresentationContexts
        handlers = [(evt.EVT_C_STORE, self._store)]
        self.server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=tls)
        self.peer = f"ARCHIVE@127.0.0.1:{self.server.server_address[1]}"

    def _store(self, event: object) -> int:
        time.sleep(self.seconds)
        if self.drop:
            event.assoc.abort()
            return 0xC000
        if self.status == 0:
            dataset = event.dataset
            dataset.file_meta = event.file_meta
            self.came.append(dataset)
        return self.status

    @property
    def uids(self) -> list[str]:
        return [str(one.SOPInstanceUID) for one in self.came]


@pytest.fixture
def archives() -> Iterator[Callable[..., Archive]]:
    """`archives(tls)` -> an archive that is ended after the test."""
    pytest.importorskip("pynetdicom")
    pytest.importorskip("highdicom")
    started: list[Archive] = []

    def start(tls: ssl.SSLContext | None = None) -> Archive:
        started.append(Archive(tls=tls))
        return started[-1]

    yield start
    for one in started:
        one.server.shutdown()


@pytest.fixture
def archive(archives: Callable[..., Archive]) -> Archive:
    return archives()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate of this machine, cert.pem, and its key, key.pem, made with openssl."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
               "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return folder


def send(port: int, datasets: list[pydicom.Dataset], title: str = "MODALITY", called: str = "CXRCAD") -> list[int]:
    """Store in one association; the statuses, as far as there are any."""
    from pynetdicom import AE

    entity = AE(title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = WAIT_SECONDS
    for kind, syntax in dict.fromkeys((one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in datasets):
        entity.add_requested_context(kind, syntax)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    statuses: list[int] = []
    if not association.is_established:
        return statuses
    for dataset in datasets:
        with contextlib.suppress(RuntimeError, ValueError):
            answer = association.send_c_store(dataset)
            if "Status" not in answer:
                break
            statuses.append(answer.Status)
    if association.is_established:
        association.release()
    return statuses
