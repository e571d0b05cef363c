"""F15: a run directory has one live owner. F14 is in tests/cli."""

from __future__ import annotations

from pathlib import Path

import pytest

from gentrain.errors import UserError
from gentrain.runs import directory
from tests.support.shell import plain, running, wait_until

HOLD = """
import sys, time
from pathlib import Path
from gentrain.runs import directory
directory.lock(Path(sys.argv[1]))
print("mine", flush=True)
time.sleep(60)
"""


def test_the_second_process_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    with running(tmp_path, plain(), "-c", HOLD, str(tmp_path)) as holder:
        wait_until(lambda: holder.stdout.read() == "mine\n", holder)
        with pytest.raises(UserError, match=rf"process {holder.pid} on .*hydra\.run\.dir"):
            directory.lock(tmp_path)
        holder.kill()  # leaves no time to tidy up
        holder.wait()
    directory.lock(tmp_path)
    directory.lock(tmp_path)  # its owner may ask again
    directory.unlock(tmp_path)
