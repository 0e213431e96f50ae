-- The public face. Models that are a control appear in `leaderboard` alone.

-- One row per neuron; statistics of x over the explain split (quantiles, active_rate, lexicality and positional_share: of a = max(x, 0)).
CREATE OR REPLACE VIEW neurons AS
SELECT u.model || '/' || u.layer || '-' || u.site || '/' || u.neuron AS unit,
       u.model, u.layer, u.layer_order, u.site, u.neuron,
       u.firing_rate, u.active_rate, u.x_mean AS mean, u.x_std AS std, u.x_min AS min, u.x_max AS max,
       u.quantiles, u.top_tokens, u.lexicality, u.positional_share, u.n_tokens
FROM units u
WHERE u.side = '+' AND u.model NOT IN (SELECT name FROM models WHERE is_control);

-- One row for each attempted unit and side, whatever came of it. score is rho on the test split, with its 95 % interval.
CREATE OR REPLACE VIEW labels AS
SELECT c.model || '/' || c.layer || '-' || c.site || '/' || CASE c.side WHEN '-' THEN '-' ELSE '' END || c.neuron AS unit,
       c.model, c.layer, c.site, c.neuron, c.side,
       c.label, c.pattern, c.explainer, c.llm, c.simulator,
       c.score, c.ci_low, c.ci_high, c.peak, c.peak_low, c.peak_high, c.n,
       c.p_foreign, c.p_size, c.p, c.q_value, c.baseline, c.peak_baseline, c.ceiling,
       c.rho_context, c.rho_context_low, c.rho_context_high, c.contextual,
       c.rho_new, c.rho_new_low, c.rho_new_high, c.carries_over, c.informative, c.rank, c.mass_recall,
       c.verdict, c.reason, c.test_looks, c.cost_usd
FROM choices c
WHERE NOT coalesce(c.of_control, false);

-- One row per explanation and simulator: rho and peak on select and, where it was looked at, on test.
CREATE OR REPLACE VIEW candidates AS
WITH s AS (
    SELECT explanation, simulator,
           max(value) FILTER (split = 'select') AS select_score, max(low) FILTER (split = 'select') AS select_low,
           max(high) FILTER (split = 'select') AS select_high, max(peak) FILTER (split = 'select') AS select_peak,
           max(value) FILTER (split = 'test') AS test_score, max(low) FILTER (split = 'test') AS test_low,
           max(high) FILTER (split = 'test') AS test_high, max(peak) FILTER (split = 'test') AS test_peak,
           max(reason) AS reason
    FROM scores WHERE scorer IN ('correlation', 'simulation') GROUP BY ALL)
SELECT e.model || '/' || e.layer || '-' || e.site || '/' || CASE e.side WHEN '-' THEN '-' ELSE '' END || e.neuron AS unit,
       e.model, e.layer, e.site, e.neuron, e.side, e.id AS explanation,
       nullif(e.text, '') AS label, e.pattern, e.explainer, e.llm, s.simulator,
       s.select_score, s.select_low, s.select_high, s.select_peak, s.test_score, s.test_low, s.test_high, s.test_peak,
       e.id IN (SELECT explanation FROM choices WHERE explanation IS NOT NULL) AS chosen,
       e.abstained IS NOT NULL AS abstained, coalesce(e.abstained, s.reason) AS reason, e.cost_usd
FROM explanations e
LEFT JOIN s ON s.explanation = e.id
WHERE e.model NOT IN (SELECT name FROM models WHERE is_control)
QUALIFY NOT (e.pattern IS NULL AND coalesce(s.simulator, '') = 'pattern' AND count(*) OVER (PARTITION BY e.id) > 1);

-- One row per record: a unit on an excerpt. token is the one where the unit fires most; before and after are the text around it.
CREATE OR REPLACE VIEW exemplars AS
SELECT a.model || '/' || a.layer || '-' || a.site || '/' || CASE a.side WHEN '-' THEN '-' ELSE '' END || a.neuron AS unit,
       a.model, a.layer, a.site, a.neuron, a.side, a.split, a.band, a.rank, a.max_activation,
       substring(e.text, e.char_start[a.position + 1] + 1, e.char_end[a.position + 1] - e.char_start[a.position + 1]) AS token,
       substring(e.text, 1, e.char_start[a.position + 1]) AS before,
       substring(e.text, e.char_end[a.position + 1] + 1) AS after,
       [substring(e.text, e.char_start[i] + 1, e.char_end[i] - e.char_start[i]) FOR i IN range(1, len(e.char_start) + 1)] AS tokens,
       a.activations, e.document, a.excerpt, a.weight
FROM activations a
JOIN models m ON m.name = a.model
JOIN t_excerpts e ON e.corpus_id = m.corpus_id AND e.id = a.excerpt
WHERE NOT coalesce(m.is_control, false);

-- Per model, explainer and simulator, over the best candidate of each unit (by its select score): units attempted, coverage
-- (share of attempted units with a scored label), mean rho on test with its 95 % normal interval over units, share of the
-- attempted units whose label is better than chance (Benjamini-Hochberg at q = .05 over p_foreign, 1 for the others) and share that are
-- confirmed (extra.verdict of the test score) and not contested, cost in dollars. Units without a score are in no mean.
CREATE OR REPLACE VIEW leaderboard AS
WITH asked AS (
    SELECT model, explainer, layer, site, neuron, side, id AS explanation, cost_usd FROM explanations
    UNION ALL
    SELECT model, explainer, layer, site, neuron, side, NULL, NULL FROM t_failures
    WHERE explainer IS NOT NULL AND neuron IS NOT NULL AND stage = 'explain'),
attempted AS (
    SELECT model, explainer, count(DISTINCT (layer, site, neuron, side)) AS units, sum(cost_usd) AS cost FROM asked GROUP BY ALL),
tested AS (
    SELECT t.explanation, t.simulator, t.value, t.extra ->> 'verdict' AS verdict, try_cast(t.extra ->> 'p_foreign' AS DOUBLE) AS p,
           try_cast(t.extra ->> 'cost_usd' AS DOUBLE) AS cost, coalesce(s.value, -2) AS selected
    FROM scores t
    LEFT JOIN (SELECT explanation, simulator, max(value) AS value FROM scores
               WHERE split = 'select' AND scorer IN ('correlation', 'simulation') GROUP BY ALL) s
           ON s.explanation = t.explanation AND s.simulator IS NOT DISTINCT FROM t.simulator
    WHERE t.split = 'test' AND t.scorer IN ('correlation', 'simulation')),
best AS (
    SELECT e.model, e.explainer, t.simulator, e.layer, e.site, e.neuron, e.side,
           arg_max(struct_pack(value := t.value, verdict := t.verdict, id := e.id, p := t.p), (t.selected, e.id)) AS top, sum(t.cost) AS cost
    FROM tested t JOIN explanations e ON e.id = t.explanation WHERE NOT (coalesce(t.simulator, '') = 'pattern' AND e.pattern IS NULL AND t.value IS NULL) GROUP BY ALL),
scored AS (
    SELECT model, explainer, simulator, count((top).value) AS scored, avg((top).value) AS mean_score, stddev_samp((top).value) AS sd,
           count(*) FILTER ((top).verdict = 'confirmed' AND (top).id NOT IN (SELECT explanation FROM choices WHERE verdict = 'contested'
                            AND explanation IS NOT NULL)) AS confirmed, sum(cost) AS cost
    FROM best GROUP BY ALL),
ranked AS (
    SELECT x.model, x.explainer, x.simulator, (x.top).p AS p, a.units,
           row_number() OVER (PARTITION BY x.model, x.explainer, x.simulator ORDER BY (x.top).p NULLS LAST) AS k
    FROM best x JOIN attempted a ON a.model = x.model AND a.explainer = x.explainer),
above AS (SELECT model, explainer, simulator, max(k) FILTER (p <= 0.05 * k / units) AS above FROM ranked GROUP BY ALL)
SELECT a.model, coalesce(m.is_control, false) AS control, a.explainer, s.simulator, a.units AS units_attempted,
       coalesce(s.scored, 0) / a.units AS coverage, s.mean_score,
       s.mean_score - 1.959964 * s.sd / sqrt(s.scored) AS mean_low, s.mean_score + 1.959964 * s.sd / sqrt(s.scored) AS mean_high,
       coalesce(c.above, 0) / a.units AS share_above_chance, coalesce(s.confirmed, 0) / a.units AS share_confirmed,
       CASE WHEN a.cost IS NULL AND s.cost IS NULL THEN NULL ELSE coalesce(a.cost, 0) + coalesce(s.cost, 0) END AS cost_usd
FROM attempted a
LEFT JOIN scored s ON s.model = a.model AND s.explainer = a.explainer
LEFT JOIN above c ON c.model = s.model AND c.explainer = s.explainer AND c.simulator IS NOT DISTINCT FROM s.simulator
LEFT JOIN models m ON m.name = a.model;

CREATE OR REPLACE VIEW failures AS
SELECT CASE WHEN f.neuron IS NULL THEN NULL
            ELSE f.model || '/' || f.layer || '-' || f.site || '/' || CASE f.side WHEN '-' THEN '-' ELSE '' END || f.neuron END AS unit,
       f.model, f.layer, f.site, f.neuron, f.side, f.stage, f.explainer, f.kind, f.message, f.reply, f.created, f.run
FROM t_failures f
WHERE f.model IS NULL OR f.model NOT IN (SELECT name FROM models WHERE is_control);

CREATE OR REPLACE VIEW documents AS
SELECT id, corpus, split, n_tokens, metadata FROM t_documents;

CREATE OR REPLACE VIEW excerpts AS
SELECT id, document, split, start, n_tokens, token_ids, text FROM t_excerpts;

-- One row per test of a model's last audit. passed is NULL where the test was not run; known: the metric is known to fail this test.
CREATE OR REPLACE VIEW audits AS
SELECT model, number, test, metric, scope, expected, observed, passed, known, n, created FROM t_audits;

-- The coverage-risk curve of each model: of the attempted units the best-labelled share (in hundredths, by descending score) and what
-- their labels are worth: mean and least rho, and the share of them that are not shown to be true (not confirmed).
CREATE OR REPLACE VIEW coverage AS
WITH attempted AS (SELECT model, count(*) AS units FROM labels GROUP BY model),
ranked AS (
    SELECT model, score, row_number() OVER best AS k, avg(score) OVER best AS mean_score,
           avg(CASE WHEN verdict = 'confirmed' THEN 0.0 ELSE 1.0 END) OVER best AS unconfirmed
    FROM labels WHERE score IS NOT NULL
    WINDOW best AS (PARTITION BY model ORDER BY score DESC, unit ROWS UNBOUNDED PRECEDING))
SELECT a.model, s.share / 100 AS share, r.k AS n, r.mean_score, r.score AS least_score, r.unconfirmed
FROM attempted a, range(1, 101) s(share)
JOIN ranked r ON r.model = a.model AND r.k = greatest(1, CAST(round(a.units * s.share / 100) AS BIGINT));

-- One row per layer, scope and predictor of the last account (`autolabel account`): the share of what the layer's neurons do for the model that
-- is kept when they are replaced by predictions: 0 their means (loss_mean), 1 the original (loss_original). scope: `layer` replaces all
-- neurons, those without a label by their means; `labelled` replaces those with a label alone. share is NULL with a reason.
CREATE OR REPLACE VIEW accounting AS
SELECT model, layer, layer_order, site, scope, predictor, share, share_low, share_high, loss, loss_original, loss_mean, measure, pooling,
       neurons, labels, flat, reason, n_tokens, n_excerpts, n_documents, fit_tokens, created
FROM t_accounting;

-- What kind of unit it is; one row per unit and side, statistics of the explain split. lexicality and positional_share: of the variance
-- of a, what the token type and the position carry. context_length: the smallest k with correlation(a, a with k tokens of context) >= .9
-- (correlations: at 0, 1, 2, 4, 8, 16, 32); same_token: how much a differs among occurrences of its top types. NULL until asked for.
CREATE OR REPLACE VIEW kinds AS
SELECT u.model || '/' || u.layer || '-' || u.site || '/' || CASE u.side WHEN '-' THEN '-' ELSE '' END || u.neuron AS unit,
       u.model, u.layer, u.site, u.neuron, u.side,
       CASE WHEN u.lexicality >= .7 THEN 'lexical' WHEN u.lexicality <= .3 THEN 'context-driven' WHEN u.lexicality IS NOT NULL THEN 'mixed' END AS kind,
       u.lexicality, u.positional_share, k.context_length, k.correlations, k.same_token, k.n
FROM units u
LEFT JOIN t_kinds k ON (k.model, k.layer, k.site, k.neuron, k.side) = (u.model, u.layer, u.site, u.neuron, u.side)
WHERE u.model NOT IN (SELECT name FROM models WHERE is_control);

-- One row per label and corpus (or group of one, `subgroup`, as in `language=de`) that it was scored on: its own test split and the corpora
-- of `score --corpus`. score is rho with its 95 % interval; reason says why there is none, or why it is not to be relied on. simulator: `pattern`,
-- run over all n excerpts; else what read the label, on a sample of n excerpts from which the score of all of them is estimated; NULL: nothing did.
CREATE OR REPLACE VIEW validity AS
SELECT l.unit, l.model, l.layer, l.site, l.neuron, l.side, l.label, 'test split' AS corpus, NULL AS subgroup, l.score, l.ci_low, l.ci_high, l.peak, l.n,
       l.simulator, CASE WHEN l.verdict IN ('unscored', 'imprecise') THEN l.reason END AS reason, true AS own
FROM labels l WHERE l.label IS NOT NULL
UNION ALL
SELECT l.unit, l.model, l.layer, l.site, l.neuron, l.side, l.label, v.corpus, v.subgroup, v.value, v.low, v.high, v.peak, v.n, v.simulator, v.reason,
       false
FROM labels l
JOIN choices c USING (model, layer, site, neuron, side)
JOIN t_validity v ON v.explanation = c.explanation AND v.model = c.model
WHERE l.label IS NOT NULL;

-- One row per label: where its score is least, among its own test split and all it was scored on elsewhere. Scores that are not to be
-- relied on are in no minimum: left_out says how many. The least of several estimates is below the truth by chance: read its interval.
CREATE OR REPLACE VIEW weakest AS
SELECT unit, model, layer, site, neuron, side, any_value(label) AS label, max(score) FILTER (own) AS score,
       min(score) FILTER (reason IS NULL) AS min_score, arg_min(ci_low, score) FILTER (reason IS NULL) AS min_low,
       arg_min(ci_high, score) FILTER (reason IS NULL) AS min_high, arg_min(corpus, score) FILTER (reason IS NULL) AS min_corpus,
       arg_min(struct_pack(s := subgroup), score) FILTER (reason IS NULL).s AS min_subgroup,
       arg_min(struct_pack(n := n), score) FILTER (reason IS NULL).n AS min_n,
       arg_min(struct_pack(s := simulator), score) FILTER (reason IS NULL).s AS min_simulator,
       count(score) FILTER (reason IS NULL) AS corpora, count(*) FILTER (reason IS NOT NULL) AS left_out
FROM validity GROUP BY unit, model, layer, site, neuron, side;

-- One row per label and other checkpoint of its model (`score --subject`): rho there and its own, both on the test split; fall = own - score
-- with its paired 95 % interval; stale: fall_low > .1. power: share of the labels above .2 for which a planted fall of .2 was noticed,
-- of all labels that were read in the same way. simulator and n as in `validity`; a sample is the same for both checkpoints.
CREATE OR REPLACE VIEW stale AS
SELECT l.unit, l.model, l.layer, l.site, l.neuron, l.side, l.label, s.subject, s.own, s.value AS score, s.low AS ci_low, s.high AS ci_high,
       s.fall, s.fall_low, s.fall_high, s.stale, s.planted, s.planted_low, s.noticed,
       avg(CAST(s.noticed AS INTEGER)) OVER (PARTITION BY s.model, s.subject_hash, s.simulator) AS power, s.n, s.simulator, s.reason
FROM labels l
JOIN choices c USING (model, layer, site, neuron, side)
JOIN t_stale s ON s.explanation = c.explanation AND s.model = c.model
WHERE l.label IS NOT NULL;

-- One row per unit and kind of label that should not fit it (`autolabel nulls`): score is rho of the unit's own label, null_score that of the other,
-- both on one sample of test; better_low, better_high: the paired 97.5 % interval of their difference. other: whose label it is, or its words;
-- likeness: of the two units' activations, or of the two labels' sentences. rank and bits say how well the own label tells its unit from the
-- others of its layer: rank on the whole test split, bits = log2(units of the layer / rank).
CREATE OR REPLACE VIEW nulls AS
SELECT t.model || '/' || t.layer || '-' || t.site || '/' || CASE t.side WHEN '-' THEN '-' ELSE '' END || t.neuron AS unit,
       t.model, t.layer, t.layer_order, t.site, t.neuron, t.side, t.kind, t.other, t.likeness, t.score, t.null_score, t.better_low, t.better_high,
       c.rank, log2(w.units / c.rank) AS bits, t.n_tokens, t.n_documents, t.created
FROM t_nulls t
LEFT JOIN choices c ON (c.model, c.layer, c.site, c.neuron, c.side) = (t.model, t.layer, t.site, t.neuron, t.side)
LEFT JOIN (SELECT model, layer, site, count(*) AS units FROM units GROUP BY ALL) w ON (w.model, w.layer, w.site) = (t.model, t.layer, t.site);

-- The different things that a unit fires for, in the order in which their labels were taken; one row per sense, sense 0 with a reason where
-- a unit that was asked about has none. share: of the unit's activation mass, explained; gain: in R2 on select. is_real: its own label is the
-- best on its own cluster (select; confusion: rho there of the label of each sense). score to q_value: its label on test, on the tokens
-- of no other cluster. confirmed: real, precise and q < .05 over all senses of the model. n_eff: exp(entropy of the shares).
CREATE OR REPLACE VIEW senses AS
SELECT s.model || '/' || s.layer || '-' || s.site || '/' || CASE s.side WHEN '-' THEN '-' ELSE '' END || s.neuron AS unit,
       s.model, s.layer, s.site, s.neuron, s.side, s.sense, s.text AS label, s.pattern, s.words, s.attribution, s.share,
       s.gain, s.gain_low, s.gain_high, s.confusion, s."real" AS is_real, s.score, s.ci_low, s.ci_high, s.n, s.p_foreign, s.p_size, s.p,
       s.q_value, s.confirmed, s.n_eff, s.clusters, s.reason
FROM t_senses s
WHERE s.model NOT IN (SELECT name FROM models WHERE is_control);
