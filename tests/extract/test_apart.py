"""Work in processes of its own: order, deaths, and ends. A piece is a function without arguments."""

import math
import multiprocessing
import operator
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest

from aqakit.extract import apart
from aqakit.extract.apart import each_apart

Piece = Callable[[], Any]


def lost(piece: Piece) -> str:
    return "lost"


def test_results_come_in_the_order_of_the_pieces() -> None:
    pieces: list[Piece] = [partial(time.sleep, 0.3), *(partial(math.sqrt, n) for n in range(20))]
    found = list(each_apart(operator.call, pieces, lost, jobs=2))
    assert found == [None, *map(math.sqrt, range(20))]


def test_work_is_done_elsewhere_by_as_many_processes_as_asked_for() -> None:
    def pids(jobs: int) -> set[int]:
        return set(each_apart(operator.call, [os.getpid] * 12, lambda _: 0, jobs))

    assert len(pids(1) - {os.getpid()}) == 1
    assert len(pids(2) - {os.getpid()}) == 2
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("death", [partial(os._exit, 3), partial(os.abort)])
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_death_costs_its_own_piece(death: Piece, jobs: int) -> None:
    pieces: list[Piece] = [partial(math.sqrt, n) for n in range(9)]
    pieces[0] = pieces[4] = pieces[8] = death
    found = list(each_apart(operator.call, pieces, lost, jobs))
    assert found == [
        "lost",
        1.0,
        *map(math.sqrt, (2, 3)),
        "lost",
        *map(math.sqrt, (5, 6, 7)),
        "lost",
    ]


def test_after_five_deaths_in_a_row_no_more_are_tried(tmp_path: Path) -> None:
    def dying(number: int) -> Piece:
        return partial(
            os.execv, sys.executable, [sys.executable, "-c", f"open({name(number)!r}, 'w')"]
        )

    def name(number: int) -> str:
        return str(tmp_path / str(number))

    pieces: list[Piece] = [
        *(dying(n) for n in range(4)),
        partial(math.sqrt, 4),
        *map(dying, range(4, 12)),
    ]
    found = list(each_apart(operator.call, pieces, lost, jobs=1))
    assert found == 4 * ["lost"] + [2.0] + 8 * ["lost"]
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == list(range(9))


def test_closing_early_ends_the_processes_at_once(tmp_path: Path) -> None:
    pieces: list[Piece] = [partial(math.sqrt, 1), *[partial(time.sleep, 60)] * 5]
    results = each_apart(operator.call, pieces, lost, jobs=2)
    assert next(results) == 1.0
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < 5
    assert multiprocessing.active_children() == []


def test_nothing_to_do_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_Process", None)
    assert list(each_apart(operator.call, [], lost)) == []


def test_a_script_without_a_guard_is_not_run_once_more(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import math, operator\nfrom functools import partial\n"
        "from aqakit.extract.apart import each_apart\nprint('once')\n"
        "print(list(each_apart(operator.call, [partial(math.sqrt, 4)], str, 1)))\n"
    )
    told = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert told.stdout == "once\n[2.0]\n"


def test_processes_end_when_the_one_that_they_work_for_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import operator, os, time\nfrom functools import partial\n"
        "from aqakit.extract.apart import each_apart\n"
        "work = each_apart(operator.call, [os.getpid, partial(time.sleep, 1)], str, 1)\n"
        "print(next(work), flush=True)\n"
        "time.sleep(60)\n"
    )
    complaints = (tmp_path / "complaints").open("w+")
    command = [sys.executable, str(script)]
    with (
        complaints,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, text=True) as told,
    ):
        assert told.stdout is not None
        worker = int(told.stdout.readline())
        os.kill(told.pid, SIGKILL)
        deadline = time.monotonic() + 20
        while running(worker):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        complaints.seek(0)
        assert "Traceback" not in complaints.read()


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
