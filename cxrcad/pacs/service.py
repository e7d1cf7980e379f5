"""The work on a queue: one thread detects in what was received, another brings the results where they are to go."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cxrcad.config import ServiceConfig
from cxrcad.core import Failure, Outcome, PeerError, ReadError, Result, Skipped, WriteError, counted
from cxrcad.files import Progress, json_sha256, remove_leftovers, write_atomically
from cxrcad.inference.batch import detect_each, reading_for
from cxrcad.inference.detector import Detector
from cxrcad.inference.examining import Examined
from cxrcad.inference.inputs import Inputs
from cxrcad.inference.workers import Workers
from cxrcad.interchange import boxes
from cxrcad.pacs.evidence import Author
from cxrcad.pacs.objects import Objects
from cxrcad.pacs.peers import Peer, store
from cxrcad.pacs.queue import DETECTED, RECEIVED, Entry, Queue

__all__ = ["FULL_SECONDS", "Detection", "Service"]

IDLE_SECONDS = 1.0
"""How often the queue is looked at where nothing says that it changed."""
FULL_SECONDS = 60.0
"""Wait where the queue or results cannot be written, as on a full disk."""
STOP_SECONDS = 60.0
"""How long a stop waits for the images at hand."""
MOST_DETECTIONS = 5
"""Of one image: a process that ended so often while it worked on it would end so for ever."""
BOXES = "boxes.json"


@dataclass(frozen=True)
class Detection:
    """How findings and objects of an image are made. `find` is that of boxes.json, `kinds` are names of objects."""

    detector: Detector
    find: Mapping[str, Any]
    least: float
    force: bool
    kinds: tuple[str, ...]
    workers: Workers | None

    @cached_property
    def author(self) -> Author:
        """Who makes the objects."""
        return Author(self.detector.identity, self.find)

    @property
    def setup(self) -> str:
        """What differs where results must be made again."""
        return json_sha256([self.author.key, self.force, *self.kinds])

    def outcome(self, file: Path) -> tuple[Outcome, Examined | None]:
        """What is found in a file; a Skipped where it is no frontal chest radiograph."""
        inputs = Inputs((file,), {file: file.parent}, (), (), ())
        reading = reading_for(self.detector, force=self.force, pixels=bool(self.kinds))
        with closing(
            detect_each(inputs, self.detector, reading, min_score=self.least, workers=self.workers)
        ) as outcomes:
            return next(outcomes)

    def write(self, result: Result, examined: Examined | None, name: str, folder: Path) -> str | None:
        """Write boxes.json and the objects into `folder`; the sentence why one could not be made. WriteError.

        `name` stands in boxes.json as the radiograph's path.
        """
        files = {kind: folder / f"{kind}.dcm" for kind in self.kinds}
        bundle, sentence = self.detector.bundle, None
        lungs = self.detector.lungs if "lung" in bundle.tasks else None
        if examined is not None:
            sentence = Objects({result.path: files}, self.author, bundle.lesion, lungs).write(result, examined)
        found = boxes.Found(self.detector.identity, [replace(result, path=name)], (), self.find)
        write_atomically(folder / BOXES, boxes.write(found))
        return sentence


class Service:
    """Works on `queue` in two threads between `start` and `stop`. `progress` is told of each image.

    Results go to the folder `config.out` and to `peer`, where there are such. `watched` is the folder whose files are
    named by their place in it; others are named by their SOP instance UID.
    """

    def __init__(
        self,
        queue: Queue,
        detection: Detection,
        config: ServiceConfig,
        peer: Peer | None,
        progress: Progress,
        watched: Path | None = None,
    ) -> None:
        self.queue, self.detection, self.config, self.peer = queue, detection, config, peer
        self.progress, self.watched = progress, watched
        self.stopped = threading.Event()
        self._error: BaseException | None = None
        work = {RECEIVED: self._detect, DETECTED: self._deliver}
        self._threads = [
            threading.Thread(target=self._work, args=pair, name=f"cxrcad {pair[0]}", daemon=True)
            for pair in work.items()
        ]

    def start(self) -> None:
        """Begin with what the queue holds; what a killed process left in the folder of results is removed."""
        for place, _, _ in os.walk(self.config.out or ""):
            remove_leftovers(Path(place))
        for thread in self._threads:
            thread.start()

    def run(self) -> None:
        """Return when the work cannot go on: never, but for an error, which is raised. Ctrl-C passes through."""
        self.stopped.wait()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End with the image at hand, for which it waits a while; else that is done again at the next start."""
        self.stopped.set()
        self.queue.wake()
        last = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, last - time.monotonic()))

    def end(self, error: BaseException) -> None:
        """Let `run` raise an error."""
        self._error = self._error or error
        self.stopped.set()
        self.queue.wake()

    def _work(self, state: str, step: Callable[[Entry], None]) -> None:
        try:
            while not self.stopped.is_set():
                try:
                    entry = self.queue.next(state)
                    if entry is None:
                        self.queue.wait(IDLE_SECONDS)
                    else:
                        step(entry)
                except WriteError as error:
                    if not self.stopped.is_set():
                        self.progress.note(f"{error}; tried again in {FULL_SECONDS:g} s")
                    self.stopped.wait(FULL_SECONDS)
        except BaseException as error:  # `run` raises it in the main thread
            self.end(error)

    def _detect(self, entry: Entry) -> None:
        if entry.tries >= MOST_DETECTIONS:
            self._fail(entry, f"{entry.name}: the process ended {entry.tries} times while it worked on this image")
            return
        if not self.queue.begin(entry):
            return
        folder = self.queue.results_of(entry)
        try:
            outcome, examined = self.detection.outcome(entry.file)
            if isinstance(outcome, Skipped):
                reason = self._named(entry, outcome.reason)
                if self.queue.skipped(entry, reason):
                    self.progress.note(f"skipped: {reason}")
            elif isinstance(outcome, Failure):
                self._fail(entry, self._named(entry, outcome.error))
            else:
                shutil.rmtree(folder, ignore_errors=True)
                sentence = self.detection.write(outcome, examined, str(self._name(entry)), folder)
                self._keep(entry, outcome, sentence and self._named(entry, sentence))
        except WriteError:
            self.queue.end(entry)
            raise

    def _keep(self, entry: Entry, result: Result, sentence: str | None) -> None:
        """Results are written: have them delivered, or say why they cannot be."""
        if sentence is not None and self.config.out is None:
            self._fail(entry, sentence)
        elif self.queue.detected(entry, len(result.findings), sentence or ""):
            said = f"{entry.name}: {counted(len(result.findings), 'finding')}"
            self.progress.note(f"{said}; {sentence}" if sentence else said)

    def _deliver(self, entry: Entry) -> None:
        folder = self.queue.results_of(entry)
        if entry.setup != self.queue.setup or not folder.is_dir():
            self._again(entry, f"{entry.name}: its results are gone, or of other settings")
            return
        files = sorted(folder.glob("*.dcm"))
        try:
            if self.config.out is not None:
                self._copy(entry, self.config.out)
            if self.peer is not None and files:
                store(self.peer, files, self.config.ae_title, self.config.network_timeout)
        except ReadError as error:
            self._again(entry, str(error))
            return
        except (PeerError, WriteError) as error:
            seconds = self.queue.later(entry, str(error), self.config.retry_seconds, self.config.tries)
            if seconds is None:
                self.progress.note(f"failed: {entry.name}: {error}; `cxrcad queue --retry` tries it again")
            elif entry.tries == 0:
                self.progress.note(f"{error}; {entry.name} is sent again in {seconds:g} s, and then more rarely")
            return
        if self.queue.sent(entry):
            places = [str(place) for place in (self.config.out, self.peer if files else None) if place is not None]
            self.progress.note(f"{entry.name}: sent to {' and '.join(places)}")

    def _copy(self, entry: Entry, out: Path) -> None:
        """Bring the results into a folder, each file whole or not at all. ReadError, WriteError."""
        try:
            results = {file.name: file.read_bytes() for file in sorted(self.queue.results_of(entry).iterdir())}
        except OSError as error:
            raise ReadError(f"{error.filename}: cannot be read ({error.strerror})") from None
        for name, content in results.items():
            write_atomically(out / f"{self._name(entry)}.{name}", content)

    def _again(self, entry: Entry, why: str) -> None:
        if self.queue.again(entry):
            self.progress.note(f"{why}; all are made again")

    def _fail(self, entry: Entry, sentence: str) -> None:
        if self.queue.failed(entry, sentence):
            self.progress.note(f"failed: {sentence}")

    def _name(self, entry: Entry) -> Path:
        """What names an image's files: its place in the watched folder, or its SOP instance UID."""
        if self.watched is not None and entry.file.is_relative_to(self.watched):
            return entry.file.relative_to(self.watched)
        return Path(entry.name).relative_to(Path(entry.name).anchor)

    def _named(self, entry: Entry, sentence: str) -> str:
        """A sentence on the queue's file as one on the image; a watched folder's file has a name of its own."""
        own = entry.file.is_relative_to(self.queue.folder)
        return sentence.replace(str(entry.file), entry.name) if own else sentence
