-- Migration 3: what the scores' own audit found. One row per test, metric and kind of units; the last audit of a model replaces the one before.
CREATE TABLE t_audits (
    model VARCHAR, number INTEGER, test VARCHAR, metric VARCHAR, scope VARCHAR, expected VARCHAR, observed VARCHAR, passed BOOLEAN,
    known BOOLEAN, n BIGINT, created TIMESTAMP, run VARCHAR);
