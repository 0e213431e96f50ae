-- Migration 7: labels beyond their corpus (t_validity; `elsewhere` says what was read) and beyond their checkpoint (t_stale).
CREATE TABLE elsewhere (
    id VARCHAR, model VARCHAR, corpus_id VARCHAR, corpus VARCHAR, specs JSON, key VARCHAR, subgroups INTEGER, n_documents BIGINT, n_tokens BIGINT,
    left_out JSON, run VARCHAR);
CREATE TABLE t_validity (
    model VARCHAR, layer VARCHAR, site VARCHAR, neuron INTEGER, side VARCHAR, explanation VARCHAR, elsewhere VARCHAR, corpus VARCHAR,
    subgroup VARCHAR, value DOUBLE, low DOUBLE, high DOUBLE, peak DOUBLE, peak_low DOUBLE, peak_high DOUBLE, n BIGINT, n_documents BIGINT,
    reason VARCHAR, run VARCHAR);
CREATE TABLE t_stale (
    model VARCHAR, layer VARCHAR, site VARCHAR, neuron INTEGER, side VARCHAR, explanation VARCHAR, subject VARCHAR, subject_hash VARCHAR,
    own DOUBLE, value DOUBLE, low DOUBLE, high DOUBLE, fall DOUBLE, fall_low DOUBLE, fall_high DOUBLE, stale BOOLEAN, planted DOUBLE,
    planted_low DOUBLE, noticed BOOLEAN, n BIGINT, reason VARCHAR, run VARCHAR);
