"""Files, folders, patterns, zip archives, DICOMDIRs -> the files that may be radiographs, and those that are none."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from cxrcad.core import Failure, NotRadiographError, ReadError, Skipped, UsageError
from cxrcad.imaging.archives import contents_of, file_of, head_of, is_zip, local_file, spelled_in_archive
from cxrcad.imaging.dicomdir import References, is_dicomdir, references_of, spelled_in
from cxrcad.imaging.faults import bytes_of, check_file
from cxrcad.imaging.read import FORMATS, IMAGE_ENDINGS, reader_of, unknown_words
from cxrcad.imaging.remote import RemoteFolder, RemotePath, path_of, remote_files
from cxrcad.inference.folders import Pattern, files_in, matches

__all__ = ["Inputs", "empty_words", "expand_paths", "find_inputs", "part_of"]

OTHER_ENDINGS = frozenset(
    (".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".html", ".md", ".toml", ".gif", ".raw", ".zraw")
)
"""Endings of the files of a folder that are never tried: tables, sidecars, lung masks."""
HEAD = 1024


@dataclass(frozen=True)
class Inputs:
    """What paths come to: `files` to read, in order, and before that `failures` and `skipped`.

    `origin` has the folder, pattern, archive or DICOMDIR by which a file was found, whatever became of it; a file that
    was named itself has none. `roots` are those that were named. `shard` is which part of a whole they are, as "3/16".
    """

    files: tuple[Path, ...]
    origin: Mapping[Path, Path]
    roots: tuple[Path, ...]
    skipped: tuple[Skipped, ...]
    failures: tuple[Failure, ...]
    shard: str | None = None

    @property
    def on_disk(self) -> tuple[Path, ...]:
        """The files that hold `files`: an archive for those in it."""
        roots = filter(os.path.isfile, self.roots)
        files = (file_of(file) for file in self.files if not isinstance(file, RemotePath))
        return tuple(dict.fromkeys((*files, *roots)))

    def roots_of(self, path: Path) -> set[Path]:
        """Those of `roots` that hold the file."""
        return {path, self.origin.get(path, path), *path.parents} & self._roots

    @cached_property
    def _roots(self) -> frozenset[Path]:
        return frozenset(self.roots)


def find_inputs(paths: Sequence[Path]) -> Inputs:
    """The files of `paths`, in order and each once: folders, archives, DICOMDIRs and a `Pattern` replaced by theirs.

    Hidden files are left out. Links to folders are followed, each folder is read once; a link that points nowhere is
    in `failures`. A file of a folder or archive that is no image by its ending or content is in `skipped`
    with the reason; what is in an archive in an archive is not looked for.
    """
    found = _Found()
    for path in paths:
        found.add(path)
    failures = tuple(found.failures.values())
    return Inputs(tuple(found.files), found.origin, tuple(found.roots), tuple(found.skipped.values()), failures)


def part_of(inputs: Inputs, shard: str | None) -> Inputs:
    """One of several parts of the inputs ("3/16": the third of sixteen); all of them where `shard` is None.

    A hash of each file's path, below the folder or archive that was named or the part of a pattern that is plain,
    decides its part: the order of the file system does not matter, nor where the folder lies. Raises UsageError for
    what is no part.
    """
    if shard is None:
        return inputs
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", shard)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"--shard {shard}: is no part of a whole; it takes NUMBER/COUNT, as 3/16")

    def mine(path: Path) -> bool:
        held = inputs.roots_of(path) - {path}
        root = inputs.origin.get(path) or (next(one for one in inputs.roots if one in held) if held else None)
        base = root and next((one for one in (root, *root.parents) if one in path.parents), None)
        name = path.relative_to(base) if base else path
        digest = hashlib.sha256(os.fsencode(name.as_posix())).digest()
        return int.from_bytes(digest[:8], "big") % count == number - 1

    told = [*inputs.files, *(path_of(one.path) for one in inputs.failures)]
    full = set[Path]().union(*map(inputs.roots_of, told))
    return replace(
        inputs,
        files=tuple(filter(mine, inputs.files)),
        roots=tuple(one for one in inputs.roots if one not in full and mine(one)),  # others' files are in any part
        skipped=tuple(one for one in inputs.skipped if mine(path_of(one.path))),
        failures=tuple(one for one in inputs.failures if mine(path_of(one.path))),
        shard=f"{number}/{count}",
    )


def expand_paths(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The files on the disk to detect in: files as named, folders replaced by their radiographs, each file once.

    A path that is not there, an archive, and a folder without a radiograph stay as they are.
    """
    files: dict[Path, None] = {}
    for path in paths:
        inside = [file for file in find_inputs([path]).files if file_of(file) == file] if os.path.isdir(path) else []
        files.update(dict.fromkeys(inside or [path]))
    return tuple(files)


def empty_words(root: Path, skipped: int) -> str:
    """The sentence for a folder, archive or DICOMDIR in which there is no radiograph."""
    rest = f" ({skipped:,} other file{'s' * (skipped > 1)} skipped)" if skipped else ""
    if isinstance(root, Pattern) and not skipped:
        return f"{root}: no file has such a name, and no file matches it as a pattern; check the path"
    return f"{root}: a {_kind(root) or 'folder'} without a radiograph{rest}; name one that holds {FORMATS}"


def _kind(path: Path) -> str:
    """What holds other files: a pattern, a folder, a zip archive, a DICOMDIR; "" for any other path."""
    if isinstance(path, Pattern | RemotePath):
        return "pattern" if isinstance(path, Pattern) else "folder" if isinstance(path, RemoteFolder) else ""
    if os.path.isdir(path):  # not Path's, which raises in a folder that may not be entered
        return "folder"
    try:
        head = bytes_of(path, HEAD) if os.path.isfile(path) else b""
        return "zip archive" if is_zip(path, head) else "DICOMDIR" if is_dicomdir(head) else ""
    except ReadError:
        return ""


@dataclass
class _Found:
    files: dict[Path, None] = field(default_factory=dict)
    origin: dict[Path, Path] = field(default_factory=dict)
    roots: dict[Path, None] = field(default_factory=dict)
    skipped: dict[tuple[Path, str], Skipped] = field(default_factory=dict)
    failures: dict[Path, Failure] = field(default_factory=dict)

    def add(self, path: Path) -> None:
        """A path that was named."""
        kind = _kind(path)
        if not kind:
            self.files[path] = None
            self.origin.pop(path, None)
            self.skipped.pop((path, ""), None)
            self.failures.pop(path, None)
            return
        self.roots[path] = None
        try:
            if isinstance(path, RemoteFolder):
                for file in remote_files(path):
                    self._look_at(file, path)
            elif kind == "folder":
                self._folder(path, path)
            elif isinstance(path, Pattern):
                for match in matches(path, _Told(self, path)):
                    look = self._folder if os.path.isdir(match) else self._look_at
                    look(match, path)
            elif kind == "zip archive":
                self._archive(path, path)
            else:
                self._dicomdir(path)
        except ReadError as error:
            self.fail(path, str(error), path)

    def fail(self, path: Path, error: str, root: Path) -> None:
        """A file or folder found in `root` that cannot be read."""
        self.failures[path] = Failure(str(path), error)
        if path != root:
            self.origin[path] = root

    def skip(self, path: Path, reason: str, root: Path, name: str = "") -> None:
        """A file or folder found in `root` that is not to be read; `name` is that of one in an archive `path`."""
        self.skipped[path, name] = Skipped(str(path), reason)
        self.origin[path] = root

    def _folder(self, folder: Path, root: Path) -> None:
        for file in files_in(folder, _Told(self, root)):
            self._look_at(file, root)

    def _look_at(self, path: Path, root: Path, archive: Path | None = None) -> None:
        """A file that was found in `root`, perhaps in an archive: to be read, skipped, or opened in turn."""
        if path in self.files:
            return
        suffix = path.suffix.lower()
        try:
            if suffix in OTHER_ENDINGS:
                self.skip(path, f"{path}: a {suffix} file, not tried in a folder; name it if it is a radiograph", root)
                return
            if isinstance(path, RemotePath):  # whatever it holds, which copying it will show
                self.files[path], self.origin[path] = None, root
                return
            if archive is None and not os.path.isfile(path):
                check_file(path)
            kind = _kind(path) if archive is None else ""
            if kind == "zip archive":
                self._archive(path, root)
            elif kind == "DICOMDIR" or (archive and is_dicomdir(head_of(path, HEAD)[0])):
                if fault := _references(path, archive).fault:  # what it names is found in its folder anyway
                    self.skip(path, fault, root)
            elif path.name.lower().endswith(IMAGE_ENDINGS) or reader_of(path):
                self.files[path] = None  # with such an ending whatever it holds, so that a damaged one is reported
                self.origin[path] = root
            else:
                self.skip(path, unknown_words(path), root)
        except NotRadiographError as error:
            self.skip(path, str(error), root)
        except ReadError as error:
            if archive is None and os.path.exists(path) and not (os.path.isfile(path) and os.path.getsize(path)):
                self.skip(path, str(error), root)  # empty, or a pipe: a dangling link may stand for a radiograph
            else:
                self.fail(path, str(error), root)

    def _archive(self, archive: Path, root: Path) -> None:
        contents = contents_of(archive)
        for name, fault in contents.refused:
            self.skip(archive, f"{archive}: {fault} ({name}); unpack it with care", root, name)
        for name in contents.names:
            self._look_at(archive / name, root, archive)

    def _dicomdir(self, path: Path) -> None:
        references = _references(path)
        for file in references.files:
            self._look_at(file, path)
        if references.fault:
            self.fail(path, references.fault, path)


@dataclass(frozen=True)
class _Told:
    """Keeps what is told of folders found in `root`."""

    found: _Found
    root: Path

    def unreadable(self, folder: Path, sentence: str) -> None:
        self.found.fail(folder, sentence, self.root)

    def read_elsewhere(self, folder: Path, sentence: str) -> None:
        self.found.skip(folder, sentence, self.root)


def _references(path: Path, archive: Path | None = None) -> References:
    find = spelled_in(path.parent) if archive is None else spelled_in_archive(archive, path.parent)
    with local_file(path) as file:
        return references_of(path, bytes_of(file), find)
