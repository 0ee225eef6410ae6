"""What the code survives, tried by the hundred: scripts of minutes, apart from the test suite (docs/reliability.md).

    python -m tests.faults.kills      SIGKILL at any moment: training, several states, search, extraction
    python -m tests.faults.signals    SIGTERM and Ctrl-C at any moment of the same
    python -m tests.faults.fuzz       damaged files of ten kinds
    python -m tests.faults.flips      single bits of a checkpoint, a journal, scores and a result
    python -m tests.faults.soak       memory and descriptors over thousands of batches

Each prints rows of a table and ends with 1 where something went wrong, whose files it keeps. An interrupted one is
continued by the same command.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: processes fork from this one, and all compute the very same sums
