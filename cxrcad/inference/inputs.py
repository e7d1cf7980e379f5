"""Files, folders, zip archives and DICOMDIRs -> the files in which to look for radiographs, and those that are none."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cxrcad.core import Failure, NotRadiographError, ReadError, Skipped, UsageError
from cxrcad.imaging.archives import contents_of, file_of, head_of, is_zip, local_file, spelled_in_archive
from cxrcad.imaging.dicomdir import References, is_dicomdir, references_of, spelled_in
from cxrcad.imaging.faults import bytes_of, check_file
from cxrcad.imaging.read import FORMATS, IMAGE_ENDINGS, reader_of, unknown_words

__all__ = ["Inputs", "empty_words", "expand_paths", "find_inputs", "part_of"]

OTHER_ENDINGS = frozenset(
    (".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".html", ".md", ".toml", ".gif", ".raw", ".zraw")
)
"""Endings of the files of a folder that are never tried: tables, sidecars, lung masks."""
HEAD = 1024


@dataclass(frozen=True)
class Inputs:
    """What paths come to: `files` to read, in order, and before that `failures` and `skipped`.

    `origin` has the folder, archive or DICOMDIR in which a file was found; a file that was named itself has none.
    `roots` are those that were named.
    """

    files: tuple[Path, ...]
    origin: Mapping[Path, Path]
    roots: tuple[Path, ...]
    skipped: tuple[Skipped, ...]
    failures: tuple[Failure, ...]

    @property
    def on_disk(self) -> tuple[Path, ...]:
        """The files that hold `files`: an archive for those in it."""
        roots = (root for root in self.roots if not os.path.isdir(root))
        return tuple(dict.fromkeys((*map(file_of, self.files), *roots)))


def find_inputs(paths: Sequence[Path]) -> Inputs:
    """The files of `paths`, in order and each once: folders, archives and DICOMDIRs replaced by what they hold.

    Hidden files are left out. Links to folders are followed, each folder is read once; a link that points nowhere is
    in `failures`. A file of a folder or archive that is no image by its ending or content is in `skipped`
    with the reason; what is in an archive in an archive is not looked for.
    """
    found = _Found()
    for path in paths:
        found.add(path)
    files = tuple(found.files)
    origin = {file: root for file, root in found.files.items() if root is not None}
    return Inputs(files, origin, tuple(found.roots), tuple(found.skipped.values()), tuple(found.failures.values()))


def part_of(inputs: Inputs, shard: str | None) -> Inputs:
    """One of several parts of the inputs ("3/16": the third of sixteen); all of them where `shard` is None.

    A hash of each file's path, below the folder or archive that was named, decides its part: the order of the file
    system does not matter, nor where the folder lies. Raises UsageError for what is no part.
    """
    if shard is None:
        return inputs
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", shard)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"--shard {shard}: is no part of a whole; it takes NUMBER/COUNT, as 3/16")

    def mine(path: Path) -> bool:
        root = inputs.origin.get(path) or next((one for one in inputs.roots if one in path.parents), None)
        base = root if root is None or root in path.parents else root.parent
        name = path.relative_to(base) if base is not None and base in path.parents else path
        digest = hashlib.sha256(os.fsencode(name.as_posix())).digest()
        return int.from_bytes(digest[:8], "big") % count == number - 1

    return replace(
        inputs,
        files=tuple(filter(mine, inputs.files)),
        roots=(),  # another part may hold their radiographs
        skipped=tuple(one for one in inputs.skipped if mine(Path(one.path))),
        failures=tuple(one for one in inputs.failures if mine(Path(one.path))),
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
    return f"{root}: a {_kind(root) or 'folder'} without a radiograph{rest}; name one that holds {FORMATS}"


def _kind(path: Path) -> str:
    """What holds other files: a folder, a zip archive, a DICOMDIR; "" for any other path."""
    if os.path.isdir(path):  # not Path's, which raises in a folder that may not be entered
        return "folder"
    try:
        head = bytes_of(path, HEAD) if os.path.isfile(path) else b""
        return "zip archive" if is_zip(path, head) else "DICOMDIR" if is_dicomdir(head) else ""
    except ReadError:
        return ""


@dataclass
class _Found:
    files: dict[Path, Path | None] = field(default_factory=dict)
    roots: dict[Path, None] = field(default_factory=dict)
    skipped: dict[tuple[Path, str], Skipped] = field(default_factory=dict)
    failures: dict[Path, Failure] = field(default_factory=dict)

    def add(self, path: Path) -> None:
        """A path that was named."""
        kind = _kind(path)
        if not kind:
            self.files[path] = None
            self.skipped.pop((path, ""), None)
            self.failures.pop(path, None)
            return
        self.roots[path] = None
        if kind == "folder":
            for file in self._files_of(path):
                self._look_at(file, path)
            return
        try:
            if kind == "zip archive":
                self._archive(path, path)
            else:
                self._dicomdir(path)
        except ReadError as error:
            self._fail(path, str(error))

    def _fail(self, path: Path, error: str) -> None:
        self.failures[path] = Failure(str(path), error)

    def _skip(self, path: Path, reason: str, name: str = "") -> None:
        self.skipped[path, name] = Skipped(str(path), reason)

    def _files_of(self, folder: Path) -> Iterator[Path]:
        def unreadable(error: OSError) -> None:
            where = Path(str(error.filename))
            self._fail(where, f"{where}: a folder that cannot be read ({error.strerror}); check its permissions")

        root = os.path.realpath(folder)
        seen = {root}
        for place, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
            below = [Path(place) / name for name in sorted(folders) if not name.startswith(".")]
            folders[:] = [path.name for path in below if self._is_new(path, root, seen)]
            yield from (Path(place) / name for name in sorted(names) if not name.startswith("."))

    def _is_new(self, folder: Path, root: str, seen: set[str]) -> bool:
        """Whether a folder is none that is read anyway, by its own name or through another link; else it is skipped."""
        real = os.path.realpath(folder)
        inside = os.path.relpath(real, root).split(os.sep)  # hidden folders are not read, and ".." leads outside
        if real in seen or (os.path.islink(folder) and not any(part.startswith(".") for part in inside)):
            self._skip(folder, f"{folder}: leads to {real}, whose files are read there; each is read once")
            return False
        seen.add(real)
        return True

    def _look_at(self, path: Path, root: Path, archive: Path | None = None) -> None:
        """A file that was found in `root`, perhaps in an archive: to be read, skipped, or opened in turn."""
        if path in self.files:
            return
        suffix = path.suffix.lower()
        try:
            if suffix in OTHER_ENDINGS:
                self._skip(path, f"{path}: a {suffix} file, not tried in a folder; name it if it is a radiograph")
                return
            if archive is None and not os.path.isfile(path):
                check_file(path)
            kind = _kind(path) if archive is None else ""
            if kind == "zip archive":
                self._archive(path, root)
            elif kind == "DICOMDIR" or (archive and is_dicomdir(head_of(path, HEAD)[0])):
                if fault := _references(path, archive).fault:  # what it names is found in its folder anyway
                    self._skip(path, fault)
            elif path.name.lower().endswith(IMAGE_ENDINGS) or reader_of(path):
                self.files[path] = root  # with such an ending whatever it holds, so that a damaged one is reported
            else:
                self._skip(path, unknown_words(path))
        except NotRadiographError as error:
            self._skip(path, str(error))
        except ReadError as error:
            if archive is None and os.path.exists(path) and not (os.path.isfile(path) and os.path.getsize(path)):
                self._skip(path, str(error))  # empty, or a pipe: a dangling link may stand for a radiograph
            else:
                self._fail(path, str(error))

    def _archive(self, archive: Path, root: Path) -> None:
        contents = contents_of(archive)
        for name, fault in contents.refused:
            self._skip(archive, f"{archive}: {fault} ({name}); unpack it with care", name)
        for name in contents.names:
            self._look_at(archive / name, root, archive)

    def _dicomdir(self, path: Path) -> None:
        references = _references(path)
        for file in references.files:
            self._look_at(file, path)
        if references.fault:
            self._fail(path, references.fault)


def _references(path: Path, archive: Path | None = None) -> References:
    find = spelled_in(path.parent) if archive is None else spelled_in_archive(archive, path.parent)
    with local_file(path) as file:
        return references_of(path, bytes_of(file), find)
