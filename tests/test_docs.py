"""README and docs: every command, option, file and link that they name exists; the site builds without a warning."""

from __future__ import annotations

import configparser
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cxrcad.cli.main import COMMANDS, FORMER, cli
from cxrcad.config import (
    ALL_CONFIGS,
    DetectConfig,
    EvaluateConfig,
    ExportConfig,
    InsertionTestConfig,
    PhantomConfig,
    ReproduceConfig,
    RobustnessConfig,
    SimulateConfig,
    TrainConfig,
    settings_of,
)
from cxrcad.config.schema import REMOVED
from tests.test_house import LAYERS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
EXPERIMENTS = DOCS / "experiments"
KEPT = tuple(sorted(EXPERIMENTS.glob("2*.md")))  # as they were measured, with the names of their time
PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "RELEASING.md")),
    *(page for page in sorted(DOCS.rglob("*.md")) if page not in KEPT),
)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

CONFIGS = {
    **{"detect": DetectConfig, "train": TrainConfig, "evaluate": EvaluateConfig, "froc": EvaluateConfig},
    **{"compare": EvaluateConfig, "reproduce": ReproduceConfig},
    **{"robustness": RobustnessConfig, "insertion-test": InsertionTestConfig},
    **{"export": ExportConfig, "phantom": PhantomConfig, "simulate": SimulateConfig},
}


def lines_of(block: str) -> list[str]:
    """The commands of a shell block, comments cut."""
    lines = (re.sub(r"(^|\s+)#.*", "", line).strip() for line in block.splitlines())
    return [line for line in lines if line]


def shell_lines(page: Path) -> list[str]:
    found = FENCED.findall(page.read_text(encoding="utf-8"))
    return [line for kind, block in found if kind == "sh" for line in lines_of(block)]


def code_spans(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", FENCED.sub("", page.read_text(encoding="utf-8")))


def shown(page: Path) -> str:
    return str(page.relative_to(ROOT))


def none(faults: Iterator[str]) -> None:
    found = list(faults)
    assert not found, "\n".join(["", *found])


def flags_of(command: click.Command) -> set[str]:
    """The command's flags, without former spellings, which are hidden."""
    shown = [item for item in command.params if not getattr(item, "hidden", False)]
    return {flag for item in shown for flag in (*item.opts, *item.secondary_opts)} | {"--help"}


def command_of(name: str) -> click.Command:
    assert name in COMMANDS, f"there is no command {name}"
    command: click.Command = importlib.import_module(f"cxrcad.cli.{name.replace('-', '_')}").command
    return command


def commands_named() -> list[tuple[str, str]]:
    """(page, command line) of every `cxrcad COMMAND ...` in the pages' shell blocks and code spans."""
    found = []
    for page in PAGES:
        for line in (*shell_lines(page), *code_spans(page)):
            match = re.match(r"(?:CXRCAD_\w+=\S+ )?cxrcad (\S.*)", line)
            if match:
                found.append((shown(page), match[1].split(" | ")[0]))
    return sorted(set(found))


@pytest.mark.parametrize(("page", "line"), commands_named())
def test_a_command_that_is_named_is_one(page: str, line: str) -> None:
    """The command exists, takes these options, and each value is allowed; placeholders stand for paths only."""
    name, *arguments = shlex.split(line)
    if name.startswith("--"):
        assert name in {"--help", "--version"}
        return
    if name == "COMMAND":
        return
    command = command_of(name)
    flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("--")]
    assert not [flag for flag in flags if flag not in flags_of(command)], f"former or unknown options in {line}"
    parser = command.make_parser(click.Context(command, help_option_names=["-h", "--help"]))
    values, _, _ = parser.parse_args(arguments)
    known = {item.name: item for item in settings_of(CONFIGS[name])} if name in CONFIGS else {}
    for key, value in values.items():
        if key in known and isinstance(value, str):
            known[key].parse(value, f"{page}: {line}", text=True)


def test_flags_and_variables_that_are_named_exist() -> None:
    flags = set().union(flags_of(cli), *(flags_of(command_of(name)) for name in COMMANDS))
    others = {"--constraint", "--index-url", "--editable", "--no-deps", "--version"}  # of pip and python
    others |= {"--standalone", "--nproc-per-node"}  # of torchrun
    others |= {"--ntasks-per-node", "--gpus-per-node", "--gpus", "--array", "--requeue", "--time"}  # of Slurm
    others |= {"--logdir"}  # of tensorboard
    of_scripts = {"--card-ms", "--against", "--repeats", "--beside", "--device", "--side"}
    variables = {item.variable for kind in ALL_CONFIGS for item in settings_of(kind)}
    texts = {shown(page): page.read_text(encoding="utf-8") for page in PAGES}
    none(
        f"{name}: there is no {flag}"
        for name, text in texts.items()
        for flag in re.findall(r"(?<![\w!-])--[a-z][a-z0-9-]*", text)
        if flag not in flags | others | of_scripts
    )
    none(
        f"{name}: there is no variable {variable}"
        for name, text in texts.items()
        for variable in re.findall(r"\bCXRCAD_[A-Z0-9_]+", text)
        if variable not in variables
    )


def test_files_that_are_named_exist() -> None:
    """Code spans that begin with a folder of the project, schemas (cxrcad/boxes/1) apart; and its own files."""
    own = r"(?:cxrcad|docs|examples|models|tests)/\S*|(?:constraints\.txt|setup\.cfg|Makefile|LICENSE|\w+\.md)"
    none(
        f"{shown(page)}: there is no {span}"
        for page in PAGES
        for span in code_spans(page)
        if re.fullmatch(own, span) and not re.fullmatch(r"cxrcad/\w+/\d+", span)
        if not (ROOT / span).exists() and not (DOCS / span).exists()
    )
    none(
        f"{shown(page)}: there is no {file}"
        for page in PAGES
        for line in (*shell_lines(page), *code_spans(page))
        for file in re.findall(r"(?:docs/recipes|benchmarks|examples)/[\w.-]+", line)
        if not (ROOT / file).exists()
    )


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made for Markdown."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere() -> None:
    def broken(page: Path) -> Iterator[str]:
        for target in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", page.read_text(encoding="utf-8"))):
            if re.match(r"https?://", target):
                continue
            file, _, anchor = target.partition("#")
            place = (page.parent / file).resolve() if file else page
            if not place.exists() or (anchor and anchor not in slugs(place)):
                yield f"{shown(page)}: {target} leads nowhere"

    none(fault for page in (*PAGES, *KEPT) for fault in broken(page))


def test_an_experiment_names_its_revision_and_is_listed() -> None:
    listed = (EXPERIMENTS / "README.md").read_text(encoding="utf-8")
    for page in KEPT:
        told = page.read_text(encoding="utf-8").split("\n\n")[1]
        assert re.match(rf"> Measured on {page.name[:10]} with revisions? `[0-9a-f]{{7}}`", told), page.name
        assert f"| {page.name[:10]} | [" in listed
        assert f"]({page.name})" in listed


def test_the_tree_of_the_docs_is_the_code() -> None:
    """Every package and module at the top stands in it; its lines are told to a fifth (small ones to ten lines)."""
    text = (DOCS / "DESIGN.md").read_text(encoding="utf-8")
    rows = re.findall(r"^[├└]── (\S+?)/? +([\d,]+)  \S", text, re.MULTILINE)
    told = {name: int(number.replace(",", "")) for name, number in rows}
    there = {}
    for path in (ROOT / "cxrcad").rglob("*.py"):
        name = path.relative_to(ROOT / "cxrcad").parts[0]
        there[name] = there.get(name, 0) + len(path.read_text(encoding="utf-8").splitlines())
    del there["__main__.py"]
    assert sorted(told) == sorted(there)
    none(
        f"{name}: the tree says {told[name]} lines, and it has {lines}"
        for name, lines in there.items()
        if abs(told[name] - lines) > max(10, lines / 5)
    )


def test_the_layers_of_the_docs_are_those_that_are_held() -> None:
    text = (DOCS / "DESIGN.md").read_text(encoding="utf-8")
    rows = re.findall(r"^(\d)(½?) +(\w[\w ]*?) *(?:\(.*)?$", text, re.MULTILINE)
    told = {name: int(whole) + (0.5 if half else 0) for whole, half, names in rows for name in names.split()}
    assert told == {name: number for name, number in LAYERS.items() if not name.startswith("__")}


def test_the_glossary_has_every_former_name() -> None:
    text = (DOCS / "GLOSSARY.md").read_text(encoding="utf-8")
    items = [item for kind in ALL_CONFIGS for item in settings_of(kind) if item.was]
    none(f"no row of {item.name}" for item in items if f"| `{item.flag}`, `{item.name}` | `{item.was}`" not in text)
    none(f"no row of {name}" for name in REMOVED if f"| `{name}` |" not in text)
    none(f"no row of {new}" for old, new in FORMER.items() if f"| `cxrcad {new}` | `{old}` |" not in text)


def test_the_tables_of_dependencies_are_setup_cfgs() -> None:
    """Every requirement stands there with a reason, and nothing else."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    texts = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    required = {re.split(r"[\s\[<>=;]", line)[0] for line in lines if line and not line.startswith("#")} - {"cxrcad"}
    section = (DOCS / "INSTALL.md").read_text(encoding="utf-8").split("## What is installed, and why")[1]
    rows = dict(re.findall(r"^\| (\S+) \| (.*?) *\|$", section, re.MULTILINE))
    assert {name for name in rows if name != "package" and not name.startswith("---")} == required
    assert all(len(rows[name].split()) >= 2 for name in required)


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    site = tmp_path / "site"
    commands = (site / "reference" / "commands" / "index.html").read_text(encoding="utf-8")
    none(f"no heading of {name}" for name in COMMANDS if f'<h2 id="{name}">' not in commands)
    settings = (site / "reference" / "settings" / "index.html").read_text(encoding="utf-8")
    names = {item.name for kind in ALL_CONFIGS for item in settings_of(kind)}
    none(f"no row of {name}" for name in names if f"<code>{name}</code>" not in settings)
    fields = (site / "reference" / "files" / "index.html").read_text(encoding="utf-8")
    assert "<code>images[].findings[].box_px.x0</code>" in fields
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="https?://', text), page
        assert "generated:" not in text, page
