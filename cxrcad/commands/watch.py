"""`cxrcad watch` as a library call: radiographs that come into a folder -> results to a folder, a peer."""

from __future__ import annotations

import os
from pathlib import Path

from cxrcad.commands.listen import serving
from cxrcad.config import WatchConfig
from cxrcad.core import UsageError, WriteError
from cxrcad.files import Progress
from cxrcad.pacs.service import FULL_SECONDS
from cxrcad.pacs.watch import Watch

__all__ = ["watch"]


def watch(config: WatchConfig, folder: Path, progress: Progress) -> None:
    """Detect in each radiograph that comes into `folder`, until it is stopped, as `listen` is. Raises as that."""
    if not os.path.isdir(folder):
        raise UsageError(f"{folder}: is no folder; name the folder that radiographs come into")
    own = config.service
    for option, place in (("--out", own.out), ("--queue", own.queue)):
        if place is not None and _inside(place, folder):
            raise UsageError(f"{option} {place}: lies in the watched folder; name one elsewhere")
    with serving(config.detect, own, progress, folder.absolute()) as service:
        looks = Watch(folder, service.queue, config.settle_seconds, progress)
        progress.note(f"watching {folder}")
        while not service.stopped.is_set():
            seconds = config.poll_seconds
            try:
                looks.look()
            except WriteError as error:
                seconds = FULL_SECONDS
                progress.note(f"{error}; tried again in {seconds:g} s")
            service.stopped.wait(seconds)
        service.run()


def _inside(place: Path, folder: Path) -> bool:
    return Path(os.path.realpath(place)).is_relative_to(os.path.realpath(folder))
