"""Settings of what works on a queue: the listener, the watched folder, and where their results go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxrcad.config.schema import setting

__all__ = ["LISTENER", "SERVED", "ListenerConfig", "QueueConfig", "ServiceConfig"]

LISTENER, SERVED = "Listener", "Queue and results"


@dataclass(frozen=True)
class QueueConfig:
    """`cxrcad queue`."""

    queue: Path = setting(Path("cxrcad-queue"), "folder of the queue, on a disk of this machine")


@dataclass(frozen=True)
class ServiceConfig(QueueConfig):
    """The queue, and where results go."""

    out: Path | None = setting(None, "folder that gets boxes.json and the DICOM objects of each radiograph")
    send_to: str | None = setting(None, "peer that gets the DICOM objects by C-STORE, as AE@host:port")
    send_tls_ca: Path | None = setting(None, "authority that vouches for the peer's certificate (PEM), for TLS to it")
    send_tls_cert: Path | None = setting(None, "certificate that is shown to the peer (PEM), where it demands one")
    send_tls_key: Path | None = setting(None, "key of that certificate (PEM)")
    store: str | None = setting(
        None,
        "DICOM objects, comma-separated: sr, cad-sr, seg, gsps, sc, or none (default: sr where there is a peer)",
    )
    ae_title: str = setting("CXRCAD", "AE title of this program")
    network_timeout: float = setting(60.0, "seconds for which a peer may be silent", low=0.1, high=3600)
    tries: int = setting(60, "times that sending is tried before a result counts as failed", low=1)
    retry_seconds: float = setting(
        10.0, "wait after sending did not go, seconds; twice as long each time, up to an hour", low=0, high=3600
    )


@dataclass(frozen=True)
class ListenerConfig:
    """Who may send to the listener, where and what."""

    host: str = setting("127.0.0.1", "address to listen on; 0.0.0.0 for all of this machine")
    port: int = setting(11112, "port to listen on; 0 for any that is free", low=0, high=65535)
    allow: str | tuple[str, ...] | None = setting(None, "AE title that may send (default: any)", several=True)
    associations: int = setting(10, "associations at the same time", low=1, high=1000)
    largest_mb: int = setting(512, "largest object that is taken, MB", low=1, high=100_000)
    tls_cert: Path | None = setting(None, "certificate of this program (PEM), for TLS")
    tls_key: Path | None = setting(None, "key of the certificate (PEM)")
    tls_ca: Path | None = setting(None, "authority (PEM): only senders whose certificate it signed are taken")
