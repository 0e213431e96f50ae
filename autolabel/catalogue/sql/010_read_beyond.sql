-- Migration 10: what read a label beyond its corpus or checkpoint: `pattern`, or the simulator that read it on a sample (and the LLM that it asked);
-- NULL where nothing did.
ALTER TABLE t_validity ADD COLUMN simulator VARCHAR;
ALTER TABLE t_validity ADD COLUMN judge VARCHAR;
ALTER TABLE t_stale ADD COLUMN simulator VARCHAR;
ALTER TABLE t_stale ADD COLUMN judge VARCHAR;
UPDATE t_validity SET simulator = 'pattern' WHERE explanation IN (SELECT id FROM explanations WHERE pattern IS NOT NULL);
UPDATE t_stale SET simulator = 'pattern' WHERE explanation IN (SELECT id FROM explanations WHERE pattern IS NOT NULL);
