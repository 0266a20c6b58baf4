"""What of the images may change: perturbations by name, their starts and their optimizers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
