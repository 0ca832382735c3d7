"""A process ends with the one that it computes for."""

import os
import subprocess
import sys
import time

from aqakit.models.watchdog import end_with

CHILD = "import os, time; from aqakit.models.watchdog import end_with; end_with(os.getppid()); "
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_a_process_ends_soon_after_its_parent_was_killed() -> None:
    child = CHILD + "print('watching', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, child], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)  # it is there
        parent.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("the child lives on")


def test_the_command_itself_watches_nobody() -> None:
    end_with(os.getpid())
