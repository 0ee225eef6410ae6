"""Fault injection by the hundred: scripts of minutes, not part of the test suite (docs/reliability.md).

    python -m tests.faults.kills      SIGKILL at any moment: training, several states, search, extraction
    python -m tests.faults.signals    SIGTERM and Ctrl-C at any moment of the same
    python -m tests.faults.fuzz       corrupt files of eleven kinds
    python -m tests.faults.flips      bit flips in a checkpoint, a journal, scores, a result and a configuration
    python -m tests.faults.soak       memory and descriptors over thousands of batches

Each prints rows of a table; if a trial fails, it keeps the files and exits with 1. The same command resumes an
interrupted one.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: forked processes get bit-equal sums
