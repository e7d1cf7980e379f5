"""Memory and disk: what is short is a warning, a folder that cannot be written is broken."""

from __future__ import annotations

from collections import namedtuple

import pytest

from cxrcad.doctor import machine
from cxrcad.doctor.checks import BROKEN, OK, WARNING


def found(out):
    return {check.name: check for check in machine.check_machine(out)}


@pytest.fixture
def limited(tmp_path, monkeypatch):
    """`limited(memory.max=..., ...)`: a machine of 8 GB, 4 GB free, and the limits of its control group."""
    (tmp_path / "meminfo").write_text("MemTotal: 8000000 kB\nMemFree: 1 kB\nMemAvailable: 4000000 kB\n")
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "CGROUP", tmp_path)

    def write(**files):
        for name, text in files.items():
            (tmp_path / name.replace("_", ".")).write_text(text)

    return write


def test_the_memory_is_the_machines_without_a_limit(limited, tmp_path):
    check = found(tmp_path)["memory"]
    assert (check.state, check.told) == (OK, "4.1 GB free of 8.2 GB")


def test_a_containers_limit_counts(limited, tmp_path):
    limited(memory_max="1000000000\n", memory_current="900000000\n", cpu_max="50000 100000\n")
    checks = found(tmp_path)
    assert checks["memory"].state == WARNING
    assert checks["memory"].told == "100 MB free of 1.0 GB, and detection takes about 450 MB"
    assert checks["cores"].told.endswith("0.5 by the container's quota")


def test_no_limit_is_none(limited, tmp_path):
    limited(memory_max="max\n", memory_current="900000000\n", cpu_max="max 100000\n")
    checks = found(tmp_path)
    assert checks["memory"].state == OK
    assert checks["cores"].facts["quota"] is None


def test_a_system_that_does_not_tell_its_memory_is_no_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "none")
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    assert found(tmp_path)["memory"].told == "unknown on this system"


def test_a_disk_that_is_about_to_be_full_is_a_warning(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda place: usage(20_000_000))
    check = found(tmp_path / "not" / "there")["disk for outputs"]
    assert (check.state, check.told) == (WARNING, f"20 MB free in {tmp_path / 'not' / 'there'}")
    assert not (tmp_path / "not").exists()


def test_a_folder_that_cannot_be_written_is_broken(tmp_path):
    (tmp_path / "file").write_text("")
    check = found(tmp_path / "file")["disk for outputs"]
    assert check.state == BROKEN
    assert "is a file, not a folder" in check.told
    assert check.remedy == "name another place"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            "fpu avx2 avx512_vnni amx_int8",
            "A Chip, with 8-bit instructions (avx512_vnni, amx_int8): on such an AMD EPYC 8 bits",
        ),
        (
            "fpu avx2",
            "A Chip, without 8-bit instructions (VNNI): on such an AMD EPYC 8 bits make the default model 1.7",
        ),
    ],
)
def test_the_processor_says_what_8_bits_gain(tmp_path, monkeypatch, flags, told):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: A Chip\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    assert found(tmp_path)["processor"].told.startswith(told)


def test_a_system_that_does_not_tell_its_processor_is_no_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "none")
    check = found(tmp_path)["processor"]
    assert (check.state, check.facts) == (OK, {})
    assert check.told
