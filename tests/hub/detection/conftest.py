"""Makes ``detection_support`` importable, and its fixture known."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from detection_support import machine

__all__ = ["machine"]
