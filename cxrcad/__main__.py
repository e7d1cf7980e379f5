"""`cxrcad` and `python -m cxrcad`: the command line, stopped in one sentence from its first moment on."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit; Ctrl-C while it still loads gives exit code 130 and no traceback."""
    try:
        from cxrcad.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("cxrcad: stopped\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
