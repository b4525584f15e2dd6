# SPDX-License-Identifier: GPL-2.0-only
"""The byte streams that come out of a guest."""

from __future__ import annotations

from collections.abc import Callable


class TokenEnded:
    """Passes bytes on until the token that ends the stream; the token itself is not passed on."""

    def __init__(self, token: bytes, write: Callable[[bytes], None]) -> None:
        self._token = token
        self._write = write
        self._held = b""
        self.ended = False

    def feed(self, data: bytes) -> None:
        """Takes the next bytes, holding back only what may be the token's beginning."""
        if self.ended:
            return
        data = self._held + data
        self._held = b""
        place = data.find(self._token)
        if place >= 0:
            data, self.ended = data[:place], True
        else:
            kept = _overlap(data, self._token)
            data, self._held = data[: len(data) - kept], data[len(data) - kept :]
        if data:
            self._write(data)

    def close(self) -> None:
        """Passes on what was held back: the stream ended without its token."""
        if self._held:
            self._write(self._held)
            self._held = b""


class Lines:
    """Collects bytes into complete lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode(errors="replace") for line in lines]


def _overlap(data: bytes, token: bytes) -> int:
    """How many bytes at the end of `data` are a beginning of `token`."""
    longest = min(len(data), len(token) - 1)
    return next((n for n in range(longest, 0, -1) if data.endswith(token[:n])), 0)
