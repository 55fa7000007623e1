"""The house: files that must agree with each other, imports that must go one way, and a package that holds its data."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import gooddrag

ROOT = Path(__file__).parents[1]
# where conda-forge says it differently
CONDA_NAMES = {
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",
    "playwright": "playwright-python",
    "huggingface-hub": "huggingface_hub",
}
ROOMS = ("gooddrag", "widgets", "figures")
EXTRAS = ("test", "lint", "video", "gscore", "bench", "site")
MARKDOWN = [ROOT / "README.md", *(path for path in ROOT.glob("*.md") if path.name != "README.md")]
MARKDOWN += [path for room in (*ROOMS, "docs") for path in (ROOT / room).rglob("*.md")]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict:
    return tomllib.loads(read("pyproject.toml"))["project"]


def requirements(*extras: str) -> dict[str, SpecifierSet]:
    """Canonical name → range, of the package and the named extras."""
    lines = [
        *project()["dependencies"],
        *(line for extra in extras for line in project()["optional-dependencies"][extra]),
    ]
    return {canonicalize_name(r.name): r.specifier for r in map(Requirement, lines)}


def pins() -> dict[str, str]:
    lines = [line for line in read("constraints.txt").splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def imported(path: Path) -> set[str]:
    """The top-level modules that a file imports anywhere, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def test_the_dev_extra_is_all_others_together_but_what_needs_torchvision():
    assert project()["optional-dependencies"]["dev"] == [f"gooddrag[{','.join(EXTRAS)}]"]


def test_every_dependency_has_a_lower_and_an_upper_bound():
    for name, specifier in requirements(*EXTRAS, "iqa").items():
        assert {clause.operator for clause in specifier} == {">=", "<"}, name


def test_conda_asks_for_the_same_names_and_ranges_as_pip():
    entries = yaml.safe_load(read("environment.yml"))["dependencies"]
    conda = {r.name: r.specifier for r in (Requirement(entry) for entry in entries if isinstance(entry, str))}
    python = conda.pop("python")
    del conda["pip"]

    assert conda == {CONDA_NAMES.get(name, name): spec for name, spec in requirements(*EXTRAS).items()}
    assert SpecifierSet(project()["requires-python"]) & python == python, "conda's Python must lie within ours"
    assert entries[-1] == {"pip": ["-e ."]}


def test_every_dependency_is_pinned_within_its_range():
    pinned = pins()
    for name, specifier in requirements(*EXTRAS).items():
        assert pinned[name] in specifier, f"{name}=={pinned[name]} is outside {specifier}"


def test_pins_hold_on_every_platform():
    assert not [name for name, version in pins().items() if "+" in version], (
        "a local version such as +cpu is not on PyPI"
    )
    assert "gooddrag" not in pins()


def test_pre_commit_runs_the_pinned_ruff():
    (repo,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert repo["rev"] == f"v{pins()['ruff']}"


@pytest.mark.parametrize(
    ("rooms", "extras"), [(ROOMS, ("video", "gscore", "bench", "iqa")), (("tests",), ("test", "gscore", "bench"))]
)
def test_whatever_is_imported_is_declared(rooms, extras):
    ours = {*ROOMS, "tests", "conftest", "lessons"}
    # pytest itself brings packaging, and pydantic the one version of its core that it can work with
    declared = set(requirements(*extras)) | {"packaging", "pydantic-core"}
    homes = packages_distributions()
    for path in (path for room in rooms for path in (ROOT / room).rglob("*.py")):
        for module in imported(path) - ours - set(sys.stdlib_module_names):
            candidates = {canonicalize_name(name) for name in homes.get(module, [module])}
            assert candidates & declared, (
                f"{path.relative_to(ROOT)} imports {module}, which pyproject.toml doesn't list"
            )


def test_importing_gooddrag_loads_nothing_heavy():
    heavy = ("torch", "diffusers", "peft", "transformers", "pandas", "pyarrow", "matplotlib", "PIL", "numpy")
    code = f"import gooddrag, sys; print(*(name for name in {heavy} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_a_canvas_alone_loads_no_engine():
    code = "from widgets import DragCanvas; import sys; print(*{'torch', 'diffusers', 'matplotlib'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize("name", gooddrag.__all__)
def test_every_public_name_can_be_had(name):
    assert getattr(gooddrag, name) is not None


def test_imports_go_one_way():
    """The arrows stand in pyproject.toml: the library knows neither figures nor widgets, figures know only traces."""
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_wheel_holds_every_data_file():
    patterns = tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]["package-data"]
    held = {
        path
        for package, globs in patterns.items()
        for g in globs
        for path in (ROOT / Path(*package.split("."))).glob(g)
    }
    held |= {path for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    files = {path for room in ROOMS for path in (ROOT / room).rglob("*") if path.is_file()}
    left_out = {path for path in files - held if not {"__pycache__", ".ipynb_checkpoints"} & set(path.parts)}
    assert left_out == set()


def test_all_papers_name_the_same_version():
    heading = re.search(r"^## \[?(\d+\.\d+\.\d+)", read("CHANGELOG.md"), re.MULTILINE)
    assert heading, "CHANGELOG.md has no heading with a version"
    named = {
        "pyproject.toml": project()["version"],
        "gooddrag/__init__.py": gooddrag.__version__,
        "CITATION.cff": str(yaml.safe_load(read("CITATION.cff"))["version"]),
        "CHANGELOG.md": heading.group(1),
    }
    assert len(set(named.values())) == 1, named


def test_the_licence_is_the_one_that_the_papers_name():
    assert project()["license"] == yaml.safe_load(read("CITATION.cff"))["license"] == "Apache-2.0"
    assert read("LICENSE").lstrip().startswith("Apache License\n                           Version 2.0, January 2004")


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(<?([^)\s>]+)", text) + re.findall(r"""(?:src|href)=["']([^"']+)""", text)
    local = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.skipif(not shutil.which("make"), reason="make isn't installed")
def test_make_lists_what_it_can_do():
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    run = subprocess.run(["make"], cwd=ROOT, env=quiet, capture_output=True, text=True, check=True)
    for target in ("lab", "demo", "test", "lint", "notebooks", "site", "train-pocket", "clean"):
        assert f"make {target} " in run.stdout
