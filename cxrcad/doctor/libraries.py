"""The libraries that cxrcad requires, and those of its extra for training: there, and new enough."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator

from cxrcad.doctor.checks import ABSENT, BROKEN, OK, WARNING, Check

__all__ = ["check_libraries", "installed_versions"]

REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[^\]]*\])?\s*(?:>=\s*([\d.]+))?")
RUNTIME = "onnxruntime"
"""ONNX Runtime comes as one of several packages; `providers` tells which."""
EXTRA = "train"


def check_libraries() -> tuple[Check, ...]:
    """One check a library that detection requires, and one for the extra `train`."""
    try:
        required = importlib.metadata.requires("cxrcad") or []
    except importlib.metadata.PackageNotFoundError:
        told = "cxrcad runs from a folder and is not installed, so what it requires is not known"
        return (Check("cxrcad", WARNING, told, "pip install cxrcad's folder"),)
    found = [check for name, least in _named(required, "") if (check := _required(name, least)) is not None]
    extra = [(name, least, _version(name)) for name, least in _named(required, EXTRA)]
    versions = {name: version for name, _, version in extra if version is not None}
    missing = [name for name, _, version in extra if version is None]
    if missing:
        told = f"not installed ({', '.join(missing)}); needed to train only"
        found.append(Check(f"extra {EXTRA}", ABSENT, told, "", {"versions": versions}))
    elif old := [f"{name} {version}" for name, least, version in extra if version and _older(version, least)]:
        told = f"too old: {', '.join(old)}"
        found.append(Check(f"extra {EXTRA}", WARNING, told, "pip install --upgrade 'cxrcad[train]'"))
    elif extra:
        told = ", ".join(f"{name} {version}" for name, version in versions.items())
        found.append(Check(f"extra {EXTRA}", OK, told, "", {"versions": versions}))
    return tuple(found)


def installed_versions() -> dict[str, str]:
    """The versions of what is installed of the libraries that detection and the extra `train` require, by name.

    Empty where cxrcad runs from a folder and is not installed.
    """
    try:
        required = importlib.metadata.requires("cxrcad") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    names = [name for extra in ("", EXTRA) for name, _ in _named(required, extra)]
    found = {name: _version(name) for name in (*names, RUNTIME, f"{RUNTIME}-gpu")}
    return {name: version for name, version in found.items() if version is not None}


def _named(required: list[str], extra: str) -> Iterator[tuple[str, str]]:
    """(name, least version or "") of the requirements of an extra, or of none ("")."""
    for line in required:
        requirement, _, marker = line.partition(";")
        of = re.search(r"extra\s*==\s*[\"'](\w+)", marker)
        match = REQUIREMENT.match(requirement.strip())
        if match and match[1] != "cxrcad" and (of[1] if of else "") == extra and not match[1].startswith(RUNTIME):
            yield match[1], match[2] or ""


def _required(name: str, least: str) -> Check | None:
    version = _version(name)
    if version is None:
        return Check(name, BROKEN, f"not installed; {least or 'any version'} or newer is needed", f"pip install {name}")
    if _older(version, least):
        told, remedy = f"{version} is too old; {least} or newer is needed", f"pip install --upgrade {name}"
        return Check(name, BROKEN, told, remedy, {"version": version, "least": least})
    return Check(name, OK, version, facts={"version": version, "least": least})


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _older(version: str, least: str) -> bool:
    """Whether a version's leading numbers come before those of `least`."""
    return bool(least) and _numbers(version) < _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"[\d.]*\d", version)
    numbers = [int(part) for part in found[0].split(".") if part] if found else []
    return tuple(numbers + [0] * (4 - len(numbers)))
