ALTER TABLE generations DROP COLUMN task_id;
DROP INDEX conversations_by_external_id;
