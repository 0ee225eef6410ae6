#!/usr/bin/env bash
# Install the requirements of the tests (into .venv, unless the active environment has them) and run all tests, one
# process per core.
#   bash tests/run.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. utils/environment.sh
use_environment requirements.txt tests/requirements.txt
unset PYTHONDONTWRITEBYTECODE  # or each of the hundred processes that tests start compiles the code again
exec "$PYTHON" -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder "$@"
