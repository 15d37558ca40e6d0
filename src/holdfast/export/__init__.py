"""Networks in forms that other software runs: C source."""

from holdfast.export.c_source import Exported, export_c

__all__ = ["Exported", "export_c"]
