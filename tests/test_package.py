"""The wheel: what it holds, and that it works where there is no checkout."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the sources, so that no build folder is left in the checkout."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed (the extra test)")
    sources = tmp_path_factory.mktemp("sources")
    for name in ("cxrcad", "models"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    (sources / "models" / "one" / "deep").mkdir(parents=True)
    (sources / "models" / "one" / "deep" / "weights.bin").write_bytes(b"\1\2\3")
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE"):
        shutil.copy(ROOT / name, sources / name)
    (sources / "README.md").write_text("# cxrcad\n")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-c", BUILD, str(folder)]
    done = subprocess.run(command, cwd=sources, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_code_its_data_and_the_models(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    code = {str(path.relative_to(ROOT)) for path in (ROOT / "cxrcad").rglob("*.py")}
    kinds = ("*.json", "*.toml", "*.csv", "templates/*", "py.typed")
    data = {str(path.relative_to(ROOT)) for kind in kinds for path in (ROOT / "cxrcad").rglob(kind)}
    files = [path for path in (ROOT / "models").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    models = {str(Path("cxrcad_models") / path.relative_to(ROOT / "models")) for path in files}
    assert held == code | data | models | {"cxrcad_models/one/deep/weights.bin"}


def test_the_wheel_names_its_command_and_needs_no_torch_for_the_base_install(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = {Path(name).name: name for name in archive.namelist() if ".dist-info/" in name}
        commands = archive.read(info["entry_points.txt"]).decode()
        required = [line for line in archive.read(info["METADATA"]).decode().splitlines() if "Requires-Dist" in line]
    assert "cxrcad = cxrcad.__main__:main" in commands
    base = [line for line in required if "extra ==" not in line]
    assert any("onnxruntime-gpu" in line for line in base)
    assert not [line for line in base if "torch" in line or "kornia" in line]


def test_the_wheel_is_enough_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    script = """
import importlib.resources, cxrcad
print(cxrcad.__file__)
models = importlib.resources.files("cxrcad_models")
print(models.joinpath("one", "deep", "weights.bin").read_bytes().hex())
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "site" / "cxrcad" / "__init__.py"), "010203"]


def test_ci_runs_make_test_all() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().endswith("\nmake test-all")
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for target in ("test", "test-all"):
        recipe = subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
        )
        for step in ("ruff check .", "mypy", "pytest -q"):
            assert step in recipe.stdout
        assert ("not slow" in recipe.stdout) == (target == "test")
