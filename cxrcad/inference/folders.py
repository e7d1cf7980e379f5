"""Folders, and patterns that the shell did not expand -> files. Links are followed, no folder is read twice."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from cxrcad.core import ReadError, UsageError
from cxrcad.imaging.archives import file_of
from cxrcad.imaging.remote import RemoteFolder, RemotePath, path_of, remote_files

__all__ = ["Pattern", "Told", "expanded", "files_in", "matches", "named"]

_PATH = type(Path())


class Pattern(_PATH):  # type: ignore[misc,valid-type]
    """A path whose parts may hold *, ? and [a-z], or be ** for folders of any depth, as a shell reads them."""


class Told(Protocol):
    """Who is told, with a sentence, of folders that are not read."""

    def unreadable(self, folder: Path, sentence: str) -> None:
        """Of one that cannot be read."""

    def read_elsewhere(self, folder: Path, sentence: str) -> None:
        """Of one whose files are read under another name."""


def named(text: str) -> Path:
    """The path that was given as `text`; a Pattern where it may be one, and no file of that very name is there.

    An address (s3://, https://) is a RemotePath.
    """
    path = path_of(text, patterns=True)
    literal = isinstance(path, RemotePath) or not glob.has_magic(text) or os.path.lexists(path) or file_of(path) != path
    return path if literal else Pattern(text)


def files_in(folder: Path, told: Told) -> Iterator[Path]:
    """The files in a folder and its subfolders, in order, hidden ones left out."""
    for place, names in _walk(folder, told):
        yield from (place / name for name in names)


def matches(pattern: Pattern, told: Told) -> Iterator[Path]:
    """The files and folders that a pattern matches, in order; a last ** matches the folder that holds all.

    Hidden ones are left out, unless the pattern's part starts with a dot.
    """
    start = Path(pattern.anchor)
    yield from _matching(start, pattern.relative_to(pattern.anchor).parts, told)


def expanded(pattern: Pattern | RemoteFolder) -> tuple[Path, ...]:
    """What a pattern matches, or a remote folder holds, each once.

    Raises UsageError where that is nothing, ReadError for a folder that cannot be read.
    """
    found: dict[Path, None] = {}
    found |= dict.fromkeys(remote_files(pattern) if isinstance(pattern, RemoteFolder) else matches(pattern, _Strict()))
    if not found:
        raise UsageError(f"{pattern}: no file has such a name, and no file matches it as a pattern; check the path")
    return tuple(found)


class _Strict:
    def unreadable(self, folder: Path, sentence: str) -> None:
        raise ReadError(sentence)

    def read_elsewhere(self, folder: Path, sentence: str) -> None:
        """Nothing is lost."""


def _matching(folder: Path, parts: tuple[str, ...], told: Told) -> Iterator[Path]:
    if not parts or parts == ("**",):
        yield folder
    elif parts[0] == "**" and os.path.isdir(folder):
        for place, _ in _walk(folder, told):
            yield from _matching(place, parts[1:], told)
    elif os.path.lexists(folder / parts[0]):  # by its very name, whatever it holds
        yield from _matching(folder / parts[0], parts[1:], told)
    elif glob.has_magic(parts[0]) and os.path.isdir(folder):
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            told.unreadable(folder, _unreadable_words(folder, error))
            return
        for name in fnmatch.filter(names, parts[0]):
            if parts[0].startswith(".") or not name.startswith("."):
                yield from _matching(folder / name, parts[1:], told)


def _walk(folder: Path, told: Told) -> Iterator[tuple[Path, list[str]]]:
    """Each folder from `folder` down, with the names of its files."""

    def unreadable(error: OSError) -> None:
        where = Path(str(error.filename))
        told.unreadable(where, _unreadable_words(where, error))

    root = os.path.realpath(folder)
    seen = {root}
    for place, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        below = [Path(place) / name for name in sorted(folders) if not name.startswith(".")]
        folders[:] = [path.name for path in below if _is_new(path, root, seen, told.read_elsewhere)]
        yield Path(place), [name for name in sorted(names) if not name.startswith(".")]


def _unreadable_words(folder: Path, error: OSError) -> str:
    return f"{folder}: a folder that cannot be read ({error.strerror}); check its permissions"


def _is_new(folder: Path, root: str, seen: set[str], read_elsewhere: Callable[[Path, str], None]) -> bool:
    """Whether a folder is none that is read anyway, by its own name or through another link."""
    real = os.path.realpath(folder)
    inside = os.path.relpath(real, root).split(os.sep)  # hidden folders are not read, and ".." leads outside
    if real in seen or (os.path.islink(folder) and not any(part.startswith(".") for part in inside)):
        read_elsewhere(folder, f"{folder}: leads to {real}, whose files are read there; each is read once")
        return False
    seen.add(real)
    return True
