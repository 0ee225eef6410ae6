"""docs/extending.md word by word: its files and rows are put into a copy of the code, and run there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

BLOCKS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/extending.md").read_text(), re.MULTILINE | re.DOTALL)
FILES = {match[1]: block for block in BLOCKS if (match := re.match(r"# (\S+\.py)\n", block))}
ROWS = [match.groups() for block in BLOCKS if (match := re.match(r"# (\S+), in (\w+)\n(.*)", block, re.DOTALL))]
EXAMPLES = [block for block in BLOCKS if not block.startswith("# ")]
# What is swept over every row: names of networks and recipes are in the ids of these tests.
SWEEPS = (
    "tests/dataset/transforms/test_recipes.py",
    "tests/layers/test_layers.py",
    "tests/model/test_model.py",
    "tests/model/test_weight_exchange.py",
    "tests/model/test_zoo.py",
    "tests/test_architecture.py",
)
ADDED = " or ".join(Path(name).stem for name in FILES)
# What a row more could break, whole but for what draws pictures and boxes.
WHOLE = (
    "tests/dataset/readers/test_readers.py",
    "tests/dataset/transforms/test_recipes.py",
    "tests/utils/config/test_network_names.py",
    "tests/utils/evaluation/test_result.py",
    "tests/utils/test_metrics.py",
    "tests/utils/test_parts.py",
)
DRAWING = "drawn or picture or curves or confusion or classes_are_named or erasing or crops_are"


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with everything that the page adds."""
    root = tmp_path_factory.mktemp("extended")
    for folder in ("base_config", "benchmarks", "dataset", "layers", "model", "record", "tests", "utils"):
        shutil.copytree(ROOT / folder, root / folder)  # with what is compiled, which would take seconds again
    for path in [*ROOT.glob("*.py"), ROOT / "pyproject.toml"]:
        shutil.copy(path, root)
    for name, block in FILES.items():
        assert not (root / name).exists()
        (root / name).write_text(block.split("\n", 1)[1])
    for name, table, rows in ROWS:
        text = (root / name).read_text()
        changed, count = re.subn(rf"^({table}\b.* = [({{])\n", rf"\1\n{rows}", text, flags=re.MULTILINE)
        assert count == 1, f"{name} has no table {table}"
        (root / name).write_text(changed)
    return root


def run(root: Path, *command: str) -> None:
    ended = subprocess.run([sys.executable, *command], cwd=root, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-5000:]


def test_the_page_has_what_it_is_for() -> None:
    assert (len(FILES), len(ROWS), len(EXAMPLES)) == (6, 6, 5)
    assert {table for _, table, _ in ROWS} == {"OTHERS", "FORMATS", "TRANSFORMS", "METRICS"}


METRIC = """
from tests.utils.evaluation.test_result import make_result, render_summary
result = make_result(missing=2)
value = result["metrics"]["video"]["mean_reciprocal_rank"]
assert f"video, mean_reciprocal_rank: {value:.6g}" in render_summary(result)
"""
# The forms of added convolutions are tried with the others.
FORMS = """
from tests.convolution_forms import *
assert {*ADDED} == {
    "shift_resnet18", "resnet26", "c2d_resnet26", "p3d_resnet26", "dg_p3d_resnet26", "two_layers"
}
assert ((3, 3, 3), (1, 2, 2), (1, 1, 1)) in find_kinds(ADDED)
"""
# A process of pytest imports torch for them and for the property tests: `exec` gives each names of its own.
PAGE_TESTS = f"""
import pytest

@pytest.mark.parametrize("code", {[*EXAMPLES, METRIC, FORMS]!r}, ids=range({len(EXAMPLES) + 2}))
def test_what_the_page_says(code):
    exec(compile(code, code, "exec"), {{"__name__": "__main__"}})
"""


def test_the_examples_run_and_what_is_added_passes_the_property_tests(extended: Path) -> None:
    page = extended / "tests/test_page.py"
    page.write_text(PAGE_TESTS)
    options = ("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "--assert", "plain")
    # A file's name counts as a name of its tests, so that those to be run whole are chosen, too.
    chosen = " or ".join([ADDED, *(Path(name).stem for name in WHOLE), page.stem])
    run(extended, *options, str(page), *dict.fromkeys((*SWEEPS, *WHOLE)), "-k", f"({chosen}) and not ({DRAWING})")


def test_what_an_added_part_lacks_is_refused_by_name(extended: Path) -> None:
    wrong = {
        "stochastic_depth": ["network.net_name=two_layers", "network.stochastic_depth=0.1"],
        "use_flow": ["dataset.format=NPY", "dataset.use_flow=true"],
        "two_layers": ["network.net_name=two_layer"],
    }
    code = f"""
from utils.config import ConfigError, load_config
for found, overrides in {wrong}.items():
    try:
        load_config("record/synthetic-p3d-resnet18.yml", overrides)
    except ConfigError as error:
        assert found in str(error), error
    else:
        raise AssertionError(overrides)
"""
    run(extended, "-c", code)
