# SPDX-License-Identifier: GPL-2.0-only
"""The built-in agent, its tool and its noise, run for real and briefly."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agenttune.errors import HostError, InputError
from agenttune.evaluate.noise import RATES, Noise, paced
from agenttune.evaluate.processes import running
from agenttune.evaluate.step_log import Timing, create_log
from agenttune.evaluate.subject import BuiltIn, working
from agenttune.evaluate.toolserver import make_json
from agenttune.evaluate.uring import Uring
from agenttune.evaluate.workload import MIXES, Part, Sizes, Workload

TREE = Path(__file__).parent.parent


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder on a file system that reads directly; /tmp may be none."""
    folder = TREE / f".evaluate-{os.getpid()}"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == [], "the data file stays behind"
    folder.rmdir()


def steps_of(subject: BuiltIn, count: int, seconds: float = 30.0) -> list[Timing]:
    found: list[Timing] = []
    end = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < end:
        time.sleep(0.02)
        found += subject.take()
    assert len(found) >= count
    return found


@pytest.mark.parametrize("mix", MIXES)
def test_each_mix_does_its_parts(mix: str, disk: Path) -> None:
    if mix == "uring":
        try:
            Uring(2).__exit__(None, None, None)
        except HostError as error:
            pytest.skip(error.message)
    with working(Workload(mix=mix, rate=None), (), 60.0, disk) as subject:
        found = steps_of(subject, 300)
    assert [each.id for each in found] == list(range(found[0].id, found[0].id + len(found)))
    assert all(a.end_ns <= b.begin_ns for a, b in itertools.pairwise(found))
    assert all(each.begin_ns < each.end_ns for each in found)
    for place, part in enumerate(Part):
        share = sum(bool(each.parts & 1 << place) for each in found) / len(found)
        expected = MIXES[mix].get(part, 0.0)
        # Five standard deviations.
        assert abs(share - expected) <= 5 * (expected * (1 - expected) / len(found)) ** 0.5


def test_the_seed_decides_what_is_done(disk: Path) -> None:
    def parts(seed: int) -> list[int]:
        with working(Workload(rate=None, seed=seed), (), 60.0, disk) as subject:
            return [each.parts for each in steps_of(subject, 100)][:100]

    assert parts(1) == parts(1) != parts(2)


def test_the_rate_is_a_bound() -> None:
    with working(Workload(mix="tools", rate=100.0), (), 60.0) as subject:
        found = steps_of(subject, 50)
    seconds = (found[-1].begin_ns - found[0].begin_ns) / 1e9
    assert (len(found) - 1) / seconds <= 110


def test_a_known_slowdown_is_that_slow() -> None:
    """Three times the work is far more than what the machine varies by."""

    def median(share: float) -> int:
        workload = Workload(mix="tools", rate=None)
        with working(workload, (), 60.0) as subject:
            subject.slow_down(share)
            steps_of(subject, 20)
            durations = sorted(each.duration_ns for each in steps_of(subject, 500))
        return durations[len(durations) // 2]

    assert median(2.0) > 1.8 * median(0.0)


def test_all_noise_at_once_and_all_gone_afterwards(disk: Path) -> None:
    with working(Workload(mix="tools"), tuple(Noise), 60.0, disk) as subject:
        steps_of(subject, 20)
        children = children_named("noise-")
        assert children == {f"noise-{kind}" for kind in Noise}
    assert children_named("noise-") == children_named("agent") == set()


def children_named(start: str) -> set[str]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            comm, _, rest = path.read_text().partition("(")[2].rpartition(") ")
        except OSError:
            continue
        if int(rest.split()[1]) == os.getpid() and comm.startswith(start):
            found.add(comm)
    return found


@pytest.mark.parametrize("rate", [50.0, 5000.0])
def test_noise_keeps_its_rate_and_its_count(rate: float) -> None:
    begin = time.monotonic()
    assert paced(lambda: None, rate, 60.0, round(rate / 5)) == round(rate / 5)
    assert time.monotonic() - begin >= 0.17
    assert paced(lambda: None, rate, 0.1, 10**9) <= rate * 0.1 + 2 * 64
    assert set(RATES) == set(Noise)


def test_a_workload_that_dies_is_told_with_its_last_words() -> None:
    with working(Workload(mix="tools"), (), 60.0) as subject:
        steps_of(subject, 5)
        os.kill(int(subject.selectors[0].value), signal.SIGKILL)
        time.sleep(0.1)
        with pytest.raises(HostError, match=r"workload ended early \(exit -9\)"):
            subject.take()


def test_what_it_cannot_read_is_told(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_bytes(bytes(4096))
    with (
        pytest.raises(HostError, match="too small for reads"),
        working(Workload(mix="retrieval", data=str(small)), (), 60.0),
    ):
        pass
    with (
        pytest.raises(HostError, match="Connection refused"),
        working(Workload(mix="tools", tool="127.0.0.1:1"), (), 60.0),
    ):
        pass


def test_the_tool_refuses_nonsense_and_goes_on() -> None:
    import socket

    with running("toolserver", ()) as (process, address):
        host, port = address.split(":")
        for nonsense in (b"\xff" * 64, b"GET / HTTP/1.0\r\n\r\n"):
            with socket.create_connection((host, int(port)), 5.0) as stream:
                stream.sendall(nonsense)
                assert stream.recv(100) == b""
        with working(Workload(mix="tools", tool=address), (), 30.0) as subject:
            steps_of(subject, 5)
        assert process.poll() is None


@pytest.mark.parametrize("size", [64, 65, 100, 1024, 1025, 4097, 16384])
def test_json_has_exactly_the_size_asked_for(size: int) -> None:
    made = make_json(size)
    assert len(made) == size
    assert "rows" in json.loads(made)


def test_the_log_is_a_ring_that_says_when_it_lost_something(tmp_path: Path) -> None:
    log = create_log(tmp_path / "log", capacity=8)
    for number in range(8):
        log.append(number, 1, number, number + 1)
    assert [each.id for each in log.since(0)] == list(range(8))
    log.append(8, 1, 8, 9)
    assert [each.id for each in log.since(1)] == list(range(1, 9))
    with pytest.raises(HostError, match="between two looks"):
        log.since(0)
    log.close()


def test_sizes_read_as_they_are_given() -> None:
    assert str(Sizes(1024, 2048)) == "1024-2048"


def test_a_data_file_that_cannot_be_made_is_no_traceback() -> None:
    from agenttune.errors import AgenttuneError

    with (
        pytest.raises(AgenttuneError, match="cannot be written"),
        working(Workload(mix="retrieval"), (), 60.0, Path("/proc")),
    ):
        pass
    assert issubclass(InputError, AgenttuneError)
