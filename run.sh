#!/usr/bin/env bash
#SBATCH --nodes=1 --requeue --open-mode=append --signal=B:TERM@120
# Train a record, extract the scores of all crops, and merge them.
#
#   bash run.sh [RECORD] [section.key=value ...]
#   bash run.sh --setup               only set up the environment
#   sbatch [--nodes=N] run.sh ...     under SLURM, in this folder: docs/cluster.md
#
# RECORD is the name of a file in record/, or the path of a record elsewhere, such as one written by a search (default:
# the embedded experiment, which needs no download and no GPU).
# The environment is set up first: an active one that satisfies requirements.txt is used as it is, otherwise .venv in
# this folder. The embedded data set is generated if the record needs it. All output is in output/RECORD/.
# Complete steps are skipped; an interrupted step resumes. SIGTERM and Ctrl-C save first.
#
#   FORCE=1    run all steps again; earlier results are moved to output/RECORD/earlier-NNN
#   SEARCH=1   search the optimization path (train_3d_op.py) instead of training
#   NPROC      processes on this node (default: one per visible GPU, one on a CPU)
#   DEVICE=cpu disable the GPUs; otherwise a GPU that torch cannot use is an error
#   NNODES, NODE_RANK, MASTER_ADDR, MASTER_PORT   several nodes, as in torchrun (needs a shared output folder)
set -euo pipefail
home=$(dirname "${BASH_SOURCE[0]}")
[ -f "$home/train_3d.py" ] || home=${SLURM_SUBMIT_DIR:-$home}  # sbatch runs a copy of this file in another folder
cd "$home"
if [ ! -f train_3d.py ]; then
    echo "error: $PWD: not the project's folder; call run.sh, or sbatch, in the folder of the project" >&2
    exit 2
fi

if [ "${1:-}" = "-h" ] || [ "${1:-}" = "--help" ]; then
    sed -n '3,/^set -/{/^set -/d;s/^# \{0,1\}//;p;}' run.sh
    exit 0
fi

. utils/environment.sh
if [ "${1:-}" = "--setup" ]; then
    use_environment requirements.txt
    echo "ready: $("$PYTHON" --version), $(command -v "$PYTHON")"
    [ "$PYTHON" != .venv/bin/python ] || echo "for the other commands: . .venv/bin/activate"
    exit 0
fi

config=record/synthetic-dg-p3d-resnet18.yml
case "${1:-}" in
    "" | *=*) ;;
    */*.yml) config=$1; shift ;;
    *) config=record/$(basename "$1" .yml).yml; shift ;;
esac
if [ ! -f "$config" ]; then
    echo "error: $config: no such record; known:" >&2
    ls record/*.yml | sed 's#record/#  #; s#\.yml$##' >&2
    exit 2
fi

if [ "${SLURM_JOB_NUM_NODES:-1}" != 1 ] && [ -z "${SLURM_STEP_ID:-}${NNODES:-}" ]; then  # on the job's first node
    nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")  # not piped to head, which would end scontrol with SIGPIPE
    MASTER_ADDR=${nodes%%$'\n'*}
    export MASTER_ADDR MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000)) NNODES=$SLURM_JOB_NUM_NODES
    if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK; fi
    # shellcheck disable=SC2016  # SLURM_NODEID is expanded on each node
    exec srun --ntasks="$NNODES" --ntasks-per-node=1 --kill-on-bad-exit=1 \
        bash -c 'NODE_RANK=$SLURM_NODEID exec bash run.sh "$@"' run.sh "$config" "$@"
fi

use_environment requirements.txt

force=()
if [ "${FORCE:-0}" = 1 ]; then force=(--force); fi
train=train_3d.py
if [ "${SEARCH:-0}" = 1 ]; then train=train_3d_op.py; fi

step() {  # run a command, forward signals to it, and exit with its exit code if it fails
    local code=0
    "$@" &
    child=$!
    wait "$child" || code=$?
    while kill -0 "$child" 2>/dev/null; do  # a signal interrupted wait, not the command
        code=0
        wait "$child" || code=$?
    done
    if [ "$code" != 0 ]; then exit "$code"; fi
}
set -m  # every command gets its own process group, so that Ctrl-C reaches it only through the trap
child=
trap 'kill -TERM "$child" 2>/dev/null || exit 143' TERM HUP
trap 'kill -INT "$child" 2>/dev/null || exit 130' INT

step "$PYTHON" -m dataset.synthetic.embedded --config_file "$config" "$@"
echo "== training ($train)"
step "$PYTHON" -m utils.launch "$train" --config_file "$config" ${force[@]+"${force[@]}"} "$@"
echo "== extracting scores"
step "$PYTHON" -m utils.launch extract_score_3d.py --config_file "$config" ${force[@]+"${force[@]}"} "$@"
if [ "${NODE_RANK:-0}" = 0 ]; then
    echo "== merging"
    step "$PYTHON" merge_score.py --config_file "$config" ${force[@]+"${force[@]}"} "$@"
fi
