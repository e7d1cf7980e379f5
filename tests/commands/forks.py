"""Detections in forks of one process that has loaded all they need, so that many may be killed: run by test_faults.

Each line of stdin is a job in JSON: {"out", "paths", "settings", "overlay", "most_bytes", "stops"}. A line of stdout
has the process of its fork, the next one the status that it ended with, and its sentence or error. The process stops
(SIGSTOP) whenever as many files are done as `stops` says.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec.json
import onnxruntime
import scipy.ndimage
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from cxrcad.commands.detect import detect_to_file
from cxrcad.config import DetectConfig, build
from cxrcad.files import Silent

LOADED = (msgspec.json, onnxruntime, scipy.ndimage, Image, ImageDraw, ImageFont, PngImagePlugin)
"""What each fork would import else when it comes to it."""


class Stopping(Silent):
    """Stops the process where so many files are done."""

    def __init__(self, stops: list[int]) -> None:
        self.stops = stops

    def step(self, done_steps: int, loss: float | None = None) -> None:
        if done_steps in self.stops:
            os.kill(os.getpid(), signal.SIGSTOP)


def run(job: dict[str, Any]) -> str:
    """The summary of the job's detection, or the error that ended it."""
    if job["most_bytes"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["most_bytes"], job["most_bytes"]))
    config, paths = build(DetectConfig, job["settings"]), list(map(Path, job["paths"]))
    overlay = job["overlay"] and Path(job["overlay"])
    try:
        return detect_to_file(config, paths, Path(job["out"]), overlay, Stopping(job["stops"])).sentence
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


def main() -> None:
    """Do each job in a fork."""
    for line in sys.stdin:
        there, here = os.pipe()
        process = os.fork()
        if process == 0:
            os.write(here, run(json.loads(line)).encode())
            os._exit(0)
        os.close(here)
        print(process, flush=True)
        with open(there, encoding="utf-8") as file:
            words = file.read()
        print(json.dumps([os.waitpid(process, 0)[1], words]), flush=True)


if __name__ == "__main__":
    main()
