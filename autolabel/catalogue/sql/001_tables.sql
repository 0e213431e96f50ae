-- Migration 1: the tables.
-- Convention: a base table is named t_X where a documented view X exists (documents, excerpts, failures), else plainly X.
-- No keys, no indexes, no defaults: rows are looked up by the columns that schema.py names as keys before they are written.
-- Times are TIMESTAMP in UTC. Lists are per token of the excerpt. NULL means "not known" or "not said", never zero.

CREATE TABLE meta (key VARCHAR, value VARCHAR);
CREATE TABLE ledger ("table" VARCHAR, rows BIGINT);

CREATE TABLE runs (
    id VARCHAR, command VARCHAR, settings JSON, versions JSON, model VARCHAR, model_hash VARCHAR, corpus VARCHAR, seed BIGINT,
    state VARCHAR, started TIMESTAMP, finished TIMESTAMP);
CREATE TABLE models (
    name VARCHAR, hash VARCHAR, subject VARCHAR, corpus_id VARCHAR, context INTEGER, settings JSON, sites JSON,
    is_control BOOLEAN, control_of VARCHAR, run VARCHAR);
CREATE TABLE corpora (
    id VARCHAR, specs JSON, tokenizer VARCHAR, context INTEGER, n_documents BIGINT, n_copies BIGINT, n_near_duplicates BIGINT,
    n_excerpts BIGINT, n_tokens BIGINT, dropped JSON, state VARCHAR, run VARCHAR);

CREATE TABLE t_documents (
    corpus_id VARCHAR, id BIGINT, block BIGINT, corpus VARCHAR, split VARCHAR, n_tokens BIGINT, copies BIGINT, metadata JSON);
CREATE TABLE bands (corpus_id VARCHAR, document BIGINT, band INTEGER, hash BIGINT);
CREATE TABLE t_excerpts (
    corpus_id VARCHAR, id BIGINT, document BIGINT, block BIGINT, split VARCHAR, start BIGINT, n_tokens INTEGER,
    token_ids INTEGER[], char_start INTEGER[], char_end INTEGER[], text VARCHAR);

CREATE TABLE units (
    model VARCHAR, layer VARCHAR, layer_order INTEGER, site VARCHAR, neuron INTEGER, side VARCHAR, n_tokens BIGINT,
    firing_rate DOUBLE, active_rate DOUBLE, x_mean DOUBLE, x_std DOUBLE, x_min DOUBLE, x_max DOUBLE,
    mean DOUBLE, std DOUBLE, max DOUBLE, quantiles DOUBLE[], lexicality DOUBLE, top_tokens VARCHAR[], run VARCHAR);
CREATE TABLE activations (
    model VARCHAR, layer VARCHAR, site VARCHAR, neuron INTEGER, side VARCHAR, split VARCHAR, band VARCHAR, rank INTEGER,
    excerpt BIGINT, max_activation FLOAT, position INTEGER, activations FLOAT[], weight DOUBLE, run VARCHAR);
CREATE TABLE type_means (model VARCHAR, layer VARCHAR, side VARCHAR, type INTEGER, n BIGINT, mean BLOB);
CREATE TABLE position_means (model VARCHAR, layer VARCHAR, side VARCHAR, position INTEGER, n BIGINT, mean BLOB);
CREATE TABLE priority (
    model VARCHAR, layer VARCHAR, side VARCHAR, split VARCHAR, neuron INTEGER, rank INTEGER, excerpt BIGINT, s DOUBLE, key DOUBLE);

CREATE TABLE explanations (
    id VARCHAR, model VARCHAR, layer VARCHAR, site VARCHAR, neuron INTEGER, side VARCHAR, text VARCHAR, pattern VARCHAR,
    explainer VARCHAR, settings JSON, llm VARCHAR, prompt VARCHAR, abstained VARCHAR, cost_usd DOUBLE, run VARCHAR);
CREATE TABLE senses (
    explanation VARCHAR, model VARCHAR, layer VARCHAR, site VARCHAR, neuron INTEGER, side VARCHAR, sense INTEGER,
    text VARCHAR, pattern VARCHAR, share DOUBLE, extra JSON, run VARCHAR);
CREATE TABLE simulations (
    explanation VARCHAR, simulator VARCHAR, excerpt BIGINT, scale VARCHAR, expected DOUBLE[], weight DOUBLE, run VARCHAR);
CREATE TABLE scores (
    explanation VARCHAR, model VARCHAR, split VARCHAR, scorer VARCHAR, simulator VARCHAR, value DOUBLE, low DOUBLE, high DOUBLE,
    n BIGINT, reason VARCHAR, peak DOUBLE, peak_low DOUBLE, peak_high DOUBLE, extra JSON, run VARCHAR);
CREATE TABLE baselines (
    model VARCHAR, layer VARCHAR, side VARCHAR, neuron INTEGER, words VARCHAR[], best INTEGER[], run VARCHAR);
CREATE TABLE choices (
    model VARCHAR, layer VARCHAR, site VARCHAR, neuron INTEGER, side VARCHAR, explanation VARCHAR,
    explainer VARCHAR, llm VARCHAR, simulator VARCHAR, score DOUBLE, ci_low DOUBLE, ci_high DOUBLE,
    peak DOUBLE, peak_low DOUBLE, peak_high DOUBLE, n BIGINT, p_foreign DOUBLE, p_size DOUBLE, p DOUBLE, q_value DOUBLE,
    baseline DOUBLE, peak_baseline DOUBLE, ceiling DOUBLE,
    rho_context DOUBLE, rho_context_low DOUBLE, rho_context_high DOUBLE, contextual BOOLEAN,
    rho_new DOUBLE, rho_new_low DOUBLE, rho_new_high DOUBLE, carries_over BOOLEAN, informative BOOLEAN, rank INTEGER,
    mass_recall DOUBLE, verdict VARCHAR, reason VARCHAR, test_looks INTEGER, cost_usd DOUBLE, extra JSON, run VARCHAR);
CREATE TABLE t_failures (
    run VARCHAR, model VARCHAR, layer VARCHAR, site VARCHAR, neuron INTEGER, side VARCHAR, explainer VARCHAR,
    stage VARCHAR, kind VARCHAR, message VARCHAR, reply VARCHAR, created TIMESTAMP);

CREATE TABLE calls (
    digest VARCHAR, role VARCHAR, llm VARCHAR, request JSON, tokens_in BIGINT, tokens_out BIGINT, tokens_cached BIGINT,
    tokens_reasoning BIGINT, cost_usd DOUBLE, reply VARCHAR, state VARCHAR, created TIMESTAMP, run VARCHAR);
CREATE TABLE prompts_excerpts (call VARCHAR, excerpt BIGINT, corpus_id VARCHAR);
