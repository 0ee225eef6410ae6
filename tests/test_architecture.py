"""House rules: imports point down, files and functions are small."""

import ast
import functools
import itertools
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("dataset", "layers", "model", "utils")
SCRIPTS = ("train_3d", "train_3d_op", "extract_score_3d", "merge_score", "predict_3d")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")) + sorted(ROOT.glob("*.py"))

# Every folder, and what it may import from this project in addition to itself and its parent folders. Only build.py,
# which has its own entry, knows configurations and classes; files of model may read the network names of
# configurations.
PLACES: dict[str, set[str]] = {
    "utils": set(),
    "utils/planning": set(),
    "utils/config": {"utils/planning"},
    "utils/training": {"utils/config", "utils/planning"},
    "utils/evaluation": {"utils/config", "utils/training"},
    "utils/figures": {"utils/config", "utils/evaluation", "utils/training"},
    "utils/search": {"utils/config", "utils/figures", "utils/planning", "utils/search/page", "utils/training"},
    "utils/search/page": {"utils/figures", "utils/planning"},
    "utils/launch": set(),
    "layers": {"utils"},
    "model": {"layers", "utils", "utils/config", "utils/training"},
    # dataset/build.py: exported networks are checked on real clips.
    "model/export": {
        "dataset/build.py", "dataset/prediction", "dataset/transforms",
        "utils", "utils/config", "utils/evaluation", "utils/training",
    },
    "dataset": {"dataset/readers", "dataset/transforms", "utils"},
    "dataset/build.py": {"dataset/readers", "dataset/transforms", "utils", "utils/config", "utils/training"},
    "dataset/readers": {"utils"},
    "dataset/transforms": {"utils", "utils/config"},
    "dataset/writers": {"dataset/readers", "dataset/transforms", "utils"},
    "dataset/prediction": {
        "dataset/build.py", "dataset/prepare", "dataset/readers", "dataset/writers",
        "utils", "utils/config", "utils/evaluation", "utils/figures",
    },
    "dataset/synthetic": {"dataset/writers", "utils", "utils/config"},
    "dataset/prepare": {
        "dataset/prepare/official", "dataset/prepare/converting", "dataset/prepare/inspecting",
        "dataset/readers", "utils",
    },
    "dataset/prepare/official": set(),
    "dataset/prepare/converting": {
        "dataset/readers", "dataset/transforms", "dataset/writers", "utils", "utils/training",
    },
    "dataset/prepare/inspecting": {
        "dataset/build.py", "dataset/readers", "dataset/transforms", "dataset/writers",
        "utils", "utils/config", "utils/evaluation", "utils/figures",
    },
}  # fmt: skip
ABOVE = {
    "helpers": {*PACKAGES},
    "hubconf": {"model"},
    **{script: {"helpers", "dataset", "model", "utils"} for script in SCRIPTS},
}
# Modules that must not import torch, so that mistakes in a record are reported at once.
TORCH_FREE = (
    "dataset/prediction/request.py",
    "dataset/prepare/__main__.py",
    "dataset/synthetic/embedded.py",
    "dataset/synthetic/make.py",
    "extract_score_3d.py",
    "merge_score.py",
    "model/export/__main__.py",
    "predict_3d.py",
    "train_3d.py",
    "train_3d_op.py",
    "utils/cli.py",
    "utils/config/json_schema.py",
    "utils/config/keys.py",
    "utils/config/load.py",
    "utils/config/network_names.py",
    "utils/config/record.py",
    "utils/config/reference.py",
    "utils/config/saved.py",
    "utils/config/schema.py",
    "utils/config/sections.py",
    "utils/evaluation/top_classes.py",
    "utils/evaluation/merging.py",
    "utils/evaluation/predictions.py",
    "utils/evaluation/protocol.py",
    "utils/evaluation/provenance.py",
    "utils/evaluation/result.py",
    "utils/evaluation/score_index.py",
    "utils/evaluation/scores.py",
    "utils/evaluation/summary.py",
    "utils/figures/confusion.py",
    "utils/figures/curves.py",
    "utils/figures/markup.py",
    "utils/figures/result.py",
    "utils/figures/svg.py",
    "utils/figures/timeline.py",
    "utils/gpus.py",
    "utils/jsonl.py",
    "utils/launch/torchrun.py",
    "utils/lock.py",
    "utils/metrics.py",
    "utils/parts.py",
    "utils/planning/graph.py",
    "utils/planning/knee.py",
    "utils/planning/search.py",
    "utils/sealed.py",
    "utils/search/cost.py",
    "utils/search/events.py",
    "utils/search/output.py",
    "utils/search/page/drawings.py",
    "utils/search/page/labels.py",
    "utils/search/page/layout.py",
    "utils/search/page/page.py",
    "utils/search/progress.py",
    "utils/search/result.py",
    "utils/shortage.py",
    "utils/stopping.py",
    "utils/training/epoch_lines.py",
    "utils/workers.py",
)
LONGEST_FILE, LONGEST_FUNCTION, MOST_LATE_IMPORTS = 400, 40, 24
# The size limits also apply to benchmarks/, whose scripts may import anything.
CODE = [*FILES, *sorted((ROOT / "benchmarks").glob("*.py"))]


@functools.cache
def parse(text: str) -> ast.Module:
    """Return the tree of a file, cached since several rules need it; it must not be modified."""
    return ast.parse(text)


@functools.cache
def nodes_of(text: str) -> tuple[ast.AST, ...]:
    """Return all nodes of the tree of a file."""
    return tuple(ast.walk(parse(text)))


def imported_modules(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield all imported modules and packages; `from a import b` yields a.b if that is a module."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if file_of(name) else node.module or "" for name in names)


def file_of(module: str) -> Path | None:
    """Return the file of a module of this project, None for others."""
    place = ROOT / module.replace(".", "/")
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.exists()), None)


def place_of(path: Path) -> str:
    """Return the folder of a file, or the file if it has its own entry in PLACES; for a file at the root its stem."""
    relative = path.relative_to(ROOT)
    if relative.as_posix() in PLACES:
        return relative.as_posix()
    return relative.parent.as_posix() if len(relative.parts) > 1 else relative.stem


def forbidden_imports(path: Path) -> set[str]:
    """Return what a file imports from this project although its entry does not allow it."""
    own = place_of(path)
    imported = [file for module in imported_modules(nodes_of(path.read_text())) if (file := file_of(module))]
    used = {place_of(file) for file in imported}
    if own in ABOVE:
        return {place for place in used if place.split("/")[0] not in ABOVE[own]}
    outer = {folder.as_posix() for folder in Path(own).parents}
    return used - {own, *outer, *PLACES[own]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    assert place_of(path) in {*PLACES, *ABOVE}
    assert forbidden_imports(path) == set()


def test_wrong_imports_are_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    for importer, imported in (
        ("utils/planning/knee.py", "from utils.config import load_config"),
        ("utils/training/engine.py", "from utils.search import explore"),
        ("utils/files.py", "def f():\n    import utils.training.engine"),
        ("dataset/readers/images.py", "from dataset.writers.stores import Store"),
        ("dataset/listing.py", "import helpers"),
        ("dataset/video_dataset.py", "from dataset.build import make_reader"),
        ("dataset/prepare/inspecting/commands.py", "def f():\n    import helpers"),
        ("layers/norm.py", "from model import create_model"),
        ("train_3d.py", "from train_3d_op import main"),
        ("helpers.py", "from tests.conftest import ROOT"),
    ):
        monkeypatch.setattr(Path, "read_text", lambda path, text=imported: text)
        assert forbidden_imports(ROOT / importer), importer


def known_modules(path: Path) -> set[Path]:
    """Return the modules, without packages, that a file imports at the top level or for type checking."""
    tree = parse(path.read_text())
    conditions = [node for node in tree.body if isinstance(node, ast.If)]
    for_types = [node.body for node in conditions if ast.unparse(node.test) == "TYPE_CHECKING"]
    body = [*tree.body, *itertools.chain(*for_types)]
    top: list[ast.stmt] = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = imported_modules(ast.walk(ast.Module(top, type_ignores=[])))
    return {file for module in modules if (file := file_of(module)) is not None}


def test_there_are_no_import_cycles() -> None:
    TopologicalSorter({path: known_modules(path) for path in FILES}).prepare()


def test_the_walk_finds_imports_inside_functions() -> None:
    assert "helpers" in set(imported_modules(nodes_of((ROOT / "train_3d.py").read_text())))


def homes_of(package: str, name: str) -> Iterator[str]:
    """Yield the modules that a package imports a name from, including lazily (PEP 562)."""
    init = ROOT / package.replace(".", "/") / "__init__.py"
    for node in nodes_of(init.read_text()) if init.exists() else ():
        if isinstance(node, ast.ImportFrom) and name in (alias.asname or alias.name for alias in node.names):
            yield node.module or ""


def torch_users(path: Path, seen: set[Path]) -> Iterator[Path]:
    """Yield the files that import torch at the top level, among a file, its packages and their top-level imports."""
    if path in seen or not path.exists():
        return
    seen.add(path)
    for folder in path.relative_to(ROOT).parents:
        yield from torch_users(ROOT / folder / "__init__.py", seen)
    for node in parse(path.read_text()).body:
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            modules = [module, *(f"{module}.{alias.name}" for alias in node.names)]
            modules += [home for alias in node.names for home in homes_of(module, alias.name)]
        for module in modules:
            if module.split(".")[0] in ("torch", "torchvision"):
                yield path
            place = ROOT / module.replace(".", "/")
            yield from torch_users(place.with_suffix(".py"), seen)
            yield from torch_users(place / "__init__.py", seen)


def test_modules_are_not_monkey_patched() -> None:
    """Nothing assigns to `forward` or `__class__`: the class and attributes of a module define what it computes."""
    nodes = [(path, node) for path in FILES for node in nodes_of(path.read_text())]
    targets = [
        (path.name, node.lineno)
        for path, node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr in ("forward", "__class__")
    ]
    assert targets == []


@pytest.mark.parametrize("name", TORCH_FREE)
def test_configuration_and_merging_need_no_torch(name: str) -> None:
    assert (ROOT / name).is_file()
    assert list(torch_users(ROOT / name, set())) == []


def test_the_walk_finds_torch() -> None:
    assert list(torch_users(ROOT / "utils/training/engine.py", set()))
    # By a name that its package imports lazily.
    assert list(torch_users(ROOT / "hubconf.py", set()))


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST_FILE
    long = [
        node.name
        for node in nodes_of(text)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION
    ]
    assert long == []


def late_imports(path: Path) -> Iterator[ast.stmt]:
    """Yield the imports inside functions, once for each function around them."""
    functions = [
        node for node in nodes_of(path.read_text()) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    inside = (node for function in functions for node in ast.walk(function))
    yield from (node for node in inside if isinstance(node, ast.Import | ast.ImportFrom))


def test_imports_inside_functions_are_few_and_say_why() -> None:
    """Each group of such imports has a comment with its reason on or above its first line."""
    late = {path: {node.lineno: node for node in late_imports(path)} for path in CODE}
    assert sum(map(len, late.values())) <= MOST_LATE_IMPORTS
    for path, nodes in late.items():
        lines = ["", *path.read_text().splitlines()]
        firsts = [number for number in nodes if number - 1 not in nodes]
        assert [n for n in firsts if "#" not in lines[n] and not lines[n - 1].lstrip().startswith("#")] == [], path
