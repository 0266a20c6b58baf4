from .convex_polytope import ConvexPolytope as ConvexPolytope
from .evasion import Evasion as Evasion
from .feature_collision import FeatureCollision as FeatureCollision
from .gradient_matching import GradientMatching as GradientMatching
from .gradient_matching_fast import GradientMatchingFast as GradientMatchingFast
from .gradient_matching_squared_error import (
    GradientMatchingSquaredError as GradientMatchingSquaredError,
)
from .hidden_trigger import HiddenTrigger as HiddenTrigger
from .metapoison import MetaPoison as MetaPoison
from .objective import Objective as Objective
from .table import OBJECTIVES as OBJECTIVES
from .table import get as get
from .table import names as names
from .table import register as register
from .table import settings as settings
from .targeted_evasion import TargetedEvasion as TargetedEvasion
