"""Scenarios: what the victim starts from, and which of its weights train."""

import dataclasses
from typing import TYPE_CHECKING

from tfpoison.registry import Registry

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class Scenario:
    """How the victim trains on the data that hold the poisons.

    Attributes:
        pretrained: whether it starts from features that were trained on other data.
        frozen: whether the features stay as they are and a new last layer alone trains.
        rate_factor: what the learning rate is multiplied by.
    """

    pretrained: bool = False
    frozen: bool = False
    rate_factor: float = 1.0

    def start(self, network: "keras.Model", pretrained: "keras.Model | None") -> None:
        """Gives a new network what the scenario starts from.

        Args:
            network: a network with fresh weights.
            pretrained: the same network trained on other data; its last layer may have another
                number of classes. The last layer is taken over for fine-tuning on the same classes
                and stays fresh otherwise.

        Raises:
            ValueError: the scenario needs a pretrained network, and there is none.
        """
        if not self.pretrained:
            return
        if pretrained is None:
            raise ValueError("Expected a pretrained network for this scenario. Received none.")
        from tfpoison.features import last_dense

        head = last_dense(network)
        theirs = {id(each) for each in last_dense(pretrained).variables}
        ours = {id(each) for each in head.variables}
        same_head = not self.frozen and [v.shape for v in head.variables] == [
            v.shape for v in last_dense(pretrained).variables
        ]
        pairs = zip(
            [each for each in network.weights if same_head or id(each) not in ours],
            [each for each in pretrained.weights if same_head or id(each) not in theirs],
            strict=True,
        )
        for variable, value in pairs:
            variable.assign(value)
        if self.frozen:
            for layer in network.layers:
                layer.trainable = layer is head


def from_scratch() -> Scenario:
    """The victim starts from random weights, and all of them train."""
    return Scenario()


def fine_tuning() -> Scenario:
    """The victim starts from pretrained weights; all train, at the rate of arXiv 2102.13624."""
    return Scenario(pretrained=True, rate_factor=0.001)


def transfer() -> Scenario:
    """The victim has pretrained features, which stay as they are; a new last layer trains."""
    return Scenario(pretrained=True, frozen=True)


SCENARIOS: Registry[Scenario] = Registry(
    "scenario",
    f"{__name__}:Scenario",
    {"from_scratch": from_scratch, "fine_tuning": fine_tuning, "transfer": transfer},
)

get, names = SCENARIOS.get, SCENARIOS.names
