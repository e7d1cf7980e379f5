"""`cxrcad detect --engine ray` as a library call: paths -> a folder of partitions, a row an image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from cxrcad.commands.detect import Remarks, Summary, find_of, model_of
from cxrcad.config import DetectConfig
from cxrcad.core import ModelIdentity, WorkerError, counted
from cxrcad.files import Progress
from cxrcad.inference.batch import of_inputs
from cxrcad.inference.identifiers import Names
from cxrcad.inference.inputs import find_inputs, part_of
from cxrcad.inference.ray_engine import ray_engine
from cxrcad.interchange.boxes import Found, head_document
from cxrcad.interchange.partitions import Partitions

__all__ = ["detect_to_folder"]


def detect_to_folder(config: DetectConfig, paths: Sequence[Path], out: Path, progress: Progress) -> Summary:
    """Find nodules on a Ray cluster in what `detect_to_file` takes, and keep a row of each image in the folder `out`.

    With `config.resume` the work goes on from the partitions that are there: images of the same content are not
    detected in again, what failed is tried again. Raises ModelError, UsageError, WorkerError, WriteError.
    """
    started = time.monotonic()
    found = find_inputs(paths)
    inputs = part_of(found, config.shard)
    names, told, bundle = Names(found, config.identifiers), Remarks(), model_of(config)
    least = config.min_score if config.min_score is not None else bundle.threshold
    find, left, files = find_of(bundle, least), set(map(str, inputs.files)), len(inputs.files)

    def step(path: str) -> None:
        left.discard(path)
        progress.step(files - len(left))

    with ray_engine(config, bundle, least) as engine:
        identity = ModelIdentity(bundle.name, bundle.sha256, bundle.threshold, engine.provider)
        head = head_document(Found(identity, (), find=find, identifiers=config.identifiers, shard=inputs.shard))
        with Partitions(out, head, resume=config.resume) as kept:
            for sentence in kept.unreadable:
                progress.note(sentence)
            before = inputs.files if config.resume else ()
            known = {file: sha256 for file in before if (sha256 := kept.sha256_of(names.of(str(file))))}
            if config.resume:
                progress.note(f"{len(known):,} of {counted(files, 'file')} done before")
            progress.start(f"{bundle.name} on {engine.provider}", files, 0)
            outcomes = engine.detect(inputs.files, known, step, progress.note)
            try:
                with closing(of_inputs(inputs, outcomes, known)) as told_of:
                    for outcome, _ in told_of:
                        written = names.written(outcome)
                        kept.add(written)
                        step(outcome.path)
                        for note in told.of(written if config.identifiers else outcome, written.path):
                            progress.note(note)
            except (KeyboardInterrupt, WorkerError) as stop:
                kept.write()
                held = f"{out} holds {counted(kept.count('done'), 'image')}; --resume goes on"
                raise type(stop)(f"{str(stop) or 'stopped'}; {held}") from stop
            kept.finish()
            for note in told.in_all():
                progress.note(note)
            return Summary(_sentence(kept, time.monotonic() - started, out), kept.count("failed"))


def _sentence(kept: Partitions, seconds: float, out: Path) -> str:
    text = f"{counted(kept.count('done'), 'image')} done, {counted(kept.findings, 'finding')}"
    for status in ("failed", "skipped"):
        text += f", {kept.count(status)} {status}" if kept.count(status) else ""
    return f"{text}, {seconds:.1f} s; {out}"
