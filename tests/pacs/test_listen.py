"""`cxrcad listen`: what is acknowledged comes to the peer once, whatever happens; what is wrong is refused."""

from __future__ import annotations

import errno
import json
import re
import signal
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from cxrcad.config import ListenerConfig
from cxrcad.core import PeerError, UsageError
from cxrcad.pacs.listen import Listener, listening
from cxrcad.pacs.peers import peer_of, store
from cxrcad.pacs.queue import Queue, listing
from cxrcad.pacs.tls import client_context
from tests.pacs.conftest import WAIT_SECONDS, Archive, free_port, radiograph, send, until

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")

QUICK = ("--port", 0, "--retry-seconds", 0.05, "--network-timeout", 20)


def states(tmp_path: Path) -> dict[str, int]:
    return {state: number for state, number in listing(tmp_path / "cxrcad-queue")[0].items() if number}


@pytest.mark.slow
def test_200_sends_in_4_associations_with_kills_in_the_middle_lose_and_double_nothing(run, archive, tmp_path):
    images = [radiograph(number) for number in range(200)]
    # a report takes five times as long to make; on a busy machine a sender may be silent for long
    light = (*QUICK, "--network-timeout", WAIT_SECONDS, "--store", "gsps", "--send-to", archive.peer)
    listener = run("listen", *light)
    acknowledged: list[str] = []

    def sender(part: list, port: int) -> None:
        for image, status in zip(part, send(port, part), strict=False):
            assert status == 0
            acknowledged.append(image.SOPInstanceUID)

    def all_of(images: list, port: int) -> list[threading.Thread]:
        threads = [threading.Thread(target=sender, args=(images[start::4], port)) for start in range(4)]
        for thread in threads:
            thread.start()
        return threads

    threads = all_of(images, listener.port)
    listener.wait_for(": received from MODALITY", 50)
    listener.end(signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert 0 < len(acknowledged) < 200
    held = set(acknowledged)

    second = run("listen", *light)
    second.wait_for("to go on with")
    left = [image for image in images if image.SOPInstanceUID not in held]
    known = [image for image in images if image.SOPInstanceUID in held][:20]
    for thread in all_of(left + known, second.port):  # as a modality does that got no answer
        thread.join()
    assert set(acknowledged) == {image.SOPInstanceUID for image in images}, second.said
    assert second.said.count("came again from MODALITY, is ") >= len(known)
    second.wait_for(": sent to ", 20)
    second.end(signal.SIGKILL)
    assert states(tmp_path)["sent"] < 200

    third = run("listen", *light)
    until(lambda: states(tmp_path) == {"sent": 200}, "all sent")
    sources = {
        one.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID for one in archive.came
    }
    assert sources == {image.SOPInstanceUID for image in images}
    assert len(set(archive.uids)) == 200  # a PACS keeps one of each
    assert len(archive.uids) <= 202  # one may have been on its way at each kill
    assert list((tmp_path / "cxrcad-queue").rglob("*.dcm")) == []
    assert third.end() == 143
    assert third.said.endswith("cxrcad: stopped; nothing is left to do\n")


def test_boxes_json_and_chosen_objects_go_to_the_folder_and_the_peer(run, archive, tmp_path, boxes_schema):
    import jsonschema

    listener = run("listen", *QUICK, "--send-to", archive.peer, "--out", "results", "--store", "sr,seg")
    image = radiograph(1)
    assert send(listener.port, [image]) == [0]
    until(lambda: len(archive.came) == 2, "two objects at the peer")
    listener.wait_for(": sent to ")
    listener.wait_for(f"{image.SOPInstanceUID}: sent to results and {archive.peer}")
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == [
        f"{image.SOPInstanceUID}.{name}" for name in ("boxes.json", "seg.dcm", "sr.dcm")
    ]
    document = json.loads((tmp_path / "results" / f"{image.SOPInstanceUID}.boxes.json").read_text())
    jsonschema.validate(document, boxes_schema)
    assert document["images"][0]["path"] == image.SOPInstanceUID
    assert len(document["images"][0]["findings"]) == 1
    assert {one.Modality for one in archive.came} == {"SR", "SEG"}
    assert {one.StudyInstanceUID for one in archive.came} == {image.StudyInstanceUID}
    assert listener.end(signal.SIGINT) == 130


def test_a_lateral_view_and_a_capture_of_our_own_are_skipped_other_content_is_said_and_no_report_is_taken(
    run, archive, tmp_path
):
    listener = run("listen", *QUICK, "--send-to", archive.peer, "--store", "sr,sc")
    lateral, first, other = radiograph(1), radiograph(2), radiograph(2)
    lateral.ViewPosition = "LL"
    del lateral.ViewCodeSequence
    other.PatientName = "Corrected^Name"
    assert send(listener.port, [lateral, first]) == [0, 0]
    listener.wait_for(": sent to ")
    until(lambda: states(tmp_path) == {"sent": 1, "skipped": 1}, "one sent, one skipped")
    listener.wait_for("skipped: ")
    assert send(listener.port, [other]) == [0]
    listener.wait_for("came again with other content from MODALITY; it is detected in again")
    until(lambda: len(archive.came) == 4, "sent again")
    assert {str(one.PatientName) for one in archive.came[2:]} == {"Corrected^Name"}
    assert len(set(archive.uids)) == 2
    of = {one.Modality: one for one in archive.came}
    assert send(listener.port, [of["SR"]]) == []
    assert send(listener.port, [of["OT"]]) == [0]
    until(lambda: states(tmp_path) == {"sent": 1, "skipped": 2}, "the capture skipped")
    listener.wait_for(f"skipped: {of['OT'].SOPInstanceUID}: no frontal chest radiograph by its header ")
    listener.wait_for("(Manufacturer cxrcad, so a picture of our own results)")


def test_a_peer_that_is_down_refuses_breaks_off_or_is_slow_is_tried_again_then_named(run, tmp_path):
    port = free_port()
    peer = f"ARCHIVE@127.0.0.1:{port}"
    listener = run("listen", "--port", 0, "--retry-seconds", 0.05, "--network-timeout", 1, "--tries", 2,
                   "--send-to", peer)  # fmt: skip
    assert send(listener.port, [radiograph(1)]) == [0]
    failed = f"tried 2 times, {peer}: "

    def last() -> str:
        until(lambda: states(tmp_path) == {"failed": 1}, "failed")
        return listing(tmp_path / "cxrcad-queue")[1][0].said

    assert last() == f"{failed}cannot be reached; check that it runs, its address and its port"
    archive = Archive(port)
    try:
        for seconds, drop, status, words in (
            (0, False, 0xA700, "did not store Comprehensive SR: status 0xA700, out of resources"),
            (0, True, 0, "broke off, or said nothing for 1 s, while Comprehensive SR was sent"),
            (2.5, False, 0, "broke off, or said nothing for 1 s, while Comprehensive SR was sent"),
        ):
            archive.seconds, archive.drop, archive.status = seconds, drop, status
            retried(tmp_path)
            assert last() == f"{failed}{words}"
        archive.seconds, archive.drop, archive.status = 0, False, 0
        archive.came.clear()
        retried(tmp_path)
        until(lambda: states(tmp_path) == {"sent": 1}, "sent")
        assert len(set(archive.uids)) == 1  # one that was answered late may have come after the clearing
    finally:
        archive.server.shutdown()
    listener.wait_for("`cxrcad queue --retry` tries it again")


def retried(folder: Path) -> None:
    from cxrcad.pacs.queue import retry

    assert retry(folder / "cxrcad-queue") == 1


def test_a_peer_of_another_title_or_without_our_objects_is_named(archive, tmp_path):
    radiograph(1).save_as(tmp_path / "scan.dcm", enforce_file_format=True)
    peer = archive.peer.replace("ARCHIVE", "OTHER")
    with pytest.raises(PeerError, match=rf"{peer}: refuses CXRCAD as OTHER \(called AE title not recognised\)"):
        store(peer_of(peer, "--send-to"), [tmp_path / "scan.dcm"], "CXRCAD", 30)
    archive.server.contexts = archive.server.contexts[:1]
    with pytest.raises(PeerError, match=f"{archive.peer}: takes no Digital X-Ray Image"):
        store(peer_of(archive.peer, "--send-to"), [tmp_path / "scan.dcm"], "CXRCAD", 30)


def unit(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBL", kind, 0, len(body)) + body


def talk(port: int, *parts: bytes) -> None:
    """Say bytes to the port, and wait until it hangs up or says something."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        try:
            for part in parts:
                wire.sendall(part)
            wire.shutdown(socket.SHUT_WR)
            while wire.recv(4096):
                pass
        except OSError:
            pass


def test_wrong_titles_garbage_and_objects_too_large_are_refused_and_the_listener_lives(run, archive, tmp_path):
    listener = run("listen", *QUICK, "--allow", "MODALITY", "--allow", "OTHER", "--largest-mb", 5,
                   "--send-to", archive.peer)  # fmt: skip
    port = listener.port
    listener.wait_for("takes from MODALITY, OTHER")
    assert send(port, [radiograph(1)], title="STRANGER") == []
    listener.wait_for("STRANGER at 127.0.0.1: refused: calling AE title not recognised")
    assert send(port, [radiograph(1)], called="NOBODY") == []
    listener.wait_for("refused: called AE title not recognised")

    for parts in (
        [b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"],
        [bytes(range(256)) * 40],
        [unit(1, b"\0" * 10)],
        [unit(1, b"\xff" * 3000)],
        [unit(4, b"\xff" * 100)],
        [b""],
        [struct.pack(">BBL", 4, 0, 0xFFFFFFFF), b"x" * 100_000],  # a unit of 4 GB is promised
        [struct.pack(">BBL", 1, 0, 0xFFFFFFFF), b"x" * 100_000],
    ):
        talk(port, *parts)
    broken_in_an_association(port)
    listener.wait_for("127.0.0.1: refused a unit of 4,294,967,295 bytes; 4,194,304 are allowed", 2)
    assert "refused an object" not in listener.said  # said once of each

    before = memory_mb(listener.process.pid)
    large = radiograph(2)
    large.Rows, large.Columns = 8000, 8000
    large.PixelData = bytes(128_000_000)
    assert send(port, [large]) == []
    listener.wait_for("refused an object of more than 5,000,000 bytes; --largest-mb 5 is allowed")
    assert memory_mb(listener.process.pid) - before < 40
    until(lambda: list((tmp_path / "cxrcad-queue" / "incoming").iterdir()) == [], "nothing left of it")

    assert send(port, [radiograph(4)]) == [0]
    until(lambda: states(tmp_path) == {"sent": 1}, "sent")
    assert listener.end() == 143


def test_an_object_that_cannot_be_written_as_it_comes_is_told_and_leaves_nothing(monkeypatch, tmp_path):
    import pynetdicom.dimse_messages

    real = tempfile.NamedTemporaryFile

    def full(**named):
        file = real(**named)
        write = file.write

        def until_pixels(data):
            if len(data) > 1000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(data)

        file.write = until_pixels
        return file

    monkeypatch.setattr(pynetdicom.dimse_messages, "NamedTemporaryFile", full)
    with listener_in(tmp_path) as (listener, notes):
        assert send(listener.port, [radiograph(1)]) == []
        monkeypatch.undo()
        assert send(listener.port, [radiograph(1)]) == [0]
        incoming = listener.queue.incoming
        sentence = f"{incoming}: cannot be written (No space left on device); make room on the disk"
        assert notes[0] == f"MODALITY at 127.0.0.1: broke off: {sentence}"
        assert list(incoming.iterdir()) == []


def memory_mb(process: int) -> float:
    line = next(line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def broken_in_an_association(port: int) -> None:
    """Ask for an association as is right, then send what no message is."""
    from pynetdicom import AE

    for body in (b"", b"\0\0\0\2\1", b"\0\0\0\6\1\3abcd", b"\0\0\0\6\x63\3abcd", b"\xff" * 64):
        entity = AE("MODALITY")
        entity.add_requested_context(radiograph(1).SOPClassUID)
        association = entity.associate("127.0.0.1", port, ae_title="CXRCAD")
        assert association.is_established
        association.dul.socket.socket.sendall(unit(4, body))
        until(lambda one=association: not one.is_established, "the end of the association")


@contextmanager
def listener_in(folder: Path, **settings) -> Iterator[tuple[Listener, list[str]]]:
    """A listener in this process, without the work on its queue, and what it says."""
    notes: list[str] = []
    with Queue(folder / "queue") as queue:
        listener = Listener(ListenerConfig(port=0, **settings), "CXRCAD", 30, queue, SimpleNamespace(note=notes.append))
        with listening(listener):
            yield listener, notes


def test_more_associations_than_are_allowed_are_refused(tmp_path):
    from pynetdicom import AE

    entity = AE("MODALITY")
    entity.add_requested_context("1.2.840.10008.1.1")
    with listener_in(tmp_path, associations=1) as (listener, notes):
        first = entity.associate("127.0.0.1", listener.port, ae_title="CXRCAD")
        assert first.send_c_echo().Status == 0
        assert entity.associate("127.0.0.1", listener.port, ae_title="CXRCAD").is_rejected
        assert notes == ["MODALITY at 127.0.0.1: refused: local limit exceeded"]
        first.release()
        until(lambda: entity.associate("127.0.0.1", listener.port, ae_title="CXRCAD").is_established, "a place")


def test_with_tls_one_that_does_not_begin_it_holds_up_no_other_and_the_report_goes_out_by_tls(
    run, archives, certificate
):
    from pynetdicom import AE

    archive = archives(served(certificate))
    keys = ("--tls-cert", certificate / "cert.pem", "--tls-key", certificate / "key.pem")
    sent = ("--send-to", archive.peer, "--send-tls-ca", certificate / "cert.pem")
    listener = run("listen", *QUICK, *keys, *sent)
    context = ssl.create_default_context(cafile=certificate / "cert.pem")
    with socket.create_connection(("127.0.0.1", listener.port)):  # says nothing
        entity = AE("MODALITY")
        image = radiograph(1)
        entity.add_requested_context(image.SOPClassUID)
        tls = (context, "localhost")
        association = entity.associate("127.0.0.1", listener.port, ae_title="CXRCAD", tls_args=tls)
        assert association.is_established
        assert association.send_c_store(image).Status == 0
        association.release()
    until(lambda: len(archive.came) == 1, "the report")
    assert send(listener.port, [image]) == []  # without TLS
    listener.wait_for("127.0.0.1: TLS fails (")
    assert listener.end() == 143


def served(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return context


def test_a_peer_whose_tls_fails_is_named_with_the_reason(archives, certificate, tmp_path):
    cert, key = certificate / "cert.pem", certificate / "key.pem"
    demands = served(certificate)
    demands.verify_mode = ssl.CERT_REQUIRED
    demands.load_verify_locations(cert)
    radiograph(1).save_as(tmp_path / "scan.dcm", enforce_file_format=True)

    def sent(archive: Archive, *, tls: ssl.SSLContext | None) -> str:
        try:
            store(peer_of(archive.peer, "--send-to", tls), [tmp_path / "scan.dcm"], "CXRCAD", 30)
        except PeerError as error:
            return str(error).removeprefix(f"{archive.peer}: ")
        return f"{len(archive.came)} came"

    trusted, stranger = client_context(cert, None, None), ssl.create_default_context()
    plain, hidden, strict = archives(), archives(served(certificate)), archives(demands)
    assert sent(hidden, tls=trusted) == "1 came"
    assert sent(strict, tls=client_context(cert, cert, key)) == "1 came"
    assert sent(hidden, tls=stranger).startswith("TLS fails (self-signed certificate); check the peer's certificate, ")
    assert sent(plain, tls=trusted).startswith("TLS fails (")
    for archive, tls in ((strict, trusted), (hidden, None)):
        assert sent(archive, tls=tls).startswith("breaks off, or says nothing for 30 s, when an association is asked")


def test_a_listener_with_an_authority_takes_only_from_senders_that_it_vouches_for(certificate, tmp_path):
    from pynetdicom import AE

    cert, key = certificate / "cert.pem", certificate / "key.pem"
    image = radiograph(1)
    with listener_in(tmp_path, tls_cert=cert, tls_key=key, tls_ca=cert) as (listener, notes):
        for own, taken in ((key, True), (None, False)):
            entity = AE("MODALITY")
            entity.add_requested_context(image.SOPClassUID)
            tls = (client_context(cert, cert if own else None, own), "127.0.0.1")
            association = entity.associate("127.0.0.1", listener.port, ae_title="CXRCAD", tls_args=tls)
            assert association.is_established == taken
            if taken:
                assert association.send_c_store(image).Status == 0
                association.release()
        assert listener.queue.counts()["received"] == 1
        fault = "127.0.0.1: TLS fails (peer did not return a certificate) before it asked for an association"
        until(lambda: fault in notes, fault)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "results go nowhere; name a peer with --send-to AE@host:port, a folder with --out, or both"),
        (("--send-to", "PACS"), "--send-to PACS: names no peer; write AE@host:port, as PACS@pacs.example:104"),
        (("--send-to", "PACS@host:0"), "--send-to PACS@host:0: names no peer"),
        (("--send-to", f"{'P' * 17}@host:104"), "is no AE title; it takes 1 to 16 ASCII characters"),
        (("--out", "out", "--ae-title", "C\\D"), "--ae-title C\\D: is no AE title"),
        (("--out", "out", "--allow", "   "), "--allow    : is no AE title"),
        (("--out", "out", "--store", "sr,pdf"), "there is no object 'pdf'; choose from sr, cad-sr, seg, gsps, sc, or"),
        (("--send-to", "PACS@host:104", "--store", "none"), "gets nothing with --store none; name an object"),
        (("--out", "out", "--tls-key", "key.pem"), "--tls-key key.pem: needs the listener's certificate too"),
        (("--out", "out", "--tls-ca", "ca.pem"), "--tls-ca ca.pem: needs the listener's certificate too"),
        (("--out", "out", "--tls-cert", "none.pem"), "no certificate with its key in PEM (No such file or directory)"),
        (("--send-to", "P@h:104", "--send-tls-ca", "none.pem"), "no certificate of an authority in PEM (No such file"),
        (("--send-to", "P@h:104", "--send-tls-cert", "c.pem"), "needs the authority of the peer too; name it with"),
        (("--send-to", "P@h:104", "--send-tls-key", "k.pem"), "needs its certificate too; name it with --send-tls-ce"),
    ],
)
def test_settings_that_cannot_be_are_sentences(cxrcad, toy, arguments, words):
    answer = cxrcad("listen", "--model", toy, "--device", "cpu", *arguments)
    assert answer.code == 2
    assert words in answer.err


def test_a_port_that_is_taken_and_a_queue_that_is_at_work_are_sentences(run, cxrcad, toy, tmp_path):
    listener = run("listen", "--port", 0, "--out", "out")
    own = ("--model", toy, "--device", "cpu", "--out", "out")
    answer = cxrcad("listen", *own, "--port", listener.port, "--queue", "other")
    assert answer.code == 2
    assert f"--port {listener.port}: Address already in use; name another --host or --port" in answer.err
    answer = cxrcad("listen", *own)
    assert answer.code == 2
    assert f"--queue cxrcad-queue: process {listener.process.pid} on " in answer.err
    answer = cxrcad("queue")
    assert answer.code == 0
    assert answer.out.split() == ["received", "0", "detected", "0", "sent", "0", "skipped", "0", "failed", "0"]


def test_queue_tells_what_failed_and_tries_it_again(cxrcad, tmp_path):
    from cxrcad.pacs.queue import RECEIVED, Queue

    with Queue(tmp_path / "cxrcad-queue") as queue:
        for name in ("1.2.3", "1.2.4", "1.2.5"):
            (queue.incoming / "a").write_bytes(name.encode())
            queue.add(name, name * 12, queue.incoming / "a", "MODALITY", move=True)
        queue.failed(queue.next(RECEIVED), "damaged")
        for _ in range(2):
            queue.later(queue.next(RECEIVED), "the disk is full", 60, 9)
    answer = cxrcad("queue")
    waiting, failed = answer.out.splitlines()[5:]
    assert re.fullmatch(r"2 images, not tried again before \d{4}-.* without --retry: the disk is full", waiting)
    assert failed == "failed: 1.2.3: damaged"
    assert cxrcad("queue", "--retry").out == "3 images tried again\n"
    assert cxrcad("queue").out.splitlines() == ["received        3", *answer.out.splitlines()[1:4], "failed          0"]
    assert cxrcad("queue", "--queue", "elsewhere").code == 2


@pytest.mark.parametrize("text", ["PACS@host:104", "PACS@[::1]:104", "A B@10.0.0.1:11112"])
def test_a_peer_is_read_and_written_alike(text):
    assert str(peer_of(text, "--send-to")) == text


@pytest.mark.parametrize("text", ["@host:1", "PACS@host", "PACS@host:", "PACS@:1", "PACS@ho st:1", "PACS@host:99999"])
def test_what_names_no_peer_is_refused(text):
    with pytest.raises(UsageError):
        peer_of(text, "--send-to")
