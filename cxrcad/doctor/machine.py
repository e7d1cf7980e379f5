"""The machine: its processor, cores and memory that this process may use, and room for the outputs."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from cxrcad.core import CxrcadError, usable_cores
from cxrcad.doctor.checks import BROKEN, OK, WARNING, Check
from cxrcad.files import check_folder

__all__ = ["check_machine", "processor_name"]

NEEDED_MB = 450
"""`cxrcad detect` took 409 MB at its peak (the default model, phantoms of 2048 x 2048 pixels, one thread)."""
LEAST_FREE_MB = 500
"""Results take some kB an image; below this a disk is about to be full."""

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
CPUINFO = Path("/proc/cpuinfo")

EIGHT_BIT = ("avx_vnni", "avx512_vnni", "amx_int8")
"""Flags of x86 processors with instructions for 8-bit convolutions; others were not measured."""
GAIN, GAIN_WITHOUT = 2.3, 1.7
"""How many times as fast 8 bits make the default model, with such instructions and without (docs/PERFORMANCE.md)."""


def check_machine(out: Path) -> tuple[Check, ...]:
    """Processor, cores, memory, and the disk of the outputs' folder `out`."""
    return (_processor(), _cores(), _memory(), _disk(out))


def _processor() -> Check:
    """What computes, and what it gains by the 8 bits of a packaged model."""
    name, flags = processor_name(), _cpuinfo().get("flags", "").split()
    if not flags:
        return Check("processor", OK, name)
    found = [flag for flag in EIGHT_BIT if flag in flags]
    told = f"with 8-bit instructions ({', '.join(found)})" if found else "without 8-bit instructions (VNNI)"
    gain = GAIN if found else GAIN_WITHOUT
    told = f"{name}, {told}: on such an AMD EPYC 8 bits make the default model {gain} times as fast"
    return Check("processor", OK, told, facts={"name": name, "eight_bit": found})


def processor_name() -> str:
    """The processor's name, as far as the system tells it."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def _cpuinfo() -> dict[str, str]:
    """What Linux tells of a core by name, empty elsewhere."""
    with contextlib.suppress(OSError):
        return dict(_fields(CPUINFO.read_text(errors="replace")))
    return {}


def _cores() -> Check:
    there = os.cpu_count() or 1
    usable = usable_cores()
    quota = _quota()
    told = f"{usable} of {there}" if usable < there else str(there)
    told += f", {quota:g} by the container's quota" if quota and quota < usable else ""
    return Check("cores", OK, told, facts={"cores": there, "usable": usable, "quota": quota})


def _quota() -> float | None:
    """The cores that the control group grants, None without a limit."""
    with contextlib.suppress(OSError, ValueError):
        share, period = (CGROUP / "cpu.max").read_text().split()
        return None if share == "max" else int(share) / int(period)
    return None


def _memory() -> Check:
    """The memory that is free for this process: the machine's, or less by the control group's limit."""
    total, free = _meminfo()
    limit, used = _number("memory.max"), _number("memory.current")
    if limit is not None and used is not None:
        total = limit if total is None else min(total, limit)
        free = limit - used if free is None else min(free, limit - used)
    if total is None or free is None:
        return Check("memory", OK, "unknown on this system")
    told, facts = f"{_size(free)} free of {_size(total)}", {"free_bytes": free, "total_bytes": total}
    if free < NEEDED_MB * 1_000_000:
        told += f", and detection takes about {NEEDED_MB} MB"
        return Check("memory", WARNING, told, "close other programs, or raise the limit of the container", facts)
    return Check("memory", OK, told, facts=facts)


def _meminfo() -> tuple[int | None, int | None]:
    """(total, available) bytes of the machine, None where the system does not say."""
    with contextlib.suppress(OSError, ValueError):
        found = dict(_fields(MEMINFO.read_text()))
        return int(found["MemTotal"].split()[0]) * 1024, int(found["MemAvailable"].split()[0]) * 1024
    return None, None


def _fields(text: str) -> Iterator[tuple[str, str]]:
    """(name, value) of the lines `name: value` of a file of the kernel."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        yield name.strip(), value.strip()


def _number(name: str) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int((CGROUP / name).read_text())
    return None


def _disk(folder: Path) -> Check:
    name = "disk for outputs"
    try:
        check_folder(folder, str(folder))
    except CxrcadError as error:
        fault, _, remedy = str(error).rpartition("; ")
        return Check(name, BROKEN, fault, remedy)
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    facts = {"folder": str(folder.absolute()), "free_bytes": free}
    if free < LEAST_FREE_MB * 1_000_000:
        return Check(name, WARNING, f"{_size(free)} free in {folder.absolute()}", "make room, or name another", facts)
    return Check(name, OK, f"{_size(free)} free in {folder.absolute()}", facts=facts)


def _size(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
