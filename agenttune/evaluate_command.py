# SPDX-License-Identifier: GPL-2.0-only
"""The verb that compares ways to set a host up."""

from __future__ import annotations

import os
from pathlib import Path

from agenttune import document
from agenttune.change.journal import open_journal
from agenttune.change.kernel import Kernel
from agenttune.cli import Args
from agenttune.errors import AgenttuneError, ExitCode
from agenttune.evaluate.evaluation import evaluate as run
from agenttune.evaluate.result import Evaluation
from agenttune.evaluate_options import request_of
from agenttune.output import emit, save, say
from agenttune.policy.profile_file import profile_search, read_profile
from agenttune.report.evaluation import evaluation_text
from agenttune.report.evaluation_html import evaluation_html
from agenttune.stopping import interrupted

RESULTS, REPORT = "results.json", "report.html"


def evaluate(args: Args) -> ExitCode:
    """The state's lock is held throughout: nobody tunes the host between two blocks."""
    kernel = Kernel()
    kernel.require_privilege()
    wanted = read_profile(args.profile, profile_search())
    request = request_of(args.evaluation, wanted, args.argv)
    _check_folder(request.out)
    with interrupted() as stop, open_journal(args.state_dir) as journal:
        done = run(request, kernel, journal, stop, say)
    _write(request.out, done)
    emit(args, "evaluation", done, evaluation_text)
    say(f"written: {request.out / REPORT} and {request.out / RESULTS}")
    return ExitCode.MISMATCH if done.stopped else ExitCode.OK


def _check_folder(folder: Path) -> None:
    """Before the hours, not after them."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AgenttuneError(f"{folder}: cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise AgenttuneError(f"{folder}: cannot be written to", hint="Give another --out DIR.")


def _write(folder: Path, done: Evaluation) -> None:
    save(folder / RESULTS, document.encode("evaluation", done))
    save(folder / REPORT, evaluation_html(done).encode())
