"""run.sh as run by SLURM: a copy in another folder, on one node, or on several by srun."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Fake srun: starts the command once per node and ends with 0 if all commands do.
SRUN = """#!/usr/bin/env bash
echo "srun $SRUN_CPUS_PER_TASK $*" >> "$CALLS"
while [ "$1" != bash ]; do shift; done
SLURM_STEP_ID=0 SLURM_NODEID=0 "$@" & first=$!
SLURM_STEP_ID=0 SLURM_NODEID=1 "$@" & second=$!
wait $first && wait $second
"""
SCONTROL = """#!/usr/bin/env bash
echo "scontrol $*" >> "$CALLS"
echo 127.0.0.1
sleep 0.2  # continues to write after its reader may have stopped
echo node1
"""
# Fake Python: the real one takes seconds to start for several nodes.
PYTHON = """#!/usr/bin/env bash
echo "$NODE_RANK $NNODES $MASTER_ADDR $MASTER_PORT python $*" >> "$CALLS"
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the copy of run.sh that sbatch makes when it is submitted in the project's folder."""
    monkeypatch.setenv("SLURM_SUBMIT_DIR", str(ROOT))
    monkeypatch.setenv("SLURM_JOB_ID", str(40_000 + os.getpid() % 20_000))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls.txt"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("slurm_script", (ROOT / "run.sh").read_text())):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path / "slurm_script"


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=200, check=False)


def test_the_copy_finds_the_project(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = run(script, "--setup")
    assert (setup.returncode, setup.stdout[:7]) == (0, "ready: "), setup.stderr
    unknown = run(script, "no-such-record")
    assert unknown.returncode == 2 and "  plan-synthetic\n" in unknown.stderr
    monkeypatch.delenv("SLURM_SUBMIT_DIR")
    lost = run(script)
    assert (lost.returncode, lost.stdout, lost.stderr.count("\n")) == (2, "", 1)
    assert "in the folder of the project" in lost.stderr


def test_sbatch_reads_the_directives() -> None:
    """Directives are read up to the first line that is not a comment; --help omits them."""
    lines = (ROOT / "run.sh").read_text().splitlines()
    (number,) = (number for number, line in enumerate(lines) if line.startswith("#SBATCH "))
    assert all(line.startswith("#") for line in lines[:number])
    assert lines[number].split()[1:] == ["--nodes=1", "--requeue", "--open-mode=append", "--signal=B:TERM@120"]
    assert "SBATCH" not in run("bash", ROOT / "run.sh", "--help").stdout


def test_a_job_of_two_nodes_starts_on_both(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the environment variables; tests/scripts/test_several_nodes.py runs two nodes."""
    for name, value in {"JOB_NUM_NODES": "2", "JOB_NODELIST": "node[0-1]", "CPUS_PER_TASK": "8"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setenv("PYTHON", str(tmp_path / "python"))
    done = run(script, "plan-synthetic", "optimizer.seed=1")
    assert (done.returncode, done.stderr) == (0, "")
    calls = (tmp_path / "calls.txt").read_text().splitlines()
    assert calls[0] == "scontrol show hostnames node[0-1]"
    assert calls[1].startswith("srun 8 --ntasks=2 --ntasks-per-node=1 ")
    variables = f"2 127.0.0.1 {20000 + int(os.environ['SLURM_JOB_ID']) % 20000}"
    steps = [line.split(" python ") for line in calls[2:] if "requirements" not in line]
    words = "--config_file record/plan-synthetic.yml optimizer.seed=1"
    scripts = [[f"-m utils.launch {name} {words}" for name in ("train_3d.py", "extract_score_3d.py")]]
    scripts = [[f"-m dataset.synthetic.embedded {words}", *scripts[0]]] * 2
    scripts[0] = [*scripts[0], f"merge_score.py {words}"]
    for node in (0, 1):
        assert [step for before, step in steps if before == f"{node} {variables}"] == scripts[node]
    assert len(steps) == 7


def test_several_nodes_set_up_no_environment(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNODES", "2")
    monkeypatch.setenv("PYTHON", "no-such-python")
    if (ROOT / ".venv").exists():
        pytest.skip("there is a .venv, which run.sh takes")
    refused = run(script)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "bash run.sh --setup" in refused.stderr
