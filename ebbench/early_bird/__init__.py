"""EB Train: the search of Algorithm 1, its pipelines in full and in few bits, and the choice of the prune ratio."""
