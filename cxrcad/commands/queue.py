"""`cxrcad queue` as a library call: what became of the images of a queue, in text."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from cxrcad.config import QueueConfig
from cxrcad.core import counted
from cxrcad.pacs.queue import listing, retry

__all__ = ["report", "retried"]


def report(config: QueueConfig) -> str:
    """A line for each state with the number of its images, then why some wait, and the sentence of each that failed.

    Raises UsageError where there is no queue, DataError for a damaged one, WriteError.
    """
    counts, failed, waiting = listing(config.queue)
    lines = [f"{state:<9} {number:>7,}" for state, number in counts.items()]
    for said, number in Counter(one.said for one in waiting).items():
        due = datetime.fromtimestamp(min(one.due for one in waiting if one.said == said))
        lines.append(f"{counted(number, 'image')}, not tried again before {due:%F %T} without --retry: {said}")
    lines += [f"failed: {_sentence(one.name, one.said)}" for one in failed]
    return "".join(f"{line}\n" for line in lines)


def retried(config: QueueConfig) -> str:
    """Have what failed or waits done again; a line with the number of images. Raises as `report`."""
    return f"{counted(retry(config.queue), 'image')} tried again\n"


def _sentence(name: str, said: str) -> str:
    return said if name in said else f"{name}: {said}"
