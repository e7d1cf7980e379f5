"""A DICOM listener: takes radiographs by C-STORE and answers C-ECHO (PS3.4 A and B), with pynetdicom.

An object is on the disk and in the queue before it is acknowledged. While it comes it is written to a file, and its
size, the size of each message unit and the time that a sender may be silent are bounded.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrcad.config import ListenerConfig
from cxrcad.core import CxrcadError, ReadError, UsageError
from cxrcad.files import Progress
from cxrcad.imaging.dicom_file import opened
from cxrcad.imaging.elements import texts
from cxrcad.imaging.view import CLASSES
from cxrcad.pacs.peers import UID, check_ae_title
from cxrcad.pacs.queue import Queue
from cxrcad.pacs.tls import reason_of, server_context

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Listener", "listening"]

FILM = re.compile(r"\.4\.10\d(\.\d)?$")
"""Transfer syntaxes of moving pictures (PS3.6 A): no radiograph comes in one."""
LARGEST_UNIT = 4 * 2**20
"""Bytes of a protocol data unit that are read; we ask for UNIT, and senders keep to that."""
UNIT = 128 * 2**10
META_LENGTH_AT = 140
"""Where a file that pynetdicom writes has the length of its meta information (PS3.10 7.1), four bytes."""
OUT_OF_RESOURCES, NO_MATCH, NOT_UNDERSTOOD = 0xA700, 0xA900, 0xC000
"""Statuses of an object that was not taken (PS3.4 B.2.3)."""
LONGEST_COMMENT = 64


class Listener:
    """A listener that puts what it takes into `queue`, between `start` and `stop`; `progress` is told of refusals."""

    def __init__(self, config: ListenerConfig, ae_title: str, seconds: float, queue: Queue, progress: Progress) -> None:
        """Raises UsageError for AE titles and TLS files that are none. `seconds`: how long a sender may be silent."""
        self.config, self.queue, self.progress, self.seconds = config, queue, progress, seconds
        allowed = config.allow if isinstance(config.allow, tuple) else (config.allow,) if config.allow else ()
        titles = [check_ae_title(title, "--allow") for title in allowed]
        self._context = server_context(config.tls_ca, config.tls_cert, config.tls_key)
        self._entity = self._made(check_ae_title(ae_title, "--ae-title"), titles)
        self._server: Any = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Listen, in threads of its own. UsageError where the address cannot be had."""
        from pynetdicom import evt

        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_CONN_OPEN, self._bound),
            (evt.EVT_CONN_CLOSE, self._ended),
            (evt.EVT_DIMSE_RECV, lambda event: setattr(event.assoc, "cxrcad_bytes", 0)),
            (evt.EVT_REJECTED, self._refused),
        ]
        place = (self.config.host, self.config.port)
        try:
            self._server = self._entity.make_server(
                place, evt_handlers=handlers, ssl_context=self._context, server_class=_server_class(self.progress)
            )
        except OSError as error:
            remedy = "name another --host or --port, or end what listens there"
            raise UsageError(f"--host {place[0]} --port {place[1]}: {error.strerror or error}; {remedy}") from None
        self._entity._servers.append(self._server)
        self._server.timeout_seconds = self.seconds
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="cxrcad listen", daemon=True).start()

    def stop(self) -> None:
        """Break off what comes in, and listen no more. What was acknowledged is in the queue."""
        self._entity.shutdown()

    def _made(self, ae_title: str, allowed: list[str]) -> Any:
        from pydicom.uid import AllTransferSyntaxes
        from pynetdicom import AE, AllStoragePresentationContexts

        entity = AE(ae_title)
        entity.require_called_aet, entity.require_calling_aet = True, allowed
        entity.maximum_associations, entity.maximum_pdu_size = self.config.associations, UNIT
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = self.seconds
        still = [uid for uid in AllTransferSyntaxes if not FILM.search(uid)]
        for uid in (context.abstract_syntax for context in AllStoragePresentationContexts):
            if uid is not None and CLASSES.fullmatch(uid):
                entity.add_supported_context(uid, still)
        entity.add_supported_context("1.2.840.10008.1.1")  # C-ECHO
        return entity

    def _bound(self, event: Any) -> None:
        """Bound what a sender may send; pynetdicom would take any length that it states, and wait for it for ever."""
        association, wire = event.assoc, event.assoc.dul.socket
        association.cxrcad_bytes = 0
        wire.socket.settimeout(self.seconds)
        receive, most = wire.recv, self.config.largest_mb * 1_000_000
        do_action = association.dul.state_machine.do_action

        def bounded(length: int) -> bytearray:
            association.cxrcad_bytes += length
            sent = association.cxrcad_bytes
            if length > LARGEST_UNIT or sent > most + LARGEST_UNIT:
                unit = f"a unit of {length:,} bytes; {LARGEST_UNIT:,} are allowed"
                whole = f"an object of more than {most:,} bytes; --largest-mb {self.config.largest_mb} is allowed"
                self._say(event, f"refused {unit if length > LARGEST_UNIT else whole}")
                _cut(wire)
                wire.recv = lambda length: bytearray()  # it goes on to read: nothing came
                raise OSError("refused")
            data: bytearray = receive(length)
            return data

        def guarded(action: str) -> None:
            try:
                do_action(action)
            except Exception as error:  # what is no DICOM leads anywhere
                fault = f"what was sent is no DICOM ({type(error).__name__})"
                if isinstance(error, OSError):  # of the file that is written as it comes
                    fault = (
                        f"{self.queue.incoming}: cannot be written ({error.strerror or error}); make room on the disk"
                    )
                self._say(event, f"broke off: {fault}")
                self._ended(event)
                _cut(wire)
                association.dul.state_machine.current_state = "Sta1"
                association.is_aborted, association.is_established, association._kill = True, False, True

        wire.recv, association.dul.state_machine.do_action = bounded, guarded

    def _ended(self, event: Any) -> None:
        """Remove the file of an object that did not come to its end."""
        message = event.assoc.dimse.message
        if message is not None and getattr(message, "_data_set_file", None):
            with suppress(OSError):  # as on a full disk
                message._data_set_file.close()
            with suppress(OSError):
                os.unlink(message._data_set_file.name)

    def _refused(self, event: Any) -> None:
        answer = event.assoc.acceptor.primitive
        reason = answer.reason_str if answer is not None else "refused"
        self._say(event, f"refused: {reason[:1].lower()}{reason[1:]}")

    def _say(self, event: Any, words: str) -> None:
        requestor = event.assoc.requestor
        title = str(getattr(requestor.primitive, "calling_ae_title", "") or "").strip()
        self.progress.note(f"{title + ' at ' if title else ''}{requestor.address}: {words}")

    def _store(self, event: Any) -> Dataset | int:
        """Take an object into the queue; the status that the sender gets."""
        uid, sender = str(event.request.AffectedSOPInstanceUID or ""), event.assoc.requestor.ae_title.strip()
        try:
            file = Path(event.dataset_path)
            _check(file, uid)
            said = self.queue.add(uid, _content_sha256(file), file, sender, move=True)
        except ReadError as error:
            sentence = str(error).replace(str(file), uid or "an object")
            self._say(event, f"refused {sentence}")
            return _status(NO_MATCH if "names itself" in sentence else NOT_UNDERSTOOD, sentence)
        except (CxrcadError, OSError) as error:
            self._say(event, f"did not take {uid}: {error}")
            return _status(OUT_OF_RESOURCES, str(error))
        self.progress.note(said or f"{uid}: received from {sender}")
        return 0x0000


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Listens while it is open; what comes in is written into the queue's folder as it comes."""
    from pynetdicom import _config

    before = tempfile.tempdir, _config.STORE_RECV_CHUNKED_DATASET, _config.LOG_HANDLER_LEVEL
    tempfile.tempdir = str(listener.queue.incoming.absolute())
    _config.STORE_RECV_CHUNKED_DATASET, _config.LOG_HANDLER_LEVEL = True, "none"
    try:
        listener.start()
        try:
            yield
        finally:
            listener.stop()
    finally:
        tempfile.tempdir, _config.STORE_RECV_CHUNKED_DATASET, _config.LOG_HANDLER_LEVEL = before


def _check(file: Path, uid: str) -> None:
    """Raise ReadError for what is no whole header, or of another name than it was sent under."""
    if not UID.fullmatch(uid):
        raise ReadError(f"{file}: was sent under a name that is no UID; send it under its SOP instance UID")
    with opened(file) as dicom:
        own = "".join(texts(dicom.dataset, "SOPInstanceUID")[:1])
    if own != uid:
        raise ReadError(f"{file}: names itself {own or 'nothing'}; send it under its own SOP instance UID")


def _content_sha256(file: Path) -> str:
    """SHA-256 of the data set, without the meta information that this program wrote before it."""
    with file.open("rb") as content:
        content.seek(META_LENGTH_AT)
        length = int.from_bytes(content.read(4), "little")
        content.seek(META_LENGTH_AT + 4 + length)
        return hashlib.file_digest(content, "sha256").hexdigest()


def _status(value: int, sentence: str) -> Dataset:
    from pydicom.dataset import Dataset

    status = Dataset()
    status.Status = value
    status.ErrorComment = sentence.encode("ascii", "replace").decode().replace("\\", "/")[:LONGEST_COMMENT]
    return status


def _cut(wire: Any) -> None:
    """Close a connection at once."""
    with suppress(OSError, AttributeError):
        wire.socket.shutdown(2)


def _server_class(progress: Progress) -> Callable[..., Any]:
    """The server of pynetdicom, whose other senders do not wait while one begins TLS."""
    from pynetdicom.transport import AssociationServer, ThreadedAssociationServer

    class Server(ThreadedAssociationServer):
        """Shakes hands in the thread of the connection."""

        daemon_threads = True
        timeout_seconds = 60.0

        def get_request(self) -> Any:
            wire, address = super(AssociationServer, self).get_request()
            if self.ssl_context:
                wire.settimeout(self.timeout_seconds)
                wire = self.ssl_context.wrap_socket(wire, server_side=True, do_handshake_on_connect=False)
            return wire, address

        def finish_request(self, request: Any, client_address: Any) -> None:
            if self.ssl_context:
                request.do_handshake()
            super().finish_request(request, client_address)

        def handle_error(self, request: Any, client_address: Any) -> None:
            error = sys.exc_info()[1]
            fault = f"TLS fails ({reason_of(error)})" if isinstance(error, ssl.SSLError) else "broke off"
            progress.note(f"{client_address[0]}: {fault} before it asked for an association")

    return Server
