"""docs/extending.md: its files and rows are added to a copy of the code, and its examples run there."""

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
# Property tests over all rows: their ids contain the names of networks and recipes.
SWEEPS = (
    "tests/dataset/transforms/test_recipes.py",
    "tests/layers/test_layers.py",
    "tests/model/test_model.py",
    "tests/model/test_weight_exchange.py",
    "tests/model/test_zoo.py",
    "tests/test_architecture.py",
)
ADDED = " or ".join(Path(name).stem for name in FILES)
# Tests that an additional row could break; they run as a whole, except for those that draw.
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
    """Return a copy of the code with everything that the page adds."""
    root = tmp_path_factory.mktemp("extended")
    for folder in ("base_config", "benchmarks", "dataset", "layers", "model", "record", "tests", "utils"):
        shutil.copytree(ROOT / folder, root / folder)  # including bytecode, which would take seconds to compile
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


def test_the_page_has_its_files_rows_and_examples() -> None:
    assert (len(FILES), len(ROWS), len(EXAMPLES)) == (6, 6, 5)
    assert {table for _, table, _ in ROWS} == {"OTHERS", "FORMATS", "TRANSFORMS", "METRICS"}


METRIC = """
from tests.utils.evaluation.test_result import make_result, render_summary
result = make_result(missing=2)
value = result["metrics"]["video"]["mean_reciprocal_rank"]
assert f"video, mean_reciprocal_rank: {value:.6g}" in render_summary(result)
"""
# The forms of added convolutions are tested with the others.
FORMS = """
from tests.convolution_forms import *
assert {*ADDED} == {
    "shift_resnet18", "resnet26", "c2d_resnet26", "p3d_resnet26", "dg_p3d_resnet26", "two_layers"
}
assert ((3, 3, 3), (1, 2, 2), (1, 1, 1)) in find_kinds(ADDED)
"""
# One pytest process imports torch for these and for the property tests: `exec` gives each its own namespace.
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
    # -k also matches file names, which selects the files to run as a whole.
    chosen = " or ".join([ADDED, *(Path(name).stem for name in WHOLE), page.stem])
    run(extended, *options, str(page), *dict.fromkeys((*SWEEPS, *WHOLE)), "-k", f"({chosen}) and not ({DRAWING})")


def test_unsupported_options_of_added_parts_are_refused_by_name(extended: Path) -> None:
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
