from . import attacks as attacks
from . import data as data
from . import defenses as defenses
from . import distribution as distribution
from . import networks as networks
from . import objectives as objectives
from . import perturbations as perturbations
from . import recipes as recipes
from .attacks.attack import Attack as Attack
from .auditing.auditor import audit as audit
from .data.keep_list import KeepList as KeepList
from .defenses.gradient_shaping import GradientShaping as GradientShaping
from .defenses.revisions.training_set_revision import TrainingSetRevision as TrainingSetRevision
from .experiment.stress_testing import stress_test as stress_test
from .repairing.repairing import repair as repair
from .repairing.scanning import scan as scan
from .training.robust_model import RobustModel as RobustModel

__version__: str
