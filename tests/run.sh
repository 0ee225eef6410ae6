#!/usr/bin/env bash
# Install what the tests need (an environment that has it is used as it is, otherwise .venv) and run all of them,
# one process per core.
#   bash tests/run.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. utils/environment.sh
use_environment requirements.txt tests/requirements.txt
unset PYTHONDONTWRITEBYTECODE  # the hundred processes that tests start would compile the code again, each of them
exec "$PYTHON" -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder "$@"
