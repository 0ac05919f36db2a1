"""The folder `bench` is imported from the source tree, as `tlsnic bench` does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
