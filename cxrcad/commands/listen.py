"""`cxrcad listen` as a library call: radiographs by C-STORE -> results to a peer, a folder, or both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxrcad.commands.detect import find_of, open_detector
from cxrcad.config import DetectConfig, ListenConfig, ServiceConfig
from cxrcad.core import UsageError, counted
from cxrcad.files import Progress, check_out
from cxrcad.inference.workers import Workers
from cxrcad.pacs.listen import Listener, listening
from cxrcad.pacs.objects import kinds_of
from cxrcad.pacs.peers import check_ae_title, check_installed, peer_of
from cxrcad.pacs.queue import DETECTED, RECEIVED, Queue
from cxrcad.pacs.service import Detection, Service
from cxrcad.pacs.tls import client_context

__all__ = ["listen", "serving"]


def listen(config: ListenConfig, progress: Progress) -> None:
    """Take radiographs until it is stopped: Ctrl-C ends it, as KeyboardInterrupt with a sentence.

    Raises UsageError for settings that cannot be, ModelError, DataError for a damaged queue, WriteError.
    """
    check_installed(["pynetdicom"], "listen")
    with serving(config.detect, config.service, progress) as service:
        own = config.service
        listener = Listener(config.listener, own.ae_title, own.network_timeout, service.queue, progress)
        with listening(listener):
            senders = config.listener.allow or "any AE title"
            senders = senders if isinstance(senders, str) else ", ".join(senders)
            tls = ", TLS" if config.listener.tls_cert else ""
            progress.note(
                f"{own.ae_title} listens on {config.listener.host}:{listener.port}{tls}; takes from {senders}"
            )
            service.run()


@contextmanager
def serving(
    detect: DetectConfig, config: ServiceConfig, progress: Progress, watched: Path | None = None
) -> Iterator[Service]:
    """A service that works on the queue while it is open; at a stop, what is left to do is told. Raises as `listen`."""
    if config.out is None and config.send_to is None:
        raise UsageError("results go nowhere; name a peer with --send-to AE@host:port, a folder with --out, or both")
    if not detect.identifiers:
        raise UsageError("identifiers = false: results that are sent name patient, study and image; leave it out")
    tls = client_context(config.send_tls_ca, config.send_tls_cert, config.send_tls_key)
    if tls is not None and config.send_to is None:
        raise UsageError("--send-tls-ca: needs the peer too; name it with --send-to AE@host:port")
    peer = None if config.send_to is None else peer_of(config.send_to, "--send-to", tls)
    check_ae_title(config.ae_title, "--ae-title")
    kinds = kinds_of(config.store or ("none" if peer is None else "sr"))
    if peer is not None and not kinds:
        raise UsageError(f"--send-to {peer}: gets nothing with --store none; name an object, or leave out --send-to")
    needed = ["pydicom", *(["pynetdicom"] if peer else []), *(["highdicom"] if kinds else [])]
    check_installed(needed, "--store, --send-to")
    check_out(config.out)
    detector = open_detector(detect)
    least = detect.min_score if detect.min_score is not None else detector.bundle.threshold
    workers = Workers.fitting(1, detect.workers, detect.timeout)
    detection = Detection(detector, find_of(detector.bundle, least), least, detect.force, kinds, workers)
    with Queue(config.queue, detection.setup) as queue:
        service = Service(queue, detection, config, peer, progress, watched)
        if left := _left(queue):
            progress.note(f"{config.queue}: {left} to go on with")
        service.start()
        try:
            yield service
        except KeyboardInterrupt:
            pass
        else:
            return
        finally:
            service.stop()
        left = _left(queue)
        then = f"{left} in {config.queue}, gone on with at the next start" if left else "nothing is left to do"
        raise KeyboardInterrupt(f"stopped; {then}")


def _left(queue: Queue) -> str:
    """What the queue has to do, in words; "" for nothing."""
    counts = queue.counts()
    words = [f"{counted(counts[state], 'image')} {state}" for state in (RECEIVED, DETECTED) if counts[state]]
    return " and ".join(words)
