"""How good a model is: metrics, the features they look at, and diagnostics.

Metrics (each is a class in a file of its own; see `gentrain.quality.base.Metric`):

==================  ===========================  ==================================================
class               chosen by                    scores
==================  ===========================  ==================================================
`ImageQuality`      quality=classifier,          FID, IS, KID, precision, recall, density, coverage
                    inception or rotation        of samples, and the classes a classifier sees
`LogLikelihood`     quality=nats                 -log p of held-out images, bits per dimension
`Annealed`          quality=ais                  -log p of an energy model, log Z by annealing
`DecoderLikelihood` quality=decoder_ais          -log p of a decoder of noise with Gaussian pixels
`PlaneLikelihood`   quality=plane                -log p of an energy in the plane, log Z by a grid
`ChainMixing`       quality=chains               acceptance, effective sample size, R-hat of chains
`SoundQuality`      quality=spectral             the same of the mel spectrograms of sounds
`ToneQuality`       quality=tones                the same, and pitch and timbre by exact rules
`ModeCoverage`      quality=modes                modes of a mixture of Gaussians that are reached
`StackedCoverage`   quality=stacked              modes of Stacked MNIST that are reached
`RoundTrip`         quality=translation          what a translation there and back keeps
`PairedScores`      callbacks.paired             L1, PSNR and SSIM of translations of pairs
`TestError`         callbacks.error_rate         the error of a classifier on held-out images
`CaptionAgreement`  callbacks.caption_agreement  what images show of what their captions say
`LinearProbe`       quality=probe                the error of a linear classifier of codes
==================  ===========================  ==================================================

Features: `Classifier` (LeNet), `Inception`, `Rotation`. `diagnostics` holds the doctor's
measurements and findings, `distances` the closed formulas, `cache` what is computed once.
"""

from gentrain.quality.ais import Annealed
from gentrain.quality.base import HeldOutMetric, Metric, SampleMetric, Score, higher_is_better
from gentrain.quality.captions import CaptionAgreement
from gentrain.quality.chains import ChainMixing
from gentrain.quality.classifier import Classifier
from gentrain.quality.coverage import ModeCoverage, StackedCoverage
from gentrain.quality.decoder_ais import DecoderLikelihood
from gentrain.quality.features import Features
from gentrain.quality.image_quality import ImageQuality
from gentrain.quality.inception import Inception, inception_quality
from gentrain.quality.likelihood import LogLikelihood
from gentrain.quality.paired import PairedScores
from gentrain.quality.plane import PlaneLikelihood
from gentrain.quality.probe import LinearProbe
from gentrain.quality.rotation import Rotation
from gentrain.quality.sounds import SoundQuality, ToneQuality
from gentrain.quality.test_error import TestError
from gentrain.quality.translation import RoundTrip

__all__ = [
    "Annealed",
    "CaptionAgreement",
    "ChainMixing",
    "Classifier",
    "DecoderLikelihood",
    "Features",
    "HeldOutMetric",
    "ImageQuality",
    "Inception",
    "LinearProbe",
    "LogLikelihood",
    "Metric",
    "ModeCoverage",
    "PairedScores",
    "PlaneLikelihood",
    "Rotation",
    "RoundTrip",
    "SampleMetric",
    "Score",
    "SoundQuality",
    "StackedCoverage",
    "TestError",
    "ToneQuality",
    "higher_is_better",
    "inception_quality",
]
