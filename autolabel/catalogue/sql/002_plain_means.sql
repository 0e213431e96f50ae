-- Migration 2: means by type are half floats, which no compression makes smaller; looking for one took most of a commit's time.

ALTER TABLE type_means RENAME TO type_means_before;
CREATE TABLE type_means (model VARCHAR, layer VARCHAR, side VARCHAR, type INTEGER, n BIGINT, mean BLOB USING COMPRESSION uncompressed);
INSERT INTO type_means SELECT model, layer, side, type, n, mean FROM type_means_before;
DROP TABLE type_means_before;
