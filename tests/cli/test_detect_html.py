"""`cxrcad detect --html`: the page beside boxes.json, also when it is stopped, and where it may not go."""

from __future__ import annotations

import json
import re

import pytest


@pytest.fixture
def model(make_toy, tmp_path):
    return make_toy(tmp_path / "toy")


def cases(page):
    data = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1])
    return data["cases"]


def test_the_page_has_the_cases_of_boxes_json(cxrcad, model, disc_data, tmp_path):
    (tmp_path / "cut.png").write_bytes((disc_data / "images" / "JPCLN001.png").read_bytes()[:100])
    images = [disc_data / "images" / f"JPC{name}.png" for name in ("LN001", "LN002", "NN001")]
    answer = cxrcad("detect", *images, tmp_path / "cut.png", "--model", model, "--html", "sub/page.html")
    assert answer.code == 1
    document = json.loads((tmp_path / "boxes.json").read_text())
    shown = cases(tmp_path / "sub" / "page.html")
    assert [case["kind"] for case in shown] == ["detected"] * 3 + ["failed"]
    for image, case in zip(document["images"], shown, strict=False):
        assert case["name"] == image["path"].rpartition("/")[2]
        assert [one["score"] for one in case["findings"]] == [one["score"] for one in image["findings"]]
        assert [one["mm"] for one in case["findings"]] == [one["diameter_mm"] for one in image["findings"]]
    assert sum(len(case["findings"]) for case in shown[:3]) >= 2
    text = (tmp_path / "sub" / "page.html").read_text()
    assert "The run ended early" not in text
    assert str(disc_data) not in text
    assert len(re.findall(r'id="picture-\d+">[\w+/=]{200,}<', text)) == 3


def test_a_run_that_is_stopped_leaves_the_page_of_what_is_done(cxrcad, model, disc_data, tmp_path, monkeypatch):
    from cxrcad.report.findings import Pictures

    real, calls = Pictures.add, []

    def add(self, path, radiograph):
        real(self, path, radiograph)
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Pictures, "add", add)
    images = sorted((disc_data / "images").iterdir())[:4]
    answer = cxrcad("detect", *images, "--model", model, "--html", "page.html")
    assert answer.code == 130
    assert len(cases(tmp_path / "page.html")) == 2
    assert "The run ended early" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ("-", "--html -: the page is not written to standard output"),
        ("boxes.json", "--html boxes.json: is also the file of --out"),
        ("toy", "--html toy: is a folder; name the file, for example toy/page.html"),
        ("scan.png", "--html scan.png: is one of the radiographs and would be overwritten"),
    ],
)
def test_a_page_that_cannot_be_there_is_refused_before_any_work(cxrcad, model, disc_data, tmp_path, page, sentence):
    content = (disc_data / "images" / "JPCLN001.png").read_bytes()
    (tmp_path / "scan.png").write_bytes(content)
    answer = cxrcad("detect", "scan.png", "--model", model, "--html", page)
    assert answer.code == 2
    assert sentence in answer.err
    assert not (tmp_path / "boxes.json").exists()
    assert (tmp_path / "scan.png").read_bytes() == content
