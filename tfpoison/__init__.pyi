from . import attacks as attacks
from . import data as data
from . import defenses as defenses
from . import distribution as distribution
from . import networks as networks
from . import objectives as objectives
from . import perturbations as perturbations
from . import recipes as recipes
from .attacks import Attack as Attack
from .auditing.auditor import audit as audit
from .data import KeepList as KeepList
from .defenses import GradientShaping as GradientShaping
from .defenses import TrainingSetRevision as TrainingSetRevision
from .training import RobustModel as RobustModel

__version__: str
