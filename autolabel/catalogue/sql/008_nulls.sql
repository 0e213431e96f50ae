-- Migration 8: what labels that should not fit a unit score on it. The last comparison of a unit replaces the one before.
CREATE TABLE t_nulls (
    model VARCHAR, layer VARCHAR, layer_order INTEGER, site VARCHAR, neuron INTEGER, side VARCHAR, kind VARCHAR, other VARCHAR, likeness DOUBLE,
    score DOUBLE, null_score DOUBLE, better_low DOUBLE, better_high DOUBLE, n_tokens BIGINT, n_documents BIGINT, basis VARCHAR, created TIMESTAMP, run VARCHAR);
