"""Settings of the whole test run."""

import os
import sys
from pathlib import Path

# Two threads gain nothing on images of 8×8 pixels, and lose a lot where something else is running.
# Set before torch is imported; child processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# ONNX Runtime's official builds report to their maker unless told not to before they are loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

sys.path.insert(0, str(Path(__file__).parent))  # for warm.py
