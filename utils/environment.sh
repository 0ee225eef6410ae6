# Sourced by run.sh and tests/run.sh: use_environment FILE... sets PYTHON to an interpreter that satisfies these
# requirement files: the active one if it does, else .venv in the project's root, created and filled as needed.

use_environment() {
    local candidate file found lacking=""
    for candidate in "${PYTHON:-python3}" .venv/bin/python; do
        if command -v "$candidate" >/dev/null 2>&1 \
            && found=$("$candidate" utils/launch/requirements_check.py "$@" 2>/dev/null); then
            PYTHON=$candidate
            return 0
        fi
        lacking=${lacking:-${found:-}}
    done
    if [ "${NNODES:-1}" != 1 ]; then
        echo "error: no environment satisfies $*, and several nodes would create .venv at once; first run: bash run.sh --setup" >&2
        return 2
    fi
    candidate=${PYTHON:-python3}
    command -v "$candidate" >/dev/null 2>&1 || { echo "error: no $candidate here; install Python 3.11 or newer" >&2; return 2; }
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
        || { echo "error: $("$candidate" --version) is too old; Python 3.11 or newer is needed (PYTHON=...)" >&2; return 2; }
    if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        [ -z "$lacking" ] || echo "$candidate lacks $(echo "$lacking" | paste -s -d , -)"
        echo "setting up .venv (once)"
        "$candidate" -m venv .venv \
            || { echo "error: .venv cannot be created; is the venv module installed (Debian: python3-venv)?" >&2; return 2; }
    fi
    for file in "$@"; do
        echo "installing $file into .venv"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$file" \
            || { echo "error: pip could not install $file; see its message above" >&2; return 2; }
    done
    PYTHON=.venv/bin/python
}
