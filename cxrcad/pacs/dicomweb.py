"""DICOMweb (PS3.18): the radiographs of a study by QIDO-RS and WADO-RS, and storing objects by STOW-RS."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from cxrcad.core import PeerError, UsageError, counted
from cxrcad.imaging.view import CLASSES, MANUFACTURER
from cxrcad.pacs.peers import UID, check_installed, read_objects

__all__ = ["Server"]

SECONDS = 60.0
"""How long a server may be silent."""
SOP_CLASS, SOP_INSTANCE, SERIES = "00080016", "00080018", "0020000E"
REMEDIES = {
    401: "it asks for a name and password; write https://NAME:PASSWORD@host/..., or put them into ~/.netrc",
    403: "it does not allow this; ask who runs it",
    404: "it has no such study, or DICOMweb stands at another path; check --dicomweb, --study and --series",
}


class Server:
    """A DICOMweb server at `url`; a name and password in it are used and not told."""

    def __init__(self, url: str) -> None:
        """Raises UsageError for what is no such URL, and where the packages are missing."""
        check_installed(["dicomweb_client", "requests", "highdicom"], "--dicomweb")
        import requests
        from dicomweb_client import DICOMwebClient

        try:
            parts = urlsplit(url)
            place = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(parts.scheme)
            self.url = urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))
            session = requests.Session()
            if parts.username:
                session.auth = (unquote(parts.username), unquote(parts.password or ""))
            self._client = DICOMwebClient(self.url, session=session, timeout=SECONDS)
            self._client.set_http_retry_params(max_attempts=2, wait_exponential_multiplier=500)  # else 30 s for a typo
        except ValueError:
            raise UsageError("--dicomweb: is no URL of a server; write https://host/dicom-web") from None

    def fetch(self, study: str, series: str | None, folder: Path) -> list[Path]:
        """Write the radiographs of a study, or of one series of it, into `folder`, each named by its UID.

        Raises UsageError for what is no UID, PeerError.
        """
        for option, uid in (("--study", study), ("--series", series)):
            if uid is not None and not UID.fullmatch(uid):
                raise UsageError(f"{option} {uid}: is no UID; it has digits and points, 64 at most")
        with self._sentences():
            found = self._instances(study, series)
            named = [(_text(one, SERIES) or series, _text(one, SOP_INSTANCE)) for one in found if _is_radiograph(one)]
            files = []
            for its_series, uid in named:
                if its_series is None or not UID.fullmatch(uid):
                    raise ValueError("an instance without its UIDs")
                any_syntax = (("application/dicom", "*"),)
                dataset = self._client.retrieve_instance(study, its_series, uid, media_types=any_syntax)
                if dataset.get("Manufacturer") == MANUFACTURER:
                    continue  # a capture of our own
                files.append(folder / f"{uid}.dcm")
                dataset.save_as(files[-1], enforce_file_format=True)
        if not found:
            what = f"series {series} in study {study}" if series else f"study {study}"
            raise PeerError(f"{self.url}: has no {what}; check --study" + " and --series" * bool(series))
        if not files:
            held = counted(len(found), "object")
            raise PeerError(f"{self.url}: study {study} has {held}, and no frontal chest radiograph can be among them")
        return files

    def _instances(self, study: str, series: str | None) -> list[Any]:
        """All instances, of which a server may tell a part at a time (PS3.18 8.3.4)."""
        found: dict[str, Any] = {}
        while True:
            page = self._client.search_for_instances(study, series, offset=len(found) or None)
            before = len(found)
            found.update((_text(one, SOP_INSTANCE), one) for one in page)
            if len(found) == before:
                return list(found.values())

    def store(self, files: Sequence[Path]) -> None:
        """Store DICOM files. Raises PeerError where one was not stored; the others may be. ReadError."""
        datasets = read_objects(files)
        with self._sentences():
            answer = self._client.store_instances(datasets)
        failed = answer.get("FailedSOPSequence") or ()
        if failed:
            reasons = ", ".join(dict.fromkeys(f"0x{int(one.get('FailureReason') or 0):04X}" for one in failed))
            raise PeerError(f"{self.url}: did not store {len(failed)} of {len(files)} objects (reason {reasons})")

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """What goes wrong on the way as one PeerError."""
        from requests import exceptions

        try:
            yield
        except exceptions.SSLError as error:
            remedy = "check the certificate; REQUESTS_CA_BUNDLE names a file with an authority of your own"
            raise PeerError(f"{self.url}: TLS fails ({_cause(error)}); {remedy}") from None
        except exceptions.HTTPError as error:
            answer: Any = error.response
            remedy = REMEDIES.get(answer.status_code, "look into its log")
            raise PeerError(f"{self.url}: answers {answer.status_code} {answer.reason}; {remedy}") from None
        except exceptions.Timeout:
            raise PeerError(f"{self.url}: says nothing for {SECONDS:g} s; try again when it is less busy") from None
        except exceptions.ConnectionError:
            raise PeerError(
                f"{self.url}: cannot be reached, or breaks off; check that it runs, host and port"
            ) from None
        except Exception as error:  # what is no DICOMweb leads anywhere in its client and in pydicom
            if isinstance(error, OSError) and not isinstance(error, exceptions.RequestException):
                raise  # of a disk of this machine
            fault = (str(error).strip().splitlines() or [type(error).__name__])[0][:100]
            raise PeerError(f"{self.url}: its answer is no DICOMweb ({fault}); check the path in --dicomweb") from None


def _text(found: Any, tag: str) -> str:
    """The first value of an element in DICOM JSON."""
    values = found.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _is_radiograph(found: Any) -> bool:
    """Whether an instance may be a radiograph: it is of such a class, or the server does not say."""
    kind = _text(found, SOP_CLASS)
    return not kind or CLASSES.fullmatch(kind) is not None


def _cause(error: BaseException) -> str:
    """OpenSSL's own words, which requests wraps several times."""
    found = re.search(r"\] (.+?) \(_ssl", str(error))
    return found[1] if found else type(error).__name__
