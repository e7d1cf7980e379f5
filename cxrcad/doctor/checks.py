"""A check: one thing that was tried, what came of it, and how it is put right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ABSENT", "BROKEN", "OK", "WARNING", "Check"]

OK, ABSENT, WARNING, BROKEN = "ok", "absent", "warning", "broken"
"""It works; it is not here and need not be; detection works without it, or soon will not; detection needs it."""


@dataclass(frozen=True)
class Check:
    """One thing that was tried: its state, a sentence for the reader, and the remedy ("" where none is needed).

    `facts` hold the same for a program: versions, checksums, bytes.
    """

    name: str
    state: str
    told: str
    remedy: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
