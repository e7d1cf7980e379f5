"""Several processes that train together as torchrun or srun starts them; forked from a test, they import nothing."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path

PATIENCE_S = 120.0


class Ranks:
    """`size` processes, each of which calls `work(rank)` as `cxrcad` would be called; its outputs are in files."""

    def __init__(
        self, folder: Path, size: int, work: Callable[[int], None], by: str = "torchrun", port: int | None = None
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        variables = torchrun if by == "torchrun" else srun
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port or free_port())}
        fork = multiprocessing.get_context("fork")
        self.processes = [
            fork.Process(target=self._run, args=(rank, address | variables(rank, size), work)) for rank in range(size)
        ]
        for process in self.processes:
            process.start()

    def _run(self, rank: int, variables: dict[str, str], work: Callable[[int], None]) -> None:
        os.environ |= variables
        with open(self.folder / f"out{rank}", "w") as out, open(self.folder / f"err{rank}", "w", buffering=1) as err:
            os.dup2(err.fileno(), 2)  # what C++ says, too
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                work(rank)

    def codes(self) -> list[int | None]:
        """The exit codes, once all have ended; None for one that did not."""
        for process in self.processes:
            process.join(PATIENCE_S)
        codes = [process.exitcode for process in self.processes]
        for process in self.processes:
            process.kill()
            process.join()
        return codes

    def said(self, rank: int, stream: str = "err") -> str:
        """What a process wrote to stderr, or with `stream` "out" to stdout."""
        return (self.folder / f"{stream}{rank}").read_text()


def torchrun(rank: int, size: int) -> dict[str, str]:
    """What torchrun tells a process on its one node."""
    told = {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "RANK": rank}
    return {name: str(value) for name, value in {**told, "LOCAL_RANK": rank}.items()}


def srun(rank: int, size: int) -> dict[str, str]:
    """What srun tells a task on its one node."""
    told = {"JOB_ID": 4711, "STEP_ID": 0, "NTASKS": size, "NTASKS_PER_NODE": size, "NNODES": 1, "NODEID": 0}
    return {f"SLURM_{name}": str(value) for name, value in {**told, "PROCID": rank, "LOCALID": rank}.items()}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def command(*arguments: object) -> None:
    """The command line, which exits."""
    from cxrcad.cli.main import main

    main([str(argument) for argument in arguments])
