"""The command line: `gentrain key=value ...`.

- `main`: the commands and their exit status
- `compose`: the configuration of a command, composed once, and what `resume` asks for
- `overrides`: what people type, in Hydra's grammar
- `hydra_errors`: Hydra's errors in one line
"""
