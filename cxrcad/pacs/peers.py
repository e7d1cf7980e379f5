"""DICOM peers: what `AE@host:port` names, and storing objects there by C-STORE (PS3.4 B)."""

from __future__ import annotations

import importlib.util
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrcad.core import PeerError, ReadError, UsageError
from cxrcad.imaging.faults import reason
from cxrcad.pacs.tls import remember_faults

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["UID", "Peer", "check_ae_title", "check_installed", "peer_of", "read_objects", "store"]

AE_TITLE = re.compile(r"(?=.*\S)[ -\[\]-~]{1,16}")
"""1 to 16 printable characters without a backslash, not all blank (PS3.5 6.2)."""
UID = re.compile(r"[0-9.]{1,64}")
ADDRESS = re.compile(r"(?P<title>[^@]+)@(?P<host>\[[0-9A-Fa-f:.]+\]|[^@:\[\]/\s]+):(?P<port>[0-9]{1,5})")
WARNINGS = range(0xB000, 0xC000)
"""Statuses of an object that is stored, with a remark on it (PS3.4 B.2.3)."""
REASONS = {
    0xA7: "out of resources",
    0xA9: "the object does not match its SOP class",
    0xC0: "it cannot understand the object",
    0x01: "it refuses",
}
"""What a failure's first byte means (PS3.4 B.2.3, PS3.7 C)."""


@dataclass(frozen=True)
class Peer:
    """An application entity of the network; with `tls` it is spoken to by that."""

    title: str
    host: str
    port: int
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return f"{self.title}@{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def peer_of(text: str, option: str, tls: ssl.SSLContext | None = None) -> Peer:
    """The peer that AE@host:port names. UsageError."""
    found = ADDRESS.fullmatch(text)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise UsageError(f"{option} {text}: names no peer; write AE@host:port, as PACS@pacs.example:104")
    return Peer(check_ae_title(found["title"], option), found["host"].strip("[]"), int(found["port"]), tls)


def check_ae_title(title: str, option: str) -> str:
    """An AE title without the blanks around it. UsageError."""
    if not AE_TITLE.fullmatch(title):
        raise UsageError(f"{option} {title}: is no AE title; it takes 1 to 16 ASCII characters, no backslash")
    return title.strip()


def check_installed(packages: Sequence[str], option: str) -> None:
    """Import packages of the extra `dicom`, before threads do; raise UsageError where one is missing.

    Two threads that import parts of pydicom at once may each find the other's part unfinished.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            remedy = "install it with pip install 'cxrcad[dicom]'"
            raise UsageError(f"{option}: the package {package.replace('_', '-')} is missing; {remedy}")
        importlib.import_module(package)


def read_objects(files: Sequence[Path]) -> list[Dataset]:
    """The DICOM objects in files that this program wrote. ReadError."""
    from pydicom import dcmread

    datasets: list[Dataset] = []
    for file in files:
        try:
            datasets.append(dcmread(file))
        except Exception as error:  # pydicom raises whatever damage leads to
            raise ReadError(f"{file}: cannot be read ({reason(error)})") from None
    return datasets


def store(peer: Peer, files: Sequence[Path], ae_title: str, seconds: float) -> None:
    """Store DICOM files at a peer, in one association. `seconds` is how long it may be silent.

    Raises PeerError where one was not stored; the others may be. ReadError.
    """
    datasets = read_objects(files)
    association = _associated(peer, datasets, ae_title, seconds)
    try:
        faults = [fault for dataset in datasets if (fault := _fault(association, dataset, seconds))]
    finally:
        if association.is_established:
            association.release()
    if faults:
        raise PeerError(f"{peer}: {'; '.join(dict.fromkeys(faults))}")


def _associated(peer: Peer, datasets: Sequence[Dataset], ae_title: str, seconds: float) -> Any:
    from pynetdicom import AE, _config, evt

    _config.LOG_HANDLER_LEVEL = "none"  # it would put every message into words
    entity = AE(ae_title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = seconds
    for kind, syntax in dict.fromkeys((one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in datasets):
        entity.add_requested_context(kind, syntax)
    reached: list[object] = []
    handlers: list[Any] = [(evt.EVT_CONN_OPEN, reached.append)]
    faults: list[str] = []
    if peer.tls is not None:
        remember_faults(peer.tls, faults)
    tls = None if peer.tls is None else (peer.tls, peer.host)
    try:
        association = entity.associate(peer.host, peer.port, ae_title=peer.title, evt_handlers=handlers, tls_args=tls)
    except OSError as error:  # a name that no machine has
        raise PeerError(f"{peer}: cannot be reached ({error.strerror or error})") from None
    if association.is_established:
        return association
    if association.is_rejected:
        answer: Any = association.acceptor.primitive
        raise PeerError(
            f"{peer}: refuses {ae_title} as {peer.title} ({answer.reason_str[:1].lower()}{answer.reason_str[1:]})"
        )
    if faults:
        raise PeerError(
            f"{peer}: TLS fails ({faults[0]}); check the peer's certificate, its host's name and --send-tls-ca"
        )
    if not reached:
        raise PeerError(f"{peer}: cannot be reached; check that it runs, its address and its port")
    if association.rejected_contexts:
        names = dict.fromkeys(one.SOPClassUID.name.removesuffix(" Storage") for one in datasets)
        raise PeerError(f"{peer}: takes no {', no '.join(names)}")
    raise PeerError(f"{peer}: breaks off, or says nothing for {seconds:g} s, when an association is asked for")


def _fault(association: Any, dataset: Dataset, seconds: float) -> str | None:
    """Why an object was not stored."""
    name = dataset.SOPClassUID.name.removesuffix(" Storage")
    if not association.is_established:
        return "broke off before all was stored"
    if not any(context.abstract_syntax == dataset.SOPClassUID for context in association.accepted_contexts):
        return f"takes no {name}"
    try:
        answer = association.send_c_store(dataset)
    except (ValueError, RuntimeError):  # it accepts the class in other encodings only, or broke off in this moment
        return f"takes no {name} in {dataset.file_meta.TransferSyntaxUID.name}, or broke off"
    status = answer.get("Status")
    if status is None:
        return f"broke off, or said nothing for {seconds:g} s, while {name} was sent"
    if status == 0 or status in WARNINGS:
        return None
    comment = str(answer.get("ErrorComment", "")).strip()
    reason = REASONS.get(status >> 8, "it failed")
    return f"did not store {name}: status 0x{status:04X}, {reason}" + (f" ({comment})" if comment else "")
