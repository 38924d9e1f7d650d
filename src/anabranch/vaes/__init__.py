"""Recipes: variational autoencoders of a prior, a decoder and a posterior, with good defaults.

`vae` puts all three together. `priors` and `posteriors` hold the recipes of these parts, each a function that returns a
`Density`, and `encoder` and `decoder` those of the networks, for models that are put together by hand.
"""

from anabranch.vaes import posteriors, priors
from anabranch.vaes.autoencoder import vae
from anabranch.vaes.decoder import decoder
from anabranch.vaes.encoder import encoder
from anabranch.vaes.without_encoder import without_encoder

__all__ = ["decoder", "encoder", "posteriors", "priors", "vae", "without_encoder"]
from anabranch.vaes.hierarchical import depths_of, image_ladder, ladder

__all__ = ["decoder", "depths_of", "encoder", "image_ladder", "ladder", "posteriors", "priors", "vae"]
