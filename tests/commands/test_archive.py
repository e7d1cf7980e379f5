"""Detection on Ray: the rows are those of the local engine, and no image is lost or doubled, whatever is killed."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxrcad.commands.archive import detect_to_folder
from cxrcad.commands.detect import detect_to_file
from cxrcad.commands.merge import merge
from cxrcad.config import DetectConfig, build
from cxrcad.core import UsageError, WorkerError
from cxrcad.inference import ray_engine
from cxrcad.inference.detector import CPU, CUDA
from cxrcad.inference.model import load_bundle
from cxrcad.inference.ray_engine import RayEngine
from cxrcad.interchange import partitions
from tests.told import Told

COUNT = 12


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Radiographs, one that is damaged, one that is no radiograph, and a table."""
    folder = tmp_path_factory.mktemp("scans")
    rows, cols = np.mgrid[:64, :64]
    for number in range(COUNT):
        image = 60 + rows + cols + 120 * ((rows - 30) ** 2 + (cols - 12 - 3 * number) ** 2 < 16)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"s{number:02d}.png")
    (folder / "cut.png").write_bytes((folder / "s00.png").read_bytes()[:-30])
    (folder / "report").write_text("nothing")
    (folder / "table.csv").write_text("a,b\n")
    return folder


def config(toy, **values) -> DetectConfig:
    return build(DetectConfig, {"model": str(toy), "device": "cpu", "min_score": 0.0, **values})


def rows(folder: Path) -> list[dict]:
    """All rows in the order of content, as any reader of JSON lines finds them, without what differs."""
    found = [json.loads(line) for part in sorted(folder.glob("part-*.jsonl")) for line in part.open()]
    for row in found:
        row.pop("seconds", None)
    return sorted(found, key=lambda row: (row["sha256"] or "", row["path"]))


@pytest.fixture(scope="module")
def local(toy, scans, tmp_path_factory):
    """The rows that the local engine's document comes to."""
    out = tmp_path_factory.mktemp("local") / "boxes.json"
    detect_to_file(config(toy), [scans], out, None, Told())
    document = json.loads(out.read_text())
    for image in document["images"]:
        del image["seconds"]
    found = [{"status": "done", **image} for image in document["images"]]
    found += [{"status": "failed", "sha256": None, **one} for one in document["failures"]]
    found += [{"status": "skipped", "sha256": None, **one} for one in document["skipped"]]
    assert len(found) == COUNT + 3
    return sorted(found, key=lambda row: (row["sha256"] or "", row["path"]))


class Here(RayEngine):
    """The engine without Ray: one actor in this process, given what `parts` says of the files."""

    killing = ""  # an actor ends at a file of this name
    breaks_after = -1  # the cluster fails after so many outcomes, once

    def _pass(self, files: Mapping[int, Path], known: Mapping[Path, str], at_once: int, alone: bool):
        actor = ray_engine._Actor(self._task)
        numbers = list(files)
        given = 0
        for start in range(0, len(numbers), at_once):
            part = numbers[start : start + at_once]
            if any(files[number].name == self.killing for number in part):
                continue
            items = [pickle.dumps((files[number], known.get(files[number]))) for number in part]
            answer = actor({"number": part, "file": items})
            for number, outcome in zip(answer["number"], answer["outcome"], strict=True):
                if given == Here.breaks_after:
                    Here.breaks_after = -1
                    raise ConnectionError("first line\nthe node is gone.")
                given += 1
                yield number, pickle.loads(outcome)


@pytest.fixture
def here(monkeypatch):
    """Detection with `Here` instead of a cluster of two CPUs."""

    @contextlib.contextmanager
    def engine(config, bundle, least):
        yield Here(config, bundle, least, lambda: {"CPU": 2.0})

    monkeypatch.setattr("cxrcad.commands.archive.ray_engine", engine)
    monkeypatch.setattr(ray_engine, "_ray_errors", lambda: (ConnectionError,))
    monkeypatch.setattr(partitions, "ROWS", 5)
    return Here


def test_the_rows_are_the_local_engines_and_merge_takes_the_folder(here, toy, scans, local, tmp_path):
    out, told = tmp_path / "results", Told()
    summary = detect_to_folder(config(toy), [scans], out, told)
    assert rows(out) == local
    assert summary.failed == 1
    assert summary.sentence.startswith("12 images done, ")
    assert "1 failed, 2 skipped" in summary.sentence
    assert told.steps[-1] == COUNT + 1  # the files; two more were skipped unread
    assert any(note.startswith("failed: ") and "cut.png" in note for note in told.notes)
    merge([out], tmp_path / "merged.json")
    detect_to_file(config(toy), [scans], tmp_path / "boxes.json", None, Told())
    both = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("merged", "boxes")]
    for document in both:
        for image in document["images"]:
            del image["seconds"]
        document["skipped"].sort(key=lambda one: one["path"])
    assert both[0] == both[1]


def test_resume_detects_in_what_changed_or_failed_alone(here, toy, scans, tmp_path, monkeypatch):
    copy, out = tmp_path / "scans", tmp_path / "results"
    copy.mkdir()
    for path in sorted(scans.glob("*.png"))[:5]:
        (copy / path.name).write_bytes(path.read_bytes())
    detect_to_folder(config(toy), [copy], out, Told())
    (copy / "cut.png").write_bytes((scans / "s07.png").read_bytes())
    (copy / "s01.png").write_bytes((scans / "s08.png").read_bytes())
    (copy / "new.png").write_bytes((scans / "s09.png").read_bytes())
    read: list[str] = []
    real = ray_engine.detect_files
    monkeypatch.setattr(
        ray_engine, "detect_files", lambda files, *rest: (read.extend(one.name for one in files), real(files, *rest))[1]
    )
    told = Told()
    detect_to_folder(config(toy, resume=True), [copy], out, told)
    assert sorted(read) == ["cut.png", "new.png", "s01.png"]
    assert "4 of 6 files done before" in told.notes
    assert told.steps[-1] == 6
    detect_to_folder(config(toy), [copy], tmp_path / "anew", Told())
    assert rows(out) == rows(tmp_path / "anew")


def test_a_file_at_which_the_process_ends_is_named_and_the_others_are_done(
    here, toy, scans, local, tmp_path, monkeypatch
):
    monkeypatch.setattr(here, "killing", "s03.png")
    told = Told()
    monkeypatch.setattr(ray_engine, "PARTS_A_CPU", 1)  # several files at once
    summary = detect_to_folder(config(toy), [scans], tmp_path / "results", told)
    assert summary.failed == 2
    assert "what detected ended: 6 files tried again" in told.notes
    lost = [row for row in rows(tmp_path / "results") if "s03.png" in row["path"]]
    assert [(row["status"], row["error"].split(";")[0]) for row in lost] == [
        ("failed", f"{scans / 's03.png'}: the process that detected in it ended each time")
    ]
    assert [row for row in rows(tmp_path / "results") if row not in lost] == [
        row for row in local if "s03.png" not in row["path"]
    ]
    monkeypatch.setattr(here, "killing", "")
    detect_to_folder(config(toy, resume=True), [scans], tmp_path / "results", Told())
    assert rows(tmp_path / "results") == local


def test_a_cluster_that_breaks_off_is_tried_again_while_something_comes(here, toy, scans, local, tmp_path, monkeypatch):
    monkeypatch.setattr(Here, "breaks_after", 4)
    told = Told()
    detect_to_folder(config(toy), [scans], tmp_path / "results", told)
    assert "what detected broke off (the node is gone): 9 files tried again" in told.notes
    assert rows(tmp_path / "results") == local
    monkeypatch.setattr(Here, "breaks_after", 0)
    with pytest.raises(WorkerError, match=r"the Ray cluster cannot detect .the node is gone.*holds 0 images; --resume"):
        detect_to_folder(config(toy), [scans], tmp_path / "none", Told())
    detect_to_folder(config(toy, resume=True), [scans], tmp_path / "none", Told())
    assert rows(tmp_path / "none") == local


def test_a_stopped_run_keeps_what_it_has_and_merge_refuses_it(here, toy, scans, local, tmp_path):
    class Stops(Told):
        def step(self, done_steps, loss=None):
            if done_steps == 7:
                raise KeyboardInterrupt

    out = tmp_path / "results"
    with pytest.raises(KeyboardInterrupt, match=r"stopped; .*results holds [67] images; --resume goes on"):
        detect_to_folder(config(toy), [scans], out, Stops())
    with pytest.raises(UsageError, match="its work ended early"):
        merge([out], tmp_path / "merged.json")
    detect_to_folder(config(toy, resume=True), [scans], out, Told())
    assert rows(out) == local


def test_shards_join_to_the_whole(here, toy, scans, local, tmp_path):
    parts = [tmp_path / f"part-{number}" for number in (1, 2, 3)]
    for number, part in enumerate(parts, start=1):
        detect_to_folder(config(toy, shard=f"{number}/3"), [scans], part, Told())
    assert sorted(row["path"] for part in parts for row in rows(part)) == sorted(row["path"] for row in local)
    with pytest.raises(UsageError, match="shard 2/3: not among the parts"):
        merge([parts[0], parts[2]], tmp_path / "merged.json")
    assert merge(parts, tmp_path / "merged.json").startswith("3 parts: 12 images, ")


def test_without_identifiers_no_path_is_written(here, toy, scans, tmp_path):
    out = tmp_path / "results"
    detect_to_folder(config(toy, identifiers=False), [scans], out, Told())
    assert all(row["path"] == row["sha256"] for row in rows(out) if row["status"] == "done")
    assert not any(b".png" in path.read_bytes() for path in out.iterdir())


def test_another_version_on_a_node_is_refused(here, toy, scans, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_engine, "__version__", "9.9")
    with pytest.raises(Exception, match=r"cxrcad 9.9 on a node and .* here; install one version on all"):
        detect_to_folder(config(toy), [scans], tmp_path / "results", Told())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--out", "results/", "--csv", "a.csv"), "--csv: is of the local engine; cxrcad merge writes tables"),
        (("--out", "results/", "--html", "a.html"), "--html: is of the local engine; leave it out"),
        (("--out", "results/", "--cad-sr", "a"), "--cad-sr: is of the local engine; leave it out"),
        ((), "--engine ray: writes a folder of partitions; name it with --out, for example results/"),
        (
            ("--out", "all.json"),
            "--engine ray: writes a folder of partitions; name it with --out, for example results/",
        ),
        (
            ("--out", "results/", "--address", "127.0.0.1:1"),
            "--address 127.0.0.1:1: no Ray cluster answers there ([Errno 111]",
        ),
        (
            ("--out", "results/", "--address", "ray://127.0.0.1:1"),
            "ray://127.0.0.1:1: no Ray cluster answers there ([Errno 111]",
        ),
        (("--engine", "local", "--address", "auto"), "--address auto: is of a Ray cluster; give --engine ray too"),
    ],
)
def test_what_the_engine_does_not_do_is_said(cxrcad, toy, scans, options, words):
    answer = cxrcad("detect", scans, "--model", toy, "--engine", "ray", *options)
    assert (answer.code, words in answer.err) == (2, True), answer.err


def test_without_ray_a_sentence_says_how_to_install_it(cxrcad, toy, scans, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    answer = cxrcad("detect", scans, "--model", toy, "--engine", "ray", "--out", "results/")
    assert answer.code == 2
    assert "--engine ray: Ray is not installed; pip install 'cxrcad[ray]'" in answer.err


def test_an_actor_takes_the_cpus_of_its_threads_and_a_gpu_where_there_is_one(toy):
    def engine(has, **values):
        return RayEngine(build(DetectConfig, {"model": str(toy), **values}), load_bundle(toy), 0.5, lambda: has)

    nodes = {"CPU": 16.0}
    on_cpus, on_gpus = engine(nodes, threads=2), engine({"CPU": 16.0, "GPU": 2.0})
    assert (on_cpus.provider, on_cpus._cpus, on_cpus._gpus, on_cpus._fitting()) == (CPU, 2, 0, 8)
    assert (on_gpus.provider, on_gpus._cpus, on_gpus._gpus, on_gpus._fitting()) == (CUDA, 4, 1, 2)
    assert engine({"CPU": 16.0, "GPU": 2.0}, device="cpu").provider == CPU
    nodes["CPU"] = 4.0  # others were lost
    assert on_cpus._fitting() == 2


PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


def node_arguments() -> dict[str, Any]:
    """What a small node is started with."""
    with contextlib.ExitStack() as held:
        free = [held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in PORTS]
    ports = dict(zip(PORTS, free, strict=True))
    return {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False, **ports}


@pytest.fixture(scope="module")
def patient():
    """Ray waits for the start of its processes longer than the seconds that it allows, which a busy machine needs."""
    services = pytest.importorskip("ray._private.services")
    get_node, start = services.get_node, services.start_ray_process

    def found_at_last(*given):
        last = time.monotonic() + 240
        while True:
            try:
                return get_node(*given)
            except RuntimeError:
                if time.monotonic() > last:
                    raise
                time.sleep(0.1)

    def told_of_the_port(command, *given, **named):
        """A raylet waits for the process that says on which port it listens, unless it is told."""
        found = re.search(r"--listen-port=(\d+)", " ".join(command))
        if command[0] == services.RAYLET_EXECUTABLE and found:
            command = [*command, f"--dashboard_agent_listen_port={found[1]}"]
        return start(command, *given, **named)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(services, "get_node", found_at_last)
        patched.setattr(services, "start_ray_process", told_of_the_port)
        patched.setenv("RAY_worker_register_timeout_seconds", "240")
        patched.setenv("RAY_worker_niceness", "0")
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patched.setenv("RAY_AUTH_MODE", "disabled")  # of loopback
        yield


@pytest.fixture(scope="module")
def cluster(patient):
    """Two nodes of one CPU each on loopback, with 0.2 GB of object store in all."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args=node_arguments())
    made.add_node(**node_arguments())
    yield made
    made.shutdown()


def on_cluster(monkeypatch, cluster, toy, scans, out, marks, happens, told=None):
    """Detect on the cluster, where `happens(path, node)` is called in the actor before each file; all actors begin."""
    import ray

    class Actor(ray_engine._Actor):
        def __call__(self, batch):
            node = ray.get_runtime_context().get_node_id()
            (marks / node).touch()
            last = time.monotonic() + 120
            while len(list(marks.iterdir())) < 2 and time.monotonic() < last:  # both nodes have work
                time.sleep(0.05)
            for file in batch["file"]:
                happens(pickle.loads(file)[0], node)
            return super().__call__(batch)

    def late(*_):
        raise TimeoutError("the cluster gave no answer in four minutes")

    marks.mkdir()
    monkeypatch.setattr(ray_engine, "_Actor", Actor)
    before = signal.signal(signal.SIGALRM, late)  # a cluster that lost its nodes waits for others without end
    signal.alarm(240)
    try:
        return detect_to_folder(config(toy, address=cluster.address), [scans], out, told or Told())
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
def test_a_killed_node_loses_no_image_and_doubles_none(cluster, toy, scans, local, tmp_path, monkeypatch):
    node, marks = next(iter(cluster.worker_nodes)), tmp_path / "marks"

    class Kills(Told):
        def step(self, done_steps, loss=None):
            super().step(done_steps)
            if done_steps == 3 and node in cluster.worker_nodes:
                assert (marks / node.node_id).exists()
                cluster.remove_node(node, allow_graceful=False)

    told = Kills()
    try:
        on_cluster(monkeypatch, cluster, toy, scans, tmp_path / "results", marks, lambda *_: time.sleep(0.2), told)
    finally:
        gone = node not in cluster.worker_nodes
        cluster.add_node(**node_arguments())
    assert gone
    assert rows(tmp_path / "results") == local
    assert told.steps == list(range(1, COUNT + 2)) or sorted(set(told.steps)) == list(range(COUNT + 2))


@pytest.mark.slow
def test_a_killed_actor_loses_no_image_and_doubles_none(cluster, toy, scans, local, tmp_path, monkeypatch):
    killed = tmp_path / "killed"

    def kill_once(path, node):
        if path.name == "s05.png" and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    on_cluster(monkeypatch, cluster, toy, scans, tmp_path / "results", tmp_path / "marks", kill_once)
    assert killed.exists()
    assert rows(tmp_path / "results") == local


@pytest.mark.slow
def test_an_image_that_kills_each_actor_is_named_and_the_others_are_done(
    cluster, toy, scans, local, tmp_path, monkeypatch
):
    def kill(path, node):
        if path.name == "s05.png":
            os.kill(os.getpid(), signal.SIGKILL)

    on_cluster(monkeypatch, cluster, toy, scans, tmp_path / "results", tmp_path / "marks", kill)
    found = rows(tmp_path / "results")
    assert [row["status"] for row in found if "s05.png" in row["path"]] == ["failed"]
    assert [row for row in found if "s05.png" not in row["path"]] == [
        row for row in local if "s05.png" not in row["path"]
    ]
