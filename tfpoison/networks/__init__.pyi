from .making import check as check
from .making import get as get
from .table import NETWORKS as NETWORKS
from .table import names as names
from .table import register as register
from .table import settings as settings
