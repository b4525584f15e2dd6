# SPDX-License-Identifier: GPL-2.0-only
"""Confirm: keep a transaction, or revert it when its deadline passes."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agenttune.change import timer
from agenttune.change.journal import Journal, open_journal
from agenttune.change.kernel import Kernel
from agenttune.change.revert import Reverted, undo
from agenttune.errors import AgenttuneError, HostError

# CLOCK_BOOTTIME goes on in suspend, sleep() does not: look at the clock at least this often.
_LOOK_S = 1.0


def confirm(kernel: Kernel, journal: Journal) -> int:
    """Keep what 'apply --confirm-within' applied; returns its transaction.

    Raises HostError when nothing waits: the deadline may have passed and reverted it.
    """
    kernel.require_privilege()
    boot_id = kernel.boot_id()
    for made in journal.open_transactions():
        if made.awaits_confirmation and made.boot_id == boot_id:
            journal.update(replace(made, confirmed=True, timer=""))
            timer.cancel(made.timer)
            return made.txn
    raise HostError(
        "no transaction waits for confirmation",
        hint="If its time ran out it has been reverted; see 'agenttune status'.",
    )


def expire(kernel: Kernel, state_directory: Path, txn: int) -> Reverted:
    """Revert transaction `txn` unless it was confirmed; waits for the lock as long as it takes."""
    with open_journal(state_directory, timeout_s=None) as journal:
        for made in journal.open_transactions():
            if made.txn == txn and made.awaits_confirmation:
                return undo(kernel, journal, made, set())
    return Reverted(())


def main(argv: Sequence[str]) -> int:
    """What the timer runs: wait for the deadline, then expire()."""
    # The terminal or the parent may go away; that is what this process is for.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    parser = argparse.ArgumentParser(prog="agenttune.change.confirm")
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--txn", type=int, required=True)
    parser.add_argument("--deadline-ns", type=int, required=True)
    args = parser.parse_args(argv)
    kernel = Kernel(args.root)
    print("ready", flush=True)
    while (left_s := (args.deadline_ns - kernel.now_ns()) / 1e9) > 0:
        time.sleep(min(left_s, _LOOK_S))
    try:
        done = expire(kernel, args.state_dir, args.txn)
    except AgenttuneError as error:
        print(f"agenttune: {error.message}", file=sys.stderr)
        return error.exit_code
    for each in done.restorations:
        print(f"agenttune: not confirmed: {each.outcome} {each.entry.label}", file=sys.stderr)
    return done.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
