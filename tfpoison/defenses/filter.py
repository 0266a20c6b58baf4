class Filter: pass
