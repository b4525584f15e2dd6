# SPDX-License-Identifier: GPL-2.0-only
"""The one error hierarchy. Raised anywhere, reported once, in __main__."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process says to its caller; the manual pages print this table."""

    OK = 0
    ERROR = 1
    MISMATCH = 2
    REVERT_INCOMPLETE = 3


class AgenttuneError(Exception):
    """A failure the user can understand: what happened and where, then what to do about it.

    `hint` is a full sentence telling the user's next move, or empty when there is none.
    """

    exit_code = ExitCode.ERROR

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(AgenttuneError):
    """Something the user gave is wrong; `message` starts with `file:line:column:` or the option."""


class HostError(AgenttuneError):
    """This host cannot do what was asked (no such device, feature or privilege)."""


class PlanRefused(AgenttuneError):
    """A plan that would break the host; `message` carries the arithmetic."""


class ApplyError(AgenttuneError):
    """A change could not be applied; every earlier change of its plan is undone or journaled."""


class LockHeld(AgenttuneError):
    """Another agenttune process holds the state lock."""


class JournalError(AgenttuneError):
    """The journal is unusable; `message` carries the manual plan when one can be read."""


class RevertIncomplete(AgenttuneError):
    """Revert left something behind: a foreign change, a lost device, or a failed write."""

    exit_code = ExitCode.REVERT_INCOMPLETE
