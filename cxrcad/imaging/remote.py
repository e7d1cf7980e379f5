"""Files of servers and object stores (https://, s3:// and what fsspec knows): each is copied here while it is read.

A file is named by its address, without the password and the keys that may stand in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cxrcad.imaging.faults import LARGEST_BYTES, not_radiograph, refuse

__all__ = ["RemoteFolder", "RemotePath", "copy_to", "path_of", "remote_files"]

ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://(.+)", re.DOTALL)
WEB = ("http", "https")
PATTERN = {True: "*[", False: "*?["}
"""What makes an address a pattern: on the web, a ? begins the query."""
KEYS = re.compile(
    r"(?:x-amz-|x-goog-|.*(?:signature|token|secret|passw|credential|accesskey|api-?key)).*|sig|key|auth|pwd|expires|se|sp"
    r"|sv|sr|st|skoid|sktid|skt|ske|sks|skv|spr",
    re.IGNORECASE | re.DOTALL,
)
"""Names of the fields of a query that are a key, or change with one: signed addresses of Amazon, Google and Azure."""
SILENCE_SECONDS = 60
CONNECT_SECONDS = 30

_addresses: dict[str, str] = {}
"""The whole address of each file whose name leaves out a part of it."""


class RemotePath(type(Path())):  # type: ignore[misc]
    """A path that is an address, and is written as one; pickled, it keeps the keys in it."""

    def __str__(self) -> str:
        parts = self.parts
        return f"{parts[0]}//{'/'.join(parts[1:])}" if parts and parts[0].endswith(":") else super().__str__()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_named, (type(self), str(self), _addresses.get(str(self))))


class RemoteFolder(RemotePath):
    """An address that stands for many files: it ends in a slash, or is a pattern."""


def path_of(text: str, *, patterns: bool = False) -> Path:
    """The path that `text` names: a file or folder here, or an address; with `patterns` an address may be one."""
    found = ADDRESS.fullmatch(text)
    if found is None or found[1] == "file":
        return Path(text if found is None else found[2])
    web = found[1] in WEB
    path = urlsplit(text).path if web else found[2]
    many = path.endswith("/") or (patterns and any(letter in path for letter in PATTERN[web]))
    public = _public(found[1], found[2])
    path = _named(RemoteFolder if many else RemotePath, public, None)
    if str(path) != text:
        _addresses[str(path)] = text
    return path


def _named(kind: type[RemotePath], public: str, address: str | None) -> RemotePath:
    if address is not None:
        _addresses[public] = address
    path: RemotePath = kind(public)
    return path


def _public(scheme: str, rest: str) -> str:
    """The address without its user, its password and the keys of its query."""
    place, slash, name = rest.partition("/")
    name, mark, query = name.partition("?") if scheme in WEB else (name, "", "")
    fields = [
        field for field in query.partition("#")[0].split("&") if field and not KEYS.fullmatch(field.split("=")[0])
    ]
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{name}{mark if fields else ''}{'&'.join(fields)}"


def remote_files(folder: RemoteFolder) -> list[RemotePath]:
    """The files in a remote folder and its folders, or that match the pattern, in order; hidden ones are left out.

    Raises ReadError.
    """
    with _told(folder):
        system, place = _opened(folder)
        if any(letter in place for letter in PATTERN[_is_web(folder)]):
            found = system.glob(place, detail=True)
            inside = [name for name, info in found.items() if info["type"] != "directory"]
            for name in (name for name, info in found.items() if info["type"] == "directory"):
                inside += system.find(name)
        else:
            inside = system.find(place)
        names = sorted({system.unstrip_protocol(name) for name in inside})
    paths = [path_of(name) for name in names if not name.rpartition("/")[2].startswith(".")]
    return [path for path in paths if isinstance(path, RemotePath) and not isinstance(path, RemoteFolder)]


def copy_to(path: RemotePath, local: Path) -> None:
    """Copy the file to `local`. Raises ReadError; NotRadiographError for more than 512 MB, before they are copied."""
    from fsspec.callbacks import Callback

    class Counted(Callback):
        """Stops the copy where it would be, or has become, too large."""

        def set_size(self, size: int | None) -> None:
            _check_length(path, size or 0)

        def relative_update(self, inc: int = 1) -> None:
            self.value += inc
            _check_length(path, self.value)

    with _told(path, local.parent):
        system, place = _opened(path)
        system.get_file(place, str(local), callback=Counted())


def _check_length(path: RemotePath, length: int) -> None:
    if length > LARGEST_BYTES:
        fault = f"more than {LARGEST_BYTES:,} bytes, which no radiograph has"
        not_radiograph(path, fault, "give a frontal chest radiograph")


def _is_web(path: RemotePath) -> bool:
    return path.parts[0].removesuffix(":") in WEB


def _opened(path: RemotePath) -> tuple[Any, str]:
    """What fsspec reads the address with, and the file's name there."""
    from fsspec.core import url_to_fs

    options: dict[str, Any] = {}
    if _is_web(path):
        import aiohttp

        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        options = {"client_kwargs": {"timeout": limits, "trust_env": True}}  # trust_env: a proxy, ~/.netrc
    system, place = url_to_fs(_addresses.get(str(path), str(path)), use_listings_cache=False, **options)
    return system, place


@contextlib.contextmanager
def _told(path: RemotePath, folder: Path | None = None) -> Iterator[None]:
    """What libraries of all kinds raise of an address becomes a ReadError that holds no key of it."""
    from cxrcad.core import ReadError

    scheme = path.parts[0].removesuffix(":")
    try:
        yield
    except ReadError:
        raise
    except ImportError:
        remedy = "pip install 'cxrcad[remote]'"
        if scheme not in (*WEB, "s3", "s3a"):
            remedy += " and the package that fsspec names for it"
        refuse(path, f"a package that reads {scheme}:// is not installed", remedy)
    except Exception as error:
        faults: list[Any] = [error, error.__cause__, error.__context__]
        status = next((one.status for one in faults if isinstance(getattr(one, "status", None), int)), 0)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            remedy = "make room, or set TMPDIR to a folder with room"
            refuse(path, f"cannot be copied to {folder or tempfile.gettempdir()} ({error.strerror})", remedy)
        if isinstance(error, ValueError) and "not known" in str(error):
            refuse(path, f"{scheme}:// is no kind of address that is known", "copy the file here")
        if status in (401, 403) or isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
            how = "~/.netrc or a signed address" if _is_web(path) else "as the store's own tools take them"
            shown = f" (HTTP {status})" if status else ""
            refuse(path, f"may not be read{shown}", f"give the user's credentials: {how}")
        if isinstance(error, FileNotFoundError) and status in (0, 404, 410) and not _unconnected(faults):
            remedy = "check the address; that of a folder ends in /"
            refuse(path, "there is no such file on the server", remedy)
        if any(isinstance(one, TimeoutError) for one in faults):
            refuse(path, "the server has not answered in time", "try again with --resume")
        reason = f"HTTP {status}" if status else _reason(faults)
        refuse(path, f"cannot be copied from the server ({reason})", "try again with --resume")


def _unconnected(faults: list[Any]) -> bool:
    return any(type(one).__name__.startswith("Client") and "Response" not in type(one).__name__ for one in faults)


def _reason(faults: list[Any]) -> str:
    """Why there was no connection, in the words of the system where it has some, else in those of its kind."""
    for one in faults:
        number = getattr(getattr(one, "os_error", one), "errno", None)
        if isinstance(number, int) and number > 0 and number in errno.errorcode:
            return os.strerror(number)
    return "the connection broke" if "Payload" in type(faults[0]).__name__ else "no connection"
