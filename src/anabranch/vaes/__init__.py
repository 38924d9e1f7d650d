"""Recipes: variational autoencoders of a prior, a decoder and a posterior, with good defaults.

`vae` puts all three together. `priors` and `posteriors` hold the recipes of these parts, each a function that returns a
`Density`, and `encoder` and `decoder` those of the networks, for models that are put together by hand. `ladder` and
`image_ladder` have hidden variables in levels, and `depths_of` mixes over where these begin. `m2` has a
class for a hidden variable, which labels may tell. `self_supervised` makes images of coarse ones, and `vlae` leaves what
lies near to an autoregressive decoder.
"""

from anabranch.vaes import posteriors, priors
from anabranch.vaes.autoencoder import vae
from anabranch.vaes.decoder import decoder
from anabranch.vaes.encoder import encoder
from anabranch.vaes.hierarchical import depths_of, image_ladder, ladder
from anabranch.vaes.m2 import m2
from anabranch.vaes.self_supervised import self_supervised
from anabranch.vaes.vlae import autoregressive_decoder, vlae
from anabranch.vaes.without_encoder import without_encoder

__all__ = [
    "autoregressive_decoder",
    "decoder",
    "depths_of",
    "encoder",
    "image_ladder",
    "ladder",
    "m2",
    "posteriors",
    "priors",
    "self_supervised",
    "vae",
    "vlae",
    "without_encoder",
]
