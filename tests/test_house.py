"""The house rules of the code: layers, sizes, imports, names and docstrings, read from the source."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cxrcad.config import ALL_CONFIGS, settings_of
from cxrcad.config.sources import OTHER_VARIABLES

ROOT = Path(__file__).resolve().parent.parent

# A unit is a folder of cxrcad/, or a module directly in it. Imports go to a lower number, or stay in the unit.
LAYERS: dict[str, float] = {
    "__main__": 9,  # python -m cxrcad
    "cli": 8,
    "commands": 7,
    "paper": 6,
    "pacs": 6,
    "training": 5,
    "report": 5,
    "packaging": 4.5,  # training packages each fold that it finishes
    "scoring": 4.5,
    "evaluation": 4,
    "doctor": 4,
    "inference": 3,
    "networks": 3,
    "synthesis": 2,
    "interchange": 2,
    "datasets": 1.5,  # synthesis and interchange make data sets
    "imaging": 1,
    "core": 0,
    "documents": 0,
    "files": 0,
    "config": 0,
    "__init__": -1,  # the version
}
BESIDE = {("config", "core"), ("config", "documents"), ("files", "core"), ("files", "documents")}  # on one layer
ONLY_CORE = {"networks"}  # torch, the nouns and the settings only
NEEDS_TORCH = {"networks", "training", "packaging"}
MAY_NEED_TORCH = NEEDS_TORCH | {"commands", "paper"}  # the last two, inside functions

# Who may import what: {top-level module: (units where anywhere, units where inside functions)}; others are for all.
EVERYWHERE = set(LAYERS)
IMPORTERS: dict[str, tuple[set[str], set[str]]] = {
    **dict.fromkeys(("torch", "kornia"), (NEEDS_TORCH, MAY_NEED_TORCH)),
    **dict.fromkeys(("safetensors", "onnx", "onnxscript"), ({"training", "packaging"}, MAY_NEED_TORCH)),
    "lightning_fabric": (set(), {"training"}),
    "click": ({"cli"}, {"cli"}),
    "rich": ({"cli"}, {"cli"}),
    **dict.fromkeys(("fsspec", "aiohttp"), (set(), EVERYWHERE)),
    **dict.fromkeys(
        (
            "SimpleITK",
            "matplotlib",
            "highdicom",
            "pynetdicom",
            "dicomweb_client",
            "requests",
            "jinja2",
            "ray",
            "pydicom",
            "onnxruntime",
            "msgspec",
        ),
        (set(), EVERYWHERE),
    ),
}
DISTRIBUTIONS = {"PIL": "pillow", "gdcm": "python-gdcm", "openjpeg": "pylibjpeg-openjpeg"}

NEW_LINE = "\n"
MOST_MODULE_LINES = 449
MOST_FUNCTION_LINES = 59
MOST_PARAMETERS = 8


@dataclass(frozen=True)
class Import:
    module: str
    line: int
    in_function: bool


@dataclass(frozen=True)
class Module:
    path: Path

    @property
    def name(self) -> str:
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def unit(self) -> str:
        return self.path.relative_to(ROOT / "cxrcad").with_suffix("").parts[0]

    @property
    def shown(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """Every import, inside functions too; what only a type checker sees counts as inside a function."""
        return tuple(self._imports_in(self.tree, False))

    def _imports_in(self, node: ast.AST, in_function: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            for module in self._imported(child):
                yield Import(module, child.lineno, in_function)
            for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from self._imports_in(child, in_function or function or for_types)

    def _imported(self, node: ast.AST) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            package = self.name.split(".")[: None if self.path.name == "__init__.py" else -1]
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
            return [name if name in module_names() else base for name in names]
        by_name = ("importlib.import_module", "import_module", "__import__")
        if isinstance(node, ast.Call) and ast.unparse(node.func) in by_name:
            return [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        return []

    @property
    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        return (node for node in ast.walk(self.tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


MODULES = tuple(Module(path) for path in sorted((ROOT / "cxrcad").rglob("*.py")))


def module_names() -> set[str]:
    return {module.name for module in MODULES}


def unit_of(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


def none(faults: Iterator[str]) -> None:
    found = list(faults)
    assert not found, "\n".join(["", *found])


def test_every_unit_has_a_layer() -> None:
    none(
        f"{module.shown}: decide the layer of cxrcad/{module.unit}, then give it here"
        for module in MODULES
        if module.unit not in LAYERS
    )


def test_imports_point_down_only() -> None:
    def allowed(source: str, target: str, in_function: bool) -> bool:
        if source == target or target == "__init__" or (source, target) in BESIDE:
            return True
        if source == "__init__":  # the library's front door, which imports when it is asked
            return in_function
        return LAYERS[target] < LAYERS[source] and (source not in ONLY_CORE or target in ("core", "config"))

    none(
        f"{module.shown}:{item.line}: {module.unit} (layer {LAYERS[module.unit]}) imports {item.module}"
        for module in MODULES
        for item in module.imports
        if item.module.split(".")[0] == "cxrcad" and not allowed(module.unit, unit_of(item.module), item.in_function)
    )


def test_only_what_trains_imports_networks_and_training() -> None:
    none(
        f"{module.shown}:{item.line}: {item.module} needs torch, which {module.unit} must do without"
        for module in MODULES
        for item in module.imports
        if unit_of(item.module) in NEEDS_TORCH and item.module.startswith("cxrcad.")
        if module.unit not in (MAY_NEED_TORCH if item.in_function else NEEDS_TORCH)
    )


def test_heavy_and_special_packages_are_imported_where_they_may_be() -> None:
    def allowed(module: Module, item: Import) -> bool:
        anywhere, in_functions = IMPORTERS.get(item.module.split(".")[0], (EVERYWHERE, EVERYWHERE))
        return module.unit in (in_functions if item.in_function else anywhere)

    none(
        f"{module.shown}:{item.line}: imports {item.module} {'inside a function' if item.in_function else 'at its top'}"
        for module in MODULES
        for item in module.imports
        if not allowed(module, item)
    )


def test_modules_are_under_450_lines() -> None:
    none(
        f"{module.shown} has {module.text.count(NEW_LINE)} lines"
        for module in MODULES
        if module.text.count(NEW_LINE) > MOST_MODULE_LINES
    )


def test_functions_are_under_60_lines() -> None:
    none(
        f"{module.shown}:{node.lineno}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for module in MODULES
        for node in module.functions
        if node.end_lineno is not None and node.end_lineno - node.lineno + 1 > MOST_FUNCTION_LINES
    )


def test_functions_take_at_most_8_parameters() -> None:
    def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
        given = node.args
        named = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
        return [item.arg for item in named if item.arg not in ("self", "cls")]

    none(
        f"{module.shown}:{node.lineno}: {node.name} takes {len(parameters(node))}: {', '.join(parameters(node))}"
        for module in MODULES
        for node in module.functions
        if len(parameters(node)) > MOST_PARAMETERS
    )


def test_names_say_what_a_module_is_for() -> None:
    vague = {"util", "utils", "utilities", "helper", "helpers", "common", "misc", "tools"}
    none(module.shown for module in MODULES if vague & set(module.name.split(".")))


def test_only_the_cli_prints_and_exits() -> None:
    calls = {"print", "exit", "quit", "input", "sys.exit", "os._exit", "sys.stdout.write", "sys.stderr.write"}
    none(
        f"{module.shown}:{node.lineno}: {ast.unparse(node)[:60]}"
        for module in MODULES
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Call) and ast.unparse(node.func) in calls)
        or (isinstance(node, ast.Raise) and "SystemExit" in ast.unparse(node))
        if module.unit not in ("cli", "__main__")
    )


def test_public_things_have_docstrings() -> None:
    def undocumented(module: Module, node: ast.AST) -> Iterator[str]:
        defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, defined) or child.name.startswith("_"):
                continue
            # What a network's `forward` takes and gives stands in its class's docstring.
            if ast.get_docstring(child) is None and child.name != "forward":
                yield f"{module.shown}:{child.lineno}: {child.name} has no docstring"
            if isinstance(child, ast.ClassDef):
                yield from undocumented(module, child)

    none(fault for module in MODULES for fault in undocumented(module, module.tree))
    none(module.shown for module in MODULES if module.tree.body and ast.get_docstring(module.tree) is None)


def test_a_setting_has_its_default_in_config_only() -> None:
    """A number that is a setting's default stands in config; a signature elsewhere takes it without one."""
    names = {item.name for kind in ALL_CONFIGS for item in settings_of(kind)}

    def defaults(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            positional = [*node.args.posonlyargs, *node.args.args]
            yield from zip((item.arg for item in positional[::-1]), node.args.defaults[::-1], strict=False)
            yield from ((a.arg, d) for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if d)
        elif isinstance(node, ast.ClassDef):
            fields = [item for item in node.body if isinstance(item, ast.AnnAssign) and item.value]
            yield from ((ast.unparse(item.target), item.value) for item in fields if item.value)

    none(
        f"{module.shown}:{value.lineno}: {name} = {ast.unparse(value)} repeats a setting's default"
        for module in MODULES
        for node in ast.walk(module.tree)
        for name, value in defaults(node)
        if name in names and isinstance(value, ast.Constant) and type(value.value) in (int, float)
        if module.unit != "config"
    )


def test_environment_variables_are_settings() -> None:
    known = {item.variable for kind in ALL_CONFIGS for item in settings_of(kind)} | {"CXRCAD_", *OTHER_VARIABLES}
    none(
        f"{module.shown}: {name} is no setting's variable"
        for module in MODULES
        for name in re.findall(r"""["'](CXRCAD_[A-Z0-9_]*)["']""", module.text)
        if name not in known
    )


def test_the_version_is_written_once() -> None:
    version = re.search(r'__version__ = "([^"]+)"', (ROOT / "cxrcad" / "__init__.py").read_text())
    assert version
    sources = [ROOT / name for name in ("setup.cfg", "setup.py", "pyproject.toml", "Makefile")]
    sources += [module.path for module in MODULES]
    holding = [path for path in sources if re.search(rf"""["'= ]{re.escape(version[1])}["'\s]""", path.read_text())]
    assert holding == [ROOT / "cxrcad" / "__init__.py"]


def requirements() -> dict[str, set[str]]:
    """Names of the distributions by extra ("" for the base install), as setup.cfg has them."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")

    def names(text: str) -> set[str]:
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
        return {re.split(r"[\s\[<>=;~!]", line)[0].lower() for line in lines}

    extras = {extra: names(text) - {"cxrcad"} for extra, text in setup["options.extras_require"].items()}
    return {"": names(setup["options"]["install_requires"]), **extras}


def test_what_is_imported_is_required() -> None:
    """The base install holds all that detection imports; only what trains may need the extra `train`."""
    required = requirements()
    base = set().union(*(names for extra, names in required.items() if extra not in ("train", "docs", "test")))
    known = sys.stdlib_module_names | {"cxrcad", "cxrcad_models"}

    def distribution(module: str) -> str:
        top = module.split(".")[0]
        return DISTRIBUTIONS.get(top, top).lower().replace("_", "-")

    none(
        f"{module.shown}:{item.line}: imports {item.module}, which setup.cfg does not require"
        for module in MODULES
        for item in module.imports
        if item.module.split(".")[0] not in known
        if distribution(item.module) not in (base | required["train"] if module.unit in MAY_NEED_TORCH else base)
    )


def test_every_requirement_is_pinned_and_torch_as_its_cpu_build_is() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.lower().split("==") for line in lines if line and not line.startswith("#"))
    assert set().union(*requirements().values()) <= set(pins)
    assert pins["torch"] == "2.13.0"


def test_docs_give_a_reason_for_each_requirement() -> None:
    page = ROOT / "docs" / "INSTALL.md"
    rows = " ".join(line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")).lower()
    missing = {name for names in requirements().values() for name in names if not re.search(rf"\b{name}\b", rows)}
    assert not missing
