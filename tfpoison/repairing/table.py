"""The methods of repair by name."""

from typing import TYPE_CHECKING

from tfpoison.registry import Registry

if TYPE_CHECKING:
    from tfpoison.repairing.base import Repair

REPAIRS: "Registry[Repair]" = Registry(
    "method of repair",
    ".base:Repair",
    {
        "universal": ".universal:UnlearnUniversal",
        "fine_tuning_sam": ".fine_tuning_sam:FineTuningSAM",
        "anp": ".anp:AdversarialNeuronPruning",
        "unlearning": ".unlearning:Unlearning",
        "fine_pruning": ".fine_pruning:FinePruning",
    },
    __package__,
)

get, names, settings = REPAIRS.get, REPAIRS.names, REPAIRS.settings
register = REPAIRS.register
