"""Image classifiers by name, as Keras Functional models.

All take images in [0, 1] of shape (n, H, W, C) and end in a Dense layer named `logits`; the input
of that layer is the features. Normalisation of the pixels is a layer inside.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
