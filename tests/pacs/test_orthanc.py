"""Orthanc on loopback: takes all our objects and gives them back; radiographs that come to it are detected in."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pydicom
import pytest

from cxrcad.pacs.objects import KINDS
from cxrcad.pacs.peers import peer_of, store
from tests.pacs.conftest import ROOT, free_port, radiograph, until

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")
ORTHANC = shutil.which("Orthanc")
pytestmark = pytest.mark.skipif(ORTHANC is None, reason="Orthanc is not installed (Debian: orthanc, orthanc-dicomweb)")
EXAMPLE = ROOT / "examples" / "orthanc"


class Orthanc:
    """A running Orthanc with the example's settings, at ports and in a folder of its own."""

    def __init__(self, folder: Path, listener_port: int) -> None:
        settings = json.loads((EXAMPLE / "orthanc.json").read_text())
        shutil.copy(EXAMPLE / "autorun.lua", folder)
        self.dicom, self.web = free_port(), free_port()
        settings.update(DicomPort=self.dicom, HttpPort=self.web, AuthenticationEnabled=False)
        settings["DicomModalities"]["cxrcad"]["Port"] = listener_port
        settings["Plugins"] = [place for place in settings["Plugins"] if Path(place).exists()]
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self.log = (folder / "orthanc.log").open("wb")
        self.process = subprocess.Popen([ORTHANC, "orthanc.json"], cwd=folder, stdout=self.log, stderr=self.log)
        until(self.answers, "Orthanc's start")

    def answers(self) -> bool:
        assert self.process.poll() is None, Path(self.log.name).read_text()
        try:
            return bool(self.get("/system"))
        except OSError:
            time.sleep(0.2)
            return False

    def get(self, place: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web}{place}", timeout=60) as answer:
            return answer.read()

    def objects(self) -> list[pydicom.Dataset]:
        """All that it holds."""
        names = json.loads(self.get("/instances"))
        return [pydicom.dcmread(io.BytesIO(self.get(f"/instances/{name}/file"))) for name in names]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        self.log.close()


@pytest.fixture
def orthanc(tmp_path):
    folder = tmp_path / "orthanc"
    folder.mkdir()
    orthanc = Orthanc(folder, free_port())
    orthanc.listener_port = json.loads((folder / "orthanc.json").read_text())["DicomModalities"]["cxrcad"]["Port"]
    yield orthanc
    orthanc.stop()


def without_meta(dataset: pydicom.Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, pydicom.Dataset(dataset), implicit_vr=False, little_endian=True, enforce_file_format=False)
    return buffer.getvalue()


def test_all_objects_are_taken_and_given_back_unchanged(orthanc, tmp_path, toy, command_line):
    scan = tmp_path / "scan.dcm"
    radiograph(2).save_as(scan, enforce_file_format=True)
    folders = [word for kind in KINDS for word in (f"--{kind.name}", tmp_path / "objects")]
    answer = command_line(tmp_path, "detect", scan, "--model", toy, "--device", "cpu", *folders)
    assert answer.code == 0, answer.err
    files = sorted((tmp_path / "objects").iterdir())
    assert len(files) == len(KINDS)
    peer = peer_of(f"ORTHANC@127.0.0.1:{orthanc.dicom}", "--send-to")
    for _ in range(2):  # a second time nothing is doubled
        store(peer, files, "CXRCAD", 60)
    sent = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, files)}
    held = {str(one.SOPInstanceUID): one for one in orthanc.objects()}
    assert set(held) == set(sent)
    for uid, one in sent.items():
        assert without_meta(held[uid]) == without_meta(one)


def test_a_radiograph_that_comes_to_orthanc_has_its_report_there(orthanc, run, tmp_path):
    for program in ("storescu", "curl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: dcmtk, curl)")
    images = [radiograph(number) for number in (2, 4)]

    def stored(image: pydicom.Dataset) -> None:
        image.save_as(tmp_path / "scan.dcm", enforce_file_format=True)
        command = ["storescu", "-aec", "ORTHANC", "127.0.0.1", str(orthanc.dicom), str(tmp_path / "scan.dcm")]
        subprocess.run(command, check=True, timeout=120)

    stored(images[0])  # before the listener runs: Orthanc tries once
    until(lambda: b"Unable to send instance" in Path(orthanc.log.name).read_bytes(), "Orthanc's try")
    peer = f"ORTHANC@127.0.0.1:{orthanc.dicom}"
    listener = run("listen", "--port", orthanc.listener_port, "--allow", "ORTHANC", "--send-to", peer)
    assert listener.port == orthanc.listener_port
    stored(images[1])
    listener.wait_for(": sent to ")
    again = next(text for text in (EXAMPLE / "README.md").read_text().split("```") if text.startswith("sh\ncurl"))
    again = again.removeprefix("sh\n").replace(":8042", f":{orthanc.web}")
    subprocess.run(["sh", "-c", again], check=True, timeout=120, stdout=subprocess.DEVNULL)
    listener.wait_for(": sent to ", 2)
    assert listener.said.count(": came again from ORTHANC, is sent") == 1
    held = orthanc.objects()
    assert sorted(one.Modality for one in held) == ["DX", "DX", "SR", "SR"]
    studies = {str(image.StudyInstanceUID) for image in images}
    assert {str(one.StudyInstanceUID) for one in held if one.Modality == "SR"} == studies
    assert listener.end() == 143


def test_a_study_is_fetched_and_its_objects_are_stored_by_dicomweb(orthanc, tmp_path, toy, cxrcad):
    pytest.importorskip("dicomweb_client")
    if not any(Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb*")):
        pytest.skip("orthanc-dicomweb is not installed")
    images = [radiograph(2), radiograph(4)]
    images[1].StudyInstanceUID = images[0].StudyInstanceUID
    other = radiograph(6)
    for number, image in enumerate([*images, other]):
        image.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    store(
        peer_of(f"ORTHANC@127.0.0.1:{orthanc.dicom}", ""), [tmp_path / f"{number}.dcm" for number in range(3)], "C", 60
    )
    url = f"http://127.0.0.1:{orthanc.web}/dicom-web"
    own = ("detect", "--dicomweb", url, "--study", images[0].StudyInstanceUID, "--model", toy, "--device", "cpu")
    for _ in range(2):  # a second time nothing is doubled
        answer = cxrcad(*own, "--store", ",".join(kind.name for kind in KINDS), "--sr", "kept")
        assert answer.code == 0, answer.err
        assert f"2 radiographs from {url}" in answer.err
        assert f"10 objects stored at {url}" in answer.err
    held = [one for one in orthanc.objects() if one.StudyInstanceUID == images[0].StudyInstanceUID]
    assert sorted(one.Modality for one in held) == sorted(["DX", "OT", "PR", "SEG", "SR", "SR"] * 2)
    assert len(orthanc.objects()) == 13
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == sorted(
        f"{image.SOPInstanceUID}.sr.dcm" for image in images
    )
    found = json.loads((tmp_path / "boxes.json").read_text())["images"]
    assert {one["path"] for one in found} == {image.SOPInstanceUID for image in images}
    assert {one["uids"]["SOPInstanceUID"] for one in found} == {image.SOPInstanceUID for image in images}
    answer = cxrcad(*own[:4], "1.2.3", *own[5:])
    assert answer.code == 1
    assert "/dicom-web: " in answer.err
