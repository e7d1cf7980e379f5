"""Importing does nothing: no torch for who does not train, no handlers, filters, seeds, threads or files."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
NEEDS_TORCH = ("cxrcad.networks", "cxrcad.training", "cxrcad.packaging")


def modules(*, with_torch: bool) -> list[str]:
    paths = (path.relative_to(ROOT).with_suffix("") for path in sorted((ROOT / "cxrcad").rglob("*.py")))
    names = [".".join(path.parts).removesuffix(".__init__") for path in paths if path.name != "__main__"]
    return [name for name in names if with_torch or not name.startswith(NEEDS_TORCH)]


def answer(script: str, folder: Path, *arguments: str) -> Any:
    """What `script`, run by a fresh interpreter in `folder`, prints as JSON."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{script}", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


LOADED = """
import importlib, json
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def loaded_by(names: list[str], folder: Path) -> set[str]:
    return set(answer(LOADED, folder, json.dumps(names)))


def test_only_networks_training_and_packaging_import_torch(tmp_path: Path) -> None:
    loaded = loaded_by(modules(with_torch=False), tmp_path)
    assert not loaded & {"torch", "kornia", "onnx", "onnxscript", "safetensors"}


def test_heavy_packages_wait_for_the_function_that_needs_them(tmp_path: Path) -> None:
    loaded = loaded_by(modules(with_torch=False), tmp_path)
    assert not loaded & {"SimpleITK", "matplotlib", "pydicom", "onnxruntime", "highdicom", "jinja2", "ray"}


def test_the_command_line_starts_without_anything_heavy(tmp_path: Path) -> None:
    if importlib.util.find_spec("cxrcad.cli.main") is None:
        pytest.skip("there is no cxrcad.cli.main yet")
    loaded = loaded_by(["cxrcad.cli.main"], tmp_path)
    assert not loaded & {"torch", "onnxruntime", "matplotlib", "scipy", "SimpleITK", "pydicom", "PIL", "jinja2"}


# The first round brings in other packages, with what their own imports do; the second runs only our modules again,
# from a state in which every trace shows.
TRACES = """
import importlib, json, logging, os, random, threading, warnings
from pathlib import Path
import numpy
names = json.loads(sys.argv[1])
environment = dict(os.environ)

def import_all():
    for name in [name for name in sys.modules if name.split(".")[0] == "cxrcad"]:
        del sys.modules[name]
    for name in names:
        importlib.import_module(name)

def state():
    ours = [item for name, item in logging.root.manager.loggerDict.items() if name.split(".")[0] == "cxrcad"]
    loggers = [logging.root, *(item for item in ours if isinstance(item, logging.Logger))]
    torch = sys.modules.get("torch")
    return {
        "handlers": sum(len(item.handlers) for item in loggers),
        "levels": logging.root.level + sum(item.level for item in loggers[1:]),
        "filters": len(warnings.filters),
        "random": repr(random.getstate()),
        "numpy.random": repr(numpy.random.get_state()),
        "numpy errors": numpy.geterr(),
        "torch": torch and [torch.initial_seed(), torch.get_num_threads(), str(torch.get_default_dtype())],
        "environment": sorted(set(os.environ.items()) ^ set(environment.items())),
        "threads": threading.active_count(),
        "files": sorted(map(str, Path().rglob("*"))),
        "hooks": repr((sys.excepthook, sys.displayhook)),
    }

import_all()
for path in filter(Path.is_file, Path().rglob("*")):
    path.unlink()
os.environ.clear()
os.environ.update(environment)
logging.root.handlers.clear()
logging.root.setLevel(37)
for name, item in logging.root.manager.loggerDict.items():
    if name.split(".")[0] == "cxrcad" and isinstance(item, logging.Logger):
        item.handlers.clear()
        item.setLevel(logging.NOTSET)
warnings.resetwarnings()
random.seed(4711)
numpy.random.seed(4711)
if "torch" in sys.modules:
    sys.modules["torch"].manual_seed(4711)
before = state()
import_all()
after = state()
print(json.dumps({key: [before[key], after[key]] for key in before if before[key] != after[key]}))
"""


@pytest.mark.parametrize("with_torch", [False, True], ids=["base", "with torch"])
def test_importing_leaves_no_trace(tmp_path: Path, with_torch: bool) -> None:
    if with_torch and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed (the extra train)")
    assert answer(TRACES, tmp_path, json.dumps(modules(with_torch=with_torch))) == {}
