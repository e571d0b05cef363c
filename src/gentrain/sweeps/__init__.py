"""Sweeps: the ledger of their cells, the keeper of each cell's process, the driver between Hydra's sweepers and launchers, the table."""
