"""`cxrcad export`: a run's fold as a packaged model, compared with torch; targets that are wrong."""

from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def trained(tiny_run):
    return tiny_run[0]


@pytest.mark.slow
@pytest.mark.usefixtures("real_exporter")
def test_a_run_becomes_a_model_with_a_parity_figure_and_a_card(cxrcad, trained, tiny_data, tmp_path):
    from cxrcad.inference.model import load_bundle

    cxrcad("evaluate", "--fold", "3", "--run", trained)
    (tmp_path / "sources.txt").write_text("Drawn discs.\n\nNo context.\n")
    options = ["--name", "discs", "--data", tiny_data / "images", "--compare", "2", "--sources", "sources.txt"]
    answer = cxrcad("export", trained, "--out", "packed", *options)
    assert answer.code == 0, answer.err
    assert answer.err.startswith("packaging discs: 4 steps\n")
    told = re.fullmatch(
        r"packed: packaged; torch and ONNX Runtime differ by at most (\S+) on 2 radiographs\n", answer.out
    )
    assert told
    assert float(told[1]) < 1e-4
    files = sorted(path.name for path in (tmp_path / "packed").iterdir())
    assert files == ["README.md", "card.json", "model.onnx", "model.safetensors"]
    bundle = load_bundle(tmp_path / "packed")
    own = load_bundle(trained / "fold3" / "model")
    assert (bundle.name, bundle.threshold, bundle.tasks) == ("discs", own.threshold, ("lesion", "lung"))
    assert bundle.training_images == own.training_images
    assert bundle.card["parity"]["images"] == 2
    assert f"{bundle.card['parity']['largest_difference']:.1e}" == told[1]
    assert bundle.card["sources"] == ["Drawn discs.", "No context."]
    figures = bundle.card["figures"]["test cases of fold 3, protocol paper, hit rule center"]
    assert (figures["images"], figures["nodules"]) == (4, 4)
    readme = (tmp_path / "packed" / "README.md").read_text()
    assert readme.startswith("# discs\n\nResearch on computer-aided detection. Not a medical device")
    assert "- network: u-net, tasks lesion, lung, norm group, input channels raw\n" in readme
    assert f"Largest difference in probability on 2 images: {told[1]}." in readme
    assert "- Drawn discs.\n" in readme
    assert "None" not in readme
    image = tiny_data / "images" / "OXLN003.png"
    found = [
        json.loads(cxrcad("detect", image, "--model", model, "--out", "-", "--min-score", "0").out)["images"][0]
        for model in ("packed", trained / "fold3")
    ]
    assert found[0]["findings"] == found[1]["findings"]


@pytest.mark.parametrize(
    ("run", "flags", "code", "sentence"),
    [
        ("none", ["--out", "new"], 1, "none: there is no such run; name a folder that `cxrcad train` wrote"),
        ("empty", ["--out", "new"], 1, "empty: holds no finished fold; train one with `cxrcad train`"),
        ("RUN", ["--out", "new", "--fold", "2"], 1, "holds no finished fold 2; train it, or choose another"),
        ("RUN", ["--out", "used"], 2, "--out used: holds other files; name a new folder"),
        ("RUN", ["--out", "file"], 2, "--out file: is a file; name a folder"),
        ("RUN", ["--out", "old"], 2, "--out old: holds the model old already; name another folder"),
        ("RUN", ["--out", "new", "--data", "none"], 1, "none: there is no such folder; --data takes radiographs"),
        ("RUN", ["--out", "new", "--data", "empty"], 1, "empty: holds no radiograph to compare"),
        ("RUN", ["--out", "new", "--compare", "0"], 2, "--compare 0: it takes a whole number at least 1"),
        ("RUN", ["--out", "new", "--sources", "none"], 2, "--sources none: cannot be read as text"),
        ("RUN", [], 2, "Missing option '--out'"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(
    cxrcad, trained, tiny_data, make_toy, tmp_path, run, flags, code, sentence
):
    make_toy(tmp_path / "old")
    (tmp_path / "empty").mkdir()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.tex").write_text("")
    (tmp_path / "file").write_text("")
    small = [] if "--data" in flags else ["--data", tiny_data / "images"]
    answer = cxrcad("export", trained if run == "RUN" else run, *flags, *small)
    assert (answer.code, answer.out) == (code, "")
    assert sentence in answer.err.splitlines()[-1]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "..", "x" * 201])
def test_a_models_name_is_no_path(cxrcad, make_run, tmp_path, name):
    make_run(tmp_path / "run")
    answer = cxrcad("export", "run", "--out", "new", "--name", name)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"Error: --name {name}: the name of a model is no path; it takes a name (at most 200")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_two_folds_need_a_choice(cxrcad, make_run, tmp_path):
    make_run(tmp_path / "run", folds=(1, 2))
    answer = cxrcad("export", "run", "--out", "new")
    assert (answer.code, answer.err) == (2, "Error: run: holds 2 folds; choose one with --fold\n")


def test_a_card_that_lacks_what_an_export_tells_of_is_refused(cxrcad, make_run, tmp_path):
    make_run(tmp_path / "run", network={"network": "u-net"}, training={"images": []})
    answer = cxrcad("export", "run", "--out", "new")
    assert answer.code == 1
    lacking = "created, network.norm, network.channels, training.steps, training.minutes"
    assert answer.err == f"Error: run/fold3/model/card.json: {lacking} missing; train or export it again\n"


def test_a_model_without_its_weights_is_not_exported(cxrcad, make_run, disc_data, tmp_path):
    from cxrcad.config import NetworkConfig, to_dict

    make_run(tmp_path / "run", network=to_dict(NetworkConfig()), created="today")
    answer = cxrcad("export", "run", "--out", "new", "--data", disc_data / "images")
    assert answer.code == 1
    assert answer.err.startswith("Error: run/fold3/model/model.safetensors: weights do not fit (")
    assert not (tmp_path / "new").exists()
