# SPDX-License-Identifier: GPL-2.0-only
"""The process: signals in, one error report out, an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from agenttune import cli, commands
from agenttune.errors import AgenttuneError


def main(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code; the only place that reports errors."""
    try:
        code = commands.run(cli.parse(argv))
        sys.stdout.flush()
    except AgenttuneError as error:
        _report(error.message, error.hint)
        return error.exit_code
    except BrokenPipeError:
        # The reader left ('agenttune show | head'). Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        _report("interrupted", "")
        return 128 + signal.SIGINT
    return code


def _report(message: str, hint: str) -> None:
    print(f"agenttune: {message}", file=sys.stderr)
    if hint:
        print(f"  hint: {hint}", file=sys.stderr)


def run() -> None:
    """The entry point of the installed command."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(main(sys.argv[1:]))


def _terminate(number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    run()
