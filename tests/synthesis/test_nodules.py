"""Stocks of nodules: what a file holds, what formulas draw, and which nodule is drawn in which size."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from cxrcad.core import DataError
from cxrcad.synthesis.analytic import KINDS, analytic_block
from cxrcad.synthesis.nodules import ANALYTIC, draw_nodule, read_nodules
from cxrcad.synthesis.projection import load_projections


def test_a_file_holds_blocks_and_those_below_6_mm_are_not_used(ball_nodules):
    stock = read_nodules(ball_nodules, count=9, seed=9)
    assert [stock.density(index).shape for index in range(3)] == [(16,) * 3, (12,) * 3, (5,) * 3]
    assert [int(stock.density(index).max()) for index in range(3)] == [1000, 1000, 1000]
    assert stock.series_uid == ("1.1", "1.2", "1.3")
    assert stock.kinds == ("", "", "")
    assert stock.usable() == [0, 1]
    assert stock.usable(["1.1"]) == [1]


def test_a_nodule_is_drawn_near_a_size_and_scaled_to_it_within_bounds():
    rng = np.random.default_rng(0)
    diameters = np.array([6.0, 12.0, 24.0])
    drawn = [draw_nodule(diameters, rng) for _ in range(300)]
    assert {place for place, _ in drawn} == {0, 1, 2}
    assert all(0.75 <= scale <= 1.4 for _, scale in drawn)
    mean = float(np.mean([diameters[place] * scale for place, scale in drawn]))
    assert mean == pytest.approx(16 * np.exp(0.38**2 / 2), rel=0.07)  # JSRT's: log-normal about 16 mm
    assert draw_nodule(np.array([100.0]), rng) == (0, 0.75)  # none is near: the nearest, as small as is allowed


@pytest.mark.parametrize(
    ("arrays", "fault"),
    [
        ({"densities": np.zeros(7, np.int16)}, r"densities holds 7 values and shapes asks for 8"),
        ({"diameters": np.array([6.0, 7.0])}, r"differ in length"),
        ({"shapes": None}, r"'shapes is not a file in the archive'|shapes"),
        ({"shapes": np.array([[2.0, 2.0, 2.0]])}, r"shapes holds float64, not whole numbers"),
        ({"shapes": np.array([[-2, -2, 2]])}, r"a side in shapes is not 1 to 1000"),
        ({"shapes": np.array([[2**32, 2**32, 2]]), "densities": np.ones(0, np.int16)}, r"a side in shapes is not 1 to"),
        ({"shapes": np.array([2, 2, 2])}, r"shapes is not \(3, 3\)"),
        ({"densities": np.ones(8)}, r"densities holds float64, not whole numbers"),
        ({"densities": np.array([{}] * 8)}, r"no \.npz archive"),
        ({"diameters": np.array(["6"])}, r"diameters holds <U1, not numbers"),
        ({"diameters": np.array([np.nan])}, r"a diameter is not above 0 and up to 1000 mm"),
    ],
)
def test_a_file_that_contradicts_itself_is_named(tmp_path: Path, arrays, fault):
    whole = {
        "shapes": np.array([[2, 2, 2]]),
        "densities": np.ones(8, np.int16),
        "diameters": np.array([6.0]),
        "series_uid": np.array(["1"]),
    }
    kept = {name: value for name, value in {**whole, **arrays}.items() if value is not None}
    np.savez(tmp_path / "n.npz", **kept)
    with pytest.raises(DataError, match=rf"n\.npz: not a file of CT nodules \(.*{fault}.*docs/DATA\.md"):
        read_nodules(tmp_path / "n.npz", count=1, seed=0)


def test_a_file_that_was_cut_is_named(tmp_path: Path, ball_nodules):
    (tmp_path / "cut.npz").write_bytes(ball_nodules.read_bytes()[:400])
    with pytest.raises(DataError, match=r"cut\.npz: not a file of CT nodules"):
        read_nodules(tmp_path / "cut.npz", count=1, seed=0)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04K\x01.", b"\x93NUMPY\x01\x00\x10\x00" + 16 * b"("])
def test_a_file_that_is_no_archive_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "no.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"no\.npz: not a file of CT nodules \(.+\); see docs/DATA\.md"):
        read_nodules(tmp_path / "no.npz", count=1, seed=0)


def test_an_archive_that_asks_for_more_memory_than_there_is_is_named(tmp_path: Path):
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000000,), }".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "big.npz", "w") as archive:
        archive.writestr("shapes.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(DataError, match=r"big\.npz: not a file of CT nodules \(.+\); see docs/DATA\.md"):
        read_nodules(tmp_path / "big.npz", count=1, seed=0)


def test_formulas_draw_five_kinds_in_turn_as_blocks_like_ct():
    stock = read_nodules(ANALYTIC, count=10, seed=3)
    assert set(stock.kinds) == {"solid", "spiculated", "part-solid", "calcified", "cavitary"}
    assert stock.series_uid == ("",) * 10
    assert stock.usable() == list(range(10))
    for index in range(10):
        block = stock.density(index)
        assert block.dtype == np.int16
        assert block.min() == 0
        for axis in range(3):  # no empty margin
            filled = block.any(tuple(other for other in range(3) if other != axis))
            assert filled[0]
            assert filled[-1]
        volume = np.count_nonzero(block)
        assert stock.diameters_mm[index] == pytest.approx((6 * volume / np.pi) ** (1 / 3))


def middle(block: np.ndarray) -> int:
    return int(block[tuple(side // 2 for side in block.shape)])


def test_each_kind_is_what_its_name_says():
    blocks = {kind: analytic_block(index + 5, 1)[0] for index, kind in enumerate(KINDS)}
    assert {kind: int(block.max()) for kind, block in blocks.items()} == {
        **{"solid": 1040, "spiculated": 1040, "part-solid": 1040, "calcified": 1300, "cavitary": 1040}
    }
    assert middle(blocks["solid"]) == 1040
    assert middle(blocks["calcified"]) == 1300
    assert middle(blocks["cavitary"]) == 50  # air, which is inside all the same
    filled = {kind: np.count_nonzero(block) / block.size for kind, block in blocks.items()}
    assert filled["spiculated"] < 0.6 * filled["solid"]  # spikes reach far and fill little
    glass = (blocks["part-solid"] > 0) & (blocks["part-solid"] <= 600)
    assert np.count_nonzero(glass) > 0.3 * np.count_nonzero(blocks["part-solid"])


def test_a_seed_and_an_index_make_a_nodule():
    first, kind = analytic_block(7, 2)
    again, _ = analytic_block(7, 2)
    other, _ = analytic_block(7, 3)
    assert kind == "part-solid"
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_training_takes_analytic_nodules_which_have_no_series(monkeypatch):
    monkeypatch.setattr("cxrcad.synthesis.projection.ANALYTIC_POOL", 5)
    projections = load_projections(ANALYTIC, exclude_series=["1.1"], spacing_mm=1.4, count=5, seed=0)
    assert [projection.series_uid for projection in projections] == [""] * 5
    assert all(projection.outline.any() for projection in projections)
