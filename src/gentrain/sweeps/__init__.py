"""Sweeps: many trainings from one command.

- `ledger`: the files that say which cells there are, and how each of them stands
- `launcher`: between Hydra's sweepers and launchers: gives the cells to the launcher, and waits
- `cell_process`: trains one cell in a process of its own
- `table`: the results; `ablation`: what leaving out each trick does
- `budget`: what a sweep will cost
- `study`: Optuna's trials, continued
"""
