"""F15: a run directory has one live owner. F14 is in tests/cli."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gentrain.errors import UserError
from gentrain.runs import directory

HOLD = """
import sys, time
from pathlib import Path
from gentrain.runs import directory
directory.lock(Path(sys.argv[1]))
print("mine", flush=True)
time.sleep(60)
"""


def test_the_second_process_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "mine\n"
    with pytest.raises(UserError, match=rf"process {holder.pid} on .*hydra\.run\.dir"):
        directory.lock(tmp_path)
    os.kill(holder.pid, signal.SIGKILL)  # leaves no time to tidy up
    holder.wait()
    holder.stdout.close()
    directory.lock(tmp_path)
    directory.lock(tmp_path)  # its owner may ask again
    directory.unlock(tmp_path)
