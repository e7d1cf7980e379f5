"""`cxrcad doctor`: its exit code, its lines and its JSON, with whole and damaged models."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def models(tmp_path, make_toy, monkeypatch):
    """The folder of two packaged toys, `one` and `two`."""
    folder = tmp_path / "packaged"
    for name in ("one", "two"):
        make_toy(folder / name)
    monkeypatch.setattr("cxrcad.doctor.models.models_folder", lambda: folder)
    return folder


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def states(answer):
    return {check["name"]: check["state"] for check in json.loads(answer.out)["checks"]}


def test_a_whole_installation_is_said_to_work(cxrcad, models, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    answer = cxrcad("doctor")
    assert answer.code == 0, answer.out
    assert answer.out.splitlines()[-1].startswith("All that detection needs works")
    assert all(len(line) <= 80 for line in answer.out.splitlines() if str(tmp_path) not in line)
    assert answer.err == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_model_is_broken_and_the_other_is_not(cxrcad, models):
    damage(models / "two" / "model.onnx")
    answer = cxrcad("doctor", "--json")
    document = json.loads(answer.out)
    assert (answer.code, document["schema"], document["broken"]) == (1, "cxrcad/doctor/1", 1)
    checks = {check["name"]: check for check in document["checks"]}
    assert (checks["one"]["state"], checks["two"]["state"]) == ("ok", "broken")
    assert "its SHA-256 is" in checks["two"]["told"]
    assert "copy the whole folder again" in checks["two"]["remedy"]
    text = cxrcad("doctor")
    assert text.code == 1
    assert "BROKEN" in text.out
    assert text.out.splitlines()[-1].startswith("1 thing that detection needs is broken")


def test_a_remedy_that_several_share_is_told_once(cxrcad, models):
    for name in ("one", "two"):
        (models / name / "model.onnx").unlink()
    text = cxrcad("doctor").out
    assert text.count("Remedy: copy the whole folder again.") == 1
    assert text.count("Remedy: as above.") == 1


def test_a_network_that_does_not_run_is_broken_whatever_its_checksum(cxrcad, models, make_toy):
    make_toy(models / "three", outputs=("lung",), tasks=["lesion"])
    answer = cxrcad("doctor", "--json")
    assert (answer.code, states(answer)["three"]) == (1, "broken")


def test_without_models_it_is_broken_but_for_one_that_is_named(cxrcad, tmp_path, make_toy, monkeypatch):
    monkeypatch.setattr("cxrcad.doctor.models.models_folder", lambda: None)
    assert cxrcad("doctor").code == 1
    mine = make_toy(tmp_path / "mine")
    assert states(cxrcad("doctor", "--json", "--model", mine))[str(mine)] == "ok"
    damage(mine / "model.onnx")
    answer = cxrcad("doctor", "--json", "--model", mine)
    assert (answer.code, states(answer)[str(mine)]) == (1, "broken")


def test_a_folder_that_cannot_be_written_is_broken(cxrcad, models, tmp_path):
    (tmp_path / "file").write_text("")
    answer = cxrcad("doctor", "--json", "--out", tmp_path / "file")
    assert (answer.code, states(answer)["disk for outputs"]) == (1, "broken")


def test_cuda_that_is_asked_for_is_needed(cxrcad, models, monkeypatch):
    monkeypatch.setattr("cxrcad.doctor.providers.driver_library", lambda: None)
    assert cxrcad("doctor").code == 0
    assert cxrcad("doctor", "--device", "cuda").code == 1
