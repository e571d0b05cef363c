"""Run directories on disk.

- `directory`: where a run is, who writes in it, what is in it, and which one to continue
- `checkpoints`: files of weights, with a checksum
- `reopen`: the model and the data of a finished run
- `tensors`: weights for other programs
- `resolvers`: what the configuration files compute
"""
