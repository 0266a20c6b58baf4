class Revision: pass
