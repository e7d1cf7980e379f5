"""How inputs are called in what a detection writes: by their paths, or without any path, name or UID.

Without identifiers a file is called by the SHA-256 of its content, which whoever has the file computes again, and which
says nothing to others. What cannot be read is called by its number among the inputs. Why is not said: a sentence may
quote a path, a header or a link. So may a note, of which only those are kept that never do.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from cxrcad.core import Failure, Outcome, Result, Skipped
from cxrcad.imaging.archives import file_of
from cxrcad.imaging.notes import is_plain
from cxrcad.imaging.read import content_sha256
from cxrcad.imaging.remote import RemotePath, path_of
from cxrcad.inference.inputs import Inputs

__all__ = ["Names"]

UNSAID = "why is not said without identifiers, as it may hold a name"
UNNOTED = "a note that may hold a name is left out"

Told = TypeVar("Told", Failure, Skipped)


@dataclass
class Names:
    """What the inputs of a detection are called; `files` has the path of each name that was given so far.

    `inputs` are all, also where a part is done: the numbers in all parts are one row. `lasting` are the names of those
    whose paths are gone after the detection.
    """

    inputs: Inputs
    identifiers: bool = True
    lasting: Mapping[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)

    def of(self, path: str) -> str:
        """The name of an input; without identifiers its content is read once."""
        if path not in self._names:
            lasting = self.lasting.get(path, path)
            self._name(path, lasting if self.identifiers else self._sha256(path) or f"input-{self._number(path)}")
        return self._names[path]

    def given(self, paths: Iterable[str]) -> list[str]:
        """The names of these inputs that were given so far, each once; without identifiers in an order of their own."""
        names = list(dict.fromkeys(self._names[path] for path in paths if path in self._names))
        return names if self.identifiers else sorted(names)

    def written(self, outcome: Outcome) -> Outcome:
        """The outcome as it is written; without identifiers also without its overlay, which may be called after it."""
        if self.identifiers:
            return self._lastingly(outcome)
        if isinstance(outcome, Result):
            name = self._name(outcome.path, outcome.sha256)
            notes = dict.fromkeys(note if is_plain(note) else UNNOTED for note in outcome.notes)
            return replace(outcome, path=name, uids={}, notes=tuple(notes), overlay=None)
        known = outcome.path in self._names or not isinstance(path_of(outcome.path), RemotePath)
        name = self.of(outcome.path) if known else self._name(outcome.path, f"input-{self._number(outcome.path)}")
        if isinstance(outcome, Failure):
            return Failure(name, f"{name}: {UNSAID}")
        return Skipped(name, f"{name}: {UNSAID}")

    def ordered(self, told: Iterable[Told]) -> list[Told]:
        """Failures or skipped files as they are written: in order, without identifiers one of each content."""
        return list(told) if self.identifiers else sorted(dict.fromkeys(told), key=_path)

    def told(self, path: str, sentence: str) -> str:
        """A sentence on an input, which calls it by its lasting name."""
        return sentence.replace(path, self.lasting.get(path, path))

    def _lastingly(self, outcome: Outcome) -> Outcome:
        path = outcome.path
        name = self.lasting.get(path, path)
        if isinstance(outcome, Result):
            self._name(path, name)
        if name == path:
            return outcome
        if isinstance(outcome, Result):
            return replace(outcome, path=name)
        if isinstance(outcome, Failure):
            return Failure(name, self.told(path, outcome.error))
        return Skipped(name, self.told(path, outcome.reason))

    def _name(self, path: str, name: str) -> str:
        self._names[path] = name
        self.files.setdefault(name, path)
        return name

    @staticmethod
    def _sha256(path: str) -> str | None:
        file = path_of(path)
        return content_sha256(file) if isinstance(file, RemotePath) or os.path.isfile(file_of(file)) else None

    def _number(self, path: str) -> int:
        if not self._numbers:
            told = [*map(_path, self.inputs.failures), *map(_path, self.inputs.skipped)]
            places = dict.fromkeys([*map(str, self.inputs.files), *told, *map(str, self.inputs.roots)])
            self._numbers = {place: number for number, place in enumerate(places, start=1)}
        return self._numbers.get(path, 0)


def _path(one: Failure | Skipped) -> str:
    return one.path
