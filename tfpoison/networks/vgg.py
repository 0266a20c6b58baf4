"""VGG networks for small images, with BatchNorm and a single Dense layer.

Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
arXiv 1409.1556, in the form that the authors' code uses. Images larger than 32 × 32 are averaged at
the end, so that all sizes have 512 features.
"""

from tfpoison.networks import blocks
from tfpoison.networks.architecture import Architecture


def _vgg(name: str, *convolutions: int) -> Architecture:
    """Returns the network with so many convolutions in each of its five stages."""
    plan: list[int | str] = []
    for filters, count in zip([64, 128, 256, 512, 512], convolutions, strict=True):
        plan += [filters] * count + ["pool"]

    def features(images):
        """A VGG for small images (arXiv 1409.1556), with BatchNorm and a single Dense layer."""
        x = blocks.plain_stack(images, plan, pool_size=2, use_batch_normalization=True)
        return blocks.global_average(x)

    return Architecture(name, features, smallest_image=32)


vgg11 = _vgg("vgg11", 1, 1, 2, 2, 2)
vgg13 = _vgg("vgg13", 2, 2, 2, 2, 2)
vgg16 = _vgg("vgg16", 2, 2, 3, 3, 3)
