"""The command line: `gentrain key=value ...`.

- `main`: the commands and their exit status
- `compose`: the configuration of a command, composed once, and what `resume` asks for
- `overrides`: what people type, in Hydra's grammar
- `aliases`: the words of other programs
- `completion`, `help`: what answers without Hydra
- `terminal`: stdout and stderr
- `hydra_errors`: Hydra's errors in one line
"""

from __future__ import annotations

import sys

from gentrain.errors import WINDOWS

if sys.platform == "win32":  # before an import that fails there
    print(f"gentrain: error: {WINDOWS}", file=sys.stderr)
    sys.exit(2)
