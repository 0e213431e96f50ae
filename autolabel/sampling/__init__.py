"""One pass over a split for all neurons at once: exact moments, strongest windows, strata, priority samples, sums by token type.

Every accumulator is fed batch by batch, holds memory that does not depend on the corpus, gives its state as arrays and goes on from them;
its result depends on the set of windows alone, not on their order (rounding of sums apart).
"""
