# SPDX-License-Identifier: GPL-2.0-only
"""measure(): how a window ends, and what it says about itself."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from agenttune.document import decode, encode
from agenttune.errors import HostError, InputError
from agenttune.host.capture import read_host
from agenttune.host.selector import Selector
from agenttune.measure import filter as filter_module
from agenttune.measure.filter import MAX_OF_A_KIND, Filter, resolve
from agenttune.measure.measurement import Measurement
from agenttune.measure.session import measure


@pytest.mark.bpf
def test_a_window_is_as_long_as_asked_and_names_vectors() -> None:
    found = measure(0.3, host=read_host())
    assert 0.3e9 <= found.window_ns < 0.6e9
    assert found.engine == "libbpf"
    assert found.kernel == os.uname().release
    assert found.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert all(load.key is not None for load in found.vectors)
    assert decode("measurement", Measurement, encode("measurement", found), "test") == found


@pytest.mark.bpf
def test_the_stop_hook_ends_the_window() -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 2

    begin = time.monotonic()
    found = measure(60, stop=stop)
    assert time.monotonic() - begin < 5
    assert found.window_ns < 2e9


@pytest.mark.bpf
def test_an_interrupt_by_the_user_detaches_everything() -> None:
    def stop() -> bool:
        raise KeyboardInterrupt

    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(KeyboardInterrupt):
        measure(60, stop=stop)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_selectors_become_what_the_kernel_compares() -> None:
    chosen = resolve([Selector.parse("comm:agent"), Selector.parse(f"pid:{os.getpid()}")])
    assert chosen == Filter(comms=(b"agent",), tgids=(os.getpid(),))
    assert chosen
    assert not resolve([])


def test_a_process_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="no such process"):
        resolve([Selector.parse("pid:4194303")])


def test_too_many_selectors_are_refused() -> None:
    names = [Selector.parse(f"comm:agent-{number}") for number in range(MAX_OF_A_KIND + 1)]
    with pytest.raises(InputError, match="17 agent selectors of kind comm: are more than 16"):
        resolve(names)
    assert len(resolve(names[:-1]).comms) == MAX_OF_A_KIND


def test_pids_mean_nothing_inside_a_pid_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filter_module, "_INITIAL_PID_NAMESPACE", 1)
    with pytest.raises(HostError, match="PID namespace"):
        resolve([Selector.parse(f"pid:{os.getpid()}")])


def test_a_missing_cgroup_is_refused() -> None:
    with pytest.raises((InputError, HostError), match="cgroup:/at-no-such-cgroup"):
        resolve([Selector.parse("cgroup:/at-no-such-cgroup")])
