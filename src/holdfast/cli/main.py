"""Entry point: runs the application and turns errors into one line and an exit code."""

from __future__ import annotations

import json
import sys

from holdfast.core.errors import INTERRUPTED_EXIT_CODE, HoldfastError


def main() -> None:
    """Run the command line and exit with a documented code (docs/architecture.md)."""
    from holdfast.cli.app import app

    try:
        app()
    except HoldfastError as error:
        _report(type(error).__name__, str(error), error.exit_code)
    except KeyboardInterrupt:
        _report("Interrupted", "interrupted; the same command resumes", INTERRUPTED_EXIT_CODE)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe went away: nobody is left to be told


def _report(kind: str, message: str, code: int) -> None:
    if "--json" in sys.argv:
        print(json.dumps({"error": kind, "message": message, "exit_code": code}))
    else:
        print(f"holdfast: {message}", file=sys.stderr)
    raise SystemExit(code)
