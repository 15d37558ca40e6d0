"""Makes ``stress_support`` importable, here and in worker processes, which inherit the path."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
