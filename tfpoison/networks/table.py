"""The networks by name: those for small images, then `keras.applications`."""

from typing import TYPE_CHECKING

from tfpoison.registry import Registry

if TYPE_CHECKING:
    import keras

# The classes of Keras 3.15.
_APPLICATIONS = """
ConvNeXtBase ConvNeXtLarge ConvNeXtSmall ConvNeXtTiny ConvNeXtXLarge DenseNet121 DenseNet169
DenseNet201 EfficientNetB0 EfficientNetB1 EfficientNetB2 EfficientNetB3 EfficientNetB4
EfficientNetB5 EfficientNetB6 EfficientNetB7 EfficientNetV2B0 EfficientNetV2B1 EfficientNetV2B2
EfficientNetV2B3 EfficientNetV2L EfficientNetV2M EfficientNetV2S InceptionResNetV2 InceptionV3
MobileNet MobileNetV2 MobileNetV3Large MobileNetV3Small NASNetLarge NASNetMobile ResNet101
ResNet101V2 ResNet152 ResNet152V2 ResNet50 ResNet50V2 VGG16 VGG19 Xception
"""

NETWORKS: "Registry[keras.Model]" = Registry(
    "network",
    "keras:Model",
    {
        "convnet": ".convnet:convnet",
        "convnet_fast": ".convnet_fast:convnet_fast",
        "convnet_small": ".convnet:convnet_small",
        "mlp": ".mlp:mlp",
        "mobilenet_v2": ".mobilenet:mobilenet_v2",
        "resnet18": ".resnet:resnet18",
        "resnet20": ".resnet:resnet20",
        "resnet32": ".resnet:resnet32",
        "resnet50": ".resnet:resnet50",
        "vgg11": ".vgg:vgg11",
        "vgg13": ".vgg:vgg13",
        "vgg16": ".vgg:vgg16",
        "wide_resnet_16_4": ".wide_resnet:wide_resnet_16_4",
        "wide_resnet_16_8": ".wide_resnet:wide_resnet_16_8",
        "wide_resnet_28_10": ".wide_resnet:wide_resnet_28_10",
        "wide_resnet_40_2": ".wide_resnet:wide_resnet_40_2",
        "wide_resnet_40_4": ".wide_resnet:wide_resnet_40_4",
        **{name: f".keras_applications:{name}" for name in _APPLICATIONS.split()},
    },
    __package__,
)

names, settings, register = NETWORKS.names, NETWORKS.settings, NETWORKS.register
