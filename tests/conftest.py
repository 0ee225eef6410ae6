"""Put the project's root on the path, so that tests import the packages as the scripts do."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
