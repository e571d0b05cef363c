"""What happens beside the steps of a training, in the order in which it happens.

================  ==================================================================
`evaluation`      computes metrics
`samples`         draws grids of samples
`checkpoint`      saves the last and the best checkpoint
`rng`             keeps random numbers in checkpoints
`diagnostics`     looks at the run's health
`progress`        shows a bar, or logs lines
`signals`         stops the training when the machine asks for it
================  ==================================================================

`summary` is the base of those that add to summary.json.
"""
