"""`cxrcad doctor`: what works here and what is broken, in lines for a reader or as JSON."""

from __future__ import annotations

import json
import platform
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cxrcad
from cxrcad.config import DoctorConfig
from cxrcad.core import counted
from cxrcad.doctor.checks import ABSENT, BROKEN, OK, WARNING, Check
from cxrcad.doctor.libraries import check_libraries
from cxrcad.doctor.machine import check_machine
from cxrcad.doctor.models import check_models
from cxrcad.doctor.providers import check_providers
from cxrcad.doctor.syntaxes import check_formats, check_syntaxes

__all__ = ["SCHEMA", "Report", "examine_machine"]

SCHEMA = "cxrcad/doctor/1"

SIGNS: Mapping[str, str] = {OK: "ok", ABSENT: "-", WARNING: "warning", BROKEN: "BROKEN"}
SIGN_COLUMNS = max(map(len, SIGNS.values()))


@dataclass(frozen=True)
class Report:
    """What was tried, by group."""

    groups: Mapping[str, Sequence[Check]]

    @property
    def broken(self) -> int:
        """How many things that detection needs are broken."""
        return self._count(BROKEN)

    def _count(self, state: str) -> int:
        return sum(check.state == state for checks in self.groups.values() for check in checks)

    def text(self, columns: int) -> str:
        """A line for each check, wrapped at `columns`, and a sentence at the end."""
        lines = [_system()]
        for group, checks in self.groups.items():
            wide = max(len(check.name) for check in checks)
            lines += ["", group]
            for before, check in zip([None, *checks], checks, strict=False):
                lines += _lines(check, wide, columns, before is not None and check.remedy == before.remedy)
        return "\n".join([*lines, "", self._sentence(), ""])

    def _sentence(self) -> str:
        warnings = self._count(WARNING)
        told = f"{counted(self.broken, 'thing')} that detection needs {'is' if self.broken == 1 else 'are'} broken"
        more = f"; {counted(warnings, 'warning')}" if warnings else ""
        return f"{told if self.broken else 'All that detection needs works'}{more}."

    def json(self) -> str:
        """The same as a document."""
        document = {
            "schema": SCHEMA,
            "cxrcad_version": cxrcad.__version__,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "broken": self.broken,
            "warnings": self._count(WARNING),
            "checks": [
                {
                    "group": group,
                    "name": check.name,
                    "state": check.state,
                    "told": check.told,
                    "remedy": check.remedy or None,
                    "facts": dict(check.facts),
                }
                for group, checks in self.groups.items()
                for check in checks
            ],
        }
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def examine_machine(config: DoctorConfig, out: Path) -> Report:
    """Try all that `cxrcad detect` needs, with results in the folder `out`; nothing is left behind."""
    return Report(
        {
            "execution providers": check_providers(config.device),
            "DICOM transfer syntaxes, and the decoders that read each": check_syntaxes(),
            "other formats": check_formats(),
            "models": check_models(config.model),
            "machine": check_machine(out),
            "libraries": check_libraries(),
        }
    )


def _system() -> str:
    system = f"{platform.system()} {platform.machine()}"
    return f"cxrcad {cxrcad.__version__}, Python {platform.python_version()}, {system}"


def _lines(check: Check, wide: int, columns: int, again: bool) -> Iterator[str]:
    """The check with its name in a column `wide`, and its remedy below it, which may be that of the one before."""
    head = f"  {SIGNS[check.state]:<{SIGN_COLUMNS}}  {check.name:<{wide}}  "
    told = check.told if check.state == OK or not check.remedy else f"{check.told.rstrip('.')}."
    narrow = len(head) > columns // 2 and len(head) + len(told) > columns
    hang = " " * (SIGN_COLUMNS + 6 if narrow else len(head))
    if narrow:
        yield head.rstrip()
        head = hang
    wrapper = textwrap.TextWrapper(max(columns, 40), break_long_words=False, break_on_hyphens=False)
    wrapper.initial_indent, wrapper.subsequent_indent = head, hang
    yield from wrapper.wrap(told)
    if check.remedy:
        wrapper.initial_indent = hang
        yield from wrapper.wrap("Remedy: as above." if again else f"Remedy: {check.remedy}.")
