-- The name that clients of another habit give to a conversation leads to one. Nobody owns a conversation so far, and as no
-- NULL equals another one, an owner that is missing counts as an empty one here.
CREATE UNIQUE INDEX conversations_by_external_id ON conversations (external_kind, external_id, COALESCE(owner, ''))
    WHERE external_id IS NOT NULL;

-- Under which name progress events tell of it; NULL where the request gave none.
ALTER TABLE generations ADD COLUMN task_id TEXT;
