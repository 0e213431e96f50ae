-- Migration 5: what a model keeps when a layer's neurons are replaced by their labels' predictions. The last account of a layer replaces the one before.
CREATE TABLE t_accounting (
    model VARCHAR, layer VARCHAR, layer_order INTEGER, site VARCHAR, scope VARCHAR, predictor VARCHAR, share DOUBLE, share_low DOUBLE, share_high DOUBLE,
    loss DOUBLE, loss_original DOUBLE, loss_mean DOUBLE, measure VARCHAR, pooling VARCHAR, neurons INTEGER, labels INTEGER, flat INTEGER, reason VARCHAR,
    n_tokens BIGINT, n_excerpts BIGINT, n_documents BIGINT, fit_tokens BIGINT, basis VARCHAR, created TIMESTAMP, run VARCHAR);
