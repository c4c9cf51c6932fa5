-- name: begin_draft$
WITH draft AS (
    INSERT INTO intake.drafts
        (case_id, token_sha256, service, channel, filed_by, language, sealed, expires_at)
    VALUES (:case_id, :token_sha256, :service, :channel, :filed_by, :language, :sealed, :expires_at)
)
SELECT vault.create_key(:case_id, :wrapped);

-- name: find_draft^
-- By its own link.
SELECT case_id, service, channel, filed_by, language, sealed, revision, state, number, expires_at
FROM intake.drafts
WHERE token_sha256 = :sha256 AND expires_at > :now;

-- name: find_confirmation^
-- By the link that was sent to confirm it: good for nothing else.
SELECT case_id, service, channel, filed_by, language, sealed, revision, state, number, expires_at
FROM intake.drafts
WHERE confirm_sha256 = :sha256 AND expires_at > :now;

-- name: save_draft$
-- The new revision; nothing when somebody else was first.
UPDATE intake.drafts
SET sealed = :sealed, language = :language, revision = revision + 1, expires_at = :expires_at,
    state = 'open', confirm_sha256 = NULL
WHERE case_id = :case_id AND revision = :revision AND state <> 'received'
RETURNING revision;

-- name: send_draft$
-- From here it waits for the citizen to follow the link. Nothing when it was sent already.
WITH draft AS (
    UPDATE intake.drafts
    SET state = 'sent', number = coalesce(number, :number), confirm_sha256 = :confirm_sha256,
        revision = revision + 1, expires_at = :expires_at
    WHERE case_id = :case_id AND revision = :revision AND state = 'open'
    RETURNING case_id
), event AS (
    INSERT INTO intake.outbox (topic, key, header_names, header_values, value)
    SELECT :topic, :key, :header_names, :header_values, :value FROM draft
)
SELECT case_id FROM draft;

-- name: receive_draft$
-- The application and its event, once: whoever comes second finds it received.
WITH draft AS (
    UPDATE intake.drafts SET state = 'received', number = :number, sealed = ''
    WHERE case_id = :case_id AND revision = :revision AND state <> 'received'
    RETURNING case_id
), application AS (
    INSERT INTO intake.applications
        (case_id, number, service, facts, sealed, received_at, event_id, person, proven, duplicates)
    SELECT :case_id, :number, :service, :facts, :sealed, :received_at, :event_id,
        :person, :proven, :duplicates
    FROM draft
), event AS (
    INSERT INTO intake.outbox (topic, key, header_names, header_values, value)
    SELECT :topic, :key, :header_names, :header_values, :value FROM draft
)
SELECT case_id FROM draft;

-- name: expired_drafts
SELECT case_id FROM intake.drafts WHERE expires_at <= :now LIMIT :most;

-- name: forget_draft$
-- What never became a case goes with its key, so that nobody can read any more what was typed.
WITH draft AS (
    DELETE FROM intake.drafts WHERE case_id = :case_id AND expires_at <= :now
    RETURNING case_id, state
), attachment AS (
    DELETE FROM intake.attachments a USING draft d
    WHERE a.case_id = d.case_id AND d.state <> 'received'
)
SELECT count(vault.shred_key(case_id)) FROM draft WHERE state <> 'received';

-- name: find_upload^
SELECT u.digest, u.key_id, u.media_type, u.pages, u.sealed
FROM intake.uploads u JOIN intake.attachments a USING (digest)
WHERE a.case_id = :case_id AND u.digest = :digest;

-- name: known_upload$
-- Held until the transaction ends, so that it is not forgotten meanwhile.
SELECT key_id FROM intake.uploads WHERE digest = :digest FOR KEY SHARE;

-- name: put_upload$
WITH upload AS (
    INSERT INTO intake.uploads (digest, key_id, media_type, pages, sealed)
    VALUES (:digest, :key_id, :media_type, :pages, :sealed)
)
SELECT vault.create_key(:key_id, :wrapped);

-- name: attachments_of
SELECT digest FROM intake.attachments WHERE case_id = :case_id;

-- name: attach!
INSERT INTO intake.attachments (case_id, digest) VALUES (:case_id, :digest) ON CONFLICT DO NOTHING;

-- name: detach!
DELETE FROM intake.attachments WHERE case_id = :case_id AND digest = :digest;

-- name: unused_uploads
-- Those that no draft and no case has; not the ones of this hour, which somebody may be adding.
SELECT digest, key_id FROM intake.uploads u
WHERE created_at < :before
  AND NOT EXISTS (SELECT FROM intake.attachments a WHERE a.digest = u.digest)
LIMIT :most;

-- name: forget_upload$
WITH upload AS (
    DELETE FROM intake.uploads u
    WHERE u.digest = :digest
      AND NOT EXISTS (SELECT FROM intake.attachments a WHERE a.digest = u.digest)
    RETURNING key_id
)
SELECT count(vault.shred_key(key_id)) FROM upload;

-- name: sealed_of$
SELECT sealed FROM intake.applications WHERE case_id = :case_id;
