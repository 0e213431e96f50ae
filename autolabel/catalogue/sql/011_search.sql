-- Migration 11: what makes a million labels quick to search. `vectors` holds one row per distinct text of a label and embedding model (its name and
-- hash): 8-bit integers, of unit length after multiplication by scale; they are made when labels are first searched. The text of the
-- chosen label, its pattern, and whether the model is a control stand in `choices` itself, so that `labels` needs no join.
CREATE TABLE vectors (embedder VARCHAR, text VARCHAR, scale FLOAT, vector BLOB USING COMPRESSION uncompressed);
ALTER TABLE choices ADD COLUMN label VARCHAR;
ALTER TABLE choices ADD COLUMN pattern VARCHAR;
ALTER TABLE choices ADD COLUMN of_control BOOLEAN;
UPDATE choices SET label = nullif(e.text, ''), pattern = e.pattern, explainer = coalesce(e.explainer, choices.explainer),
                   llm = coalesce(e.llm, choices.llm)
FROM explanations e WHERE e.id = choices.explanation;
UPDATE choices SET of_control = model IN (SELECT name FROM models WHERE is_control);
