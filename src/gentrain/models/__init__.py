"""Generative models: what is unique to a paper, a file each, in five families.

- `gan`: adversarial models, a generator against a critic
- `vae`: variational autoencoders
- `flow`: normalising flows
- `autoregressive`: PixelCNN, Gated PixelCNN and PixelRNN
- `energy`: Boltzmann machines, the Hopfield network and deep energy-based models
- `regression`: a translation network trained on a content loss alone

What they share: `base` (the base class and the capabilities), `objective` (named losses),
`density` (models of log p(x)), `pixels` (what is modelled of an image) and `content_loss`.
"""
