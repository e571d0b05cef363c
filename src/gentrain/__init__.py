"""gentrain: train, compare and sample the classic deep generative models from one command."""
