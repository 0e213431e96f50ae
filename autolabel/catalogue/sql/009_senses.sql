-- Migration 9: senses, one row each; a unit that was asked about and has none has one row with sense 0 and the reason. (The first table
-- of this name was never written to.)
DROP TABLE senses;
CREATE TABLE t_senses (
    model VARCHAR, layer VARCHAR, site VARCHAR, neuron INTEGER, side VARCHAR, sense INTEGER, explanation VARCHAR, text VARCHAR, pattern VARCHAR,
    words VARCHAR[], attribution DOUBLE, share DOUBLE, gain DOUBLE, gain_low DOUBLE, gain_high DOUBLE, confusion DOUBLE[], "real" BOOLEAN,
    score DOUBLE, ci_low DOUBLE, ci_high DOUBLE, n BIGINT, p_foreign DOUBLE, p_size DOUBLE, p DOUBLE, q_value DOUBLE, confirmed BOOLEAN,
    n_eff DOUBLE, clusters INTEGER, reason VARCHAR, maker JSON, run VARCHAR);
