import dataclasses
from tfpoison.configurable import Configurable
class Revision(Configurable): pass
@dataclasses.dataclass(frozen=True)
class Revised:
    kept: object
    images: object
