-- Migration 6: what kind of unit it is. The positional share comes with the extraction; t_kinds is computed for units that are asked about:
-- correlations of a with a on truncated windows, context_length NULL where too few sampled tokens are active.
ALTER TABLE units ADD COLUMN positional_share DOUBLE;
CREATE TABLE t_kinds (
    model VARCHAR, layer VARCHAR, site VARCHAR, neuron INTEGER, side VARCHAR, context_length INTEGER, correlations DOUBLE[],
    same_token DOUBLE, n BIGINT, run VARCHAR);
