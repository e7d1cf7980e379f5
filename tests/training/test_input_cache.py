"""The cache of decoded radiographs: what it gives, when it is made anew, and two starts at once."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from cxrcad.config import TrainConfig, build
from cxrcad.core import ReadError
from cxrcad.datasets.read import read_dataset
from cxrcad.datasets.samples import load_samples
from cxrcad.training import input_cache
from cxrcad.training.input_cache import sample_loader


@pytest.fixture
def decodings(monkeypatch):
    """How many cases each decoding took."""
    counts, read = [], input_cache.read_samples

    def counted(cases, config, multiple):
        counts.append(len(cases))
        yield from read(cases, config, multiple)

    monkeypatch.setattr(input_cache, "read_samples", counted)
    return counts


def settings(data, **values):
    return build(TrainConfig, {"side": 64, "data": data, **values})


def loaded(config, folder, notes=None):
    """The positives of the data, as a training in `folder`/run gets them."""
    dataset = read_dataset(config.data.folders)
    load = sample_loader(config, dataset, folder / "run", 16, (notes if notes is not None else []).append)
    return load([case for case in dataset.cases if case.positive])


def assert_same(some, others):
    for one, other in zip(some, others, strict=True):
        assert (one.case, one.geometry, one.sha256) == (other.case, other.geometry, other.sha256)
        for name in ("image", "lesion", "lung", "unknown"):
            first, second = getattr(one, name), getattr(other, name)
            assert (first is None) == (second is None), name
            assert first is None or (first.dtype == second.dtype and np.array_equal(first, second)), name


def test_it_gives_what_decoding_gives_and_decodes_once(boxed, tmp_path, decodings):
    config = settings(boxed, ignore_rim=0.2)
    dataset = read_dataset(boxed)
    fresh = load_samples([case for case in dataset.cases if case.positive], config, 16)
    assert any(sample.lung is None for sample in fresh)
    assert all(sample.unknown is not None for sample in fresh)
    notes = []
    assert_same(loaded(config, tmp_path, notes), fresh)
    assert_same(loaded(config, tmp_path, notes), fresh)
    assert decodings == [10]
    assert len(notes) == 1
    assert notes[0].startswith("10 cases decoded in ")
    (place,) = (tmp_path / "cache").iterdir()
    assert sorted(path.name for path in place.iterdir()) == ["index.json", "samples.bin"]


def test_what_decides_the_pixels_makes_another_cache(tiny_data, tmp_path, decodings):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    for values in ({}, {"side": 32}, {"truth": "box"}, {"high_percentile": 98.0}, {"normals": True}):
        loaded(settings(data, **values), tmp_path)
    assert decodings == [20, 20, 20, 20, 30]
    loaded(settings(data, epochs=3, seed=7, batch=2), tmp_path)
    assert len(decodings) == 5
    shutil.copy(data / "images" / "OXLN003.png", data / "images" / "OXLN004.png")
    assert_same(loaded(settings(data), tmp_path), load_samples(read_dataset(data).cases[:20], settings(data), 16))
    assert len(decodings) == 6
    os.utime(data / "images" / "OXLN004.png")
    loaded(settings(data), tmp_path)
    assert len(decodings) == 6


@pytest.mark.parametrize("damage", ["pixels", "index", "cut", "gone"])
def test_a_damaged_cache_is_made_again(tiny_data, tmp_path, decodings, damage):
    config = settings(tiny_data)
    before = loaded(config, tmp_path)
    (place,) = (tmp_path / "cache").iterdir()
    pixels = place / "samples.bin"
    content = pixels.read_bytes()
    if damage == "pixels":
        pixels.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif damage == "cut":
        pixels.write_bytes(content[:-1])
    elif damage == "index":
        (place / "index.json").write_text('{"key": ')
    else:
        shutil.rmtree(place)
    assert_same(loaded(config, tmp_path), load_samples([sample.case for sample in before], config, 16))
    assert decodings == [20, 20]


def test_of_two_that_start_at_once_one_makes_it(tiny_data, tmp_path, decodings):
    config, found = settings(tiny_data, cache=tmp_path / "shared"), {}
    starts = [threading.Thread(target=lambda n=n: found.update({n: loaded(config, tmp_path / str(n))})) for n in (1, 2)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert decodings == [20]
    assert_same(found[1], found[2])


def test_where_it_cannot_be_written_radiographs_are_kept_in_memory(tiny_data, tmp_path):
    (tmp_path / "file").write_text("")
    notes = []
    config = settings(tiny_data, cache=tmp_path / "file")
    assert_same(loaded(config, tmp_path, notes), loaded(replace(config, input_cache=False), tmp_path, notes))
    assert len(notes) == 1
    assert notes[0].endswith("decoded radiographs are not kept")


def test_an_image_that_cannot_be_read_is_told_when_it_is_needed(tiny_data, tmp_path):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    path = data / "images" / "OXLN002.png"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 40])
    config, dataset = settings(data), read_dataset(data)
    load = sample_loader(config, dataset, tmp_path / "run", 16, lambda _: None)
    assert len(load(dataset.select(["OXLN001", "OXLN003"]))) == 2
    with pytest.raises(ReadError, match=r"OXLN002\.png"):
        load(dataset.select(["OXLN001", "OXLN002"]))


def test_what_is_mapped_cannot_be_written_to(tiny_data, tmp_path):
    sample = loaded(settings(tiny_data), tmp_path)[0]
    with pytest.raises(ValueError, match="read-only"):
        sample.image[0, 0] = 1
    assert sample.pixels.flags.writeable
    assert Image.fromarray(sample.image).size == (64, 64)
