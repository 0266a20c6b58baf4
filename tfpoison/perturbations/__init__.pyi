from .additive import Additive as Additive
from .additive_with_triggered_targets import (
    AdditiveWithTriggeredTargets as AdditiveWithTriggeredTargets,
)
from .blend import Blend as Blend
from .class_patch import ClassPatch as ClassPatch
from .pair_patch import PairPatch as PairPatch
from .perturbation import BoundPerturbation as BoundPerturbation
from .perturbation import Perturbation as Perturbation
from .spatial import Spatial as Spatial
from .table import INITIALIZERS as INITIALIZERS
from .table import OPTIMIZERS as OPTIMIZERS
from .table import PERTURBATIONS as PERTURBATIONS
from .table import get as get
from .table import names as names
from .table import register as register
from .table import settings as settings
from .universal import Universal as Universal
from .universal_mixed import UniversalMixed as UniversalMixed
from .universal_patch import UniversalPatch as UniversalPatch
