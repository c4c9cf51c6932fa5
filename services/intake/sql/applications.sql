-- name: next_sequences
-- `count` numbers at once, so that a submission does not ask for each.
SELECT nextval('intake.case_sequence') AS n FROM generate_series(1, :count);

-- name: put_application$
-- The application, its key, its idempotency key and its event: one statement, one transaction.
WITH application AS (
    INSERT INTO intake.applications
        (case_id, number, service, facts, sealed, received_at, event_id, person, proven,
        duplicates)
    VALUES (:case_id, :number, :service, :facts, :sealed, :received_at, :event_id,
        :person, :proven, :duplicates)
), idempotency AS (
    INSERT INTO intake.idempotency (key_sha256, body_sha256, case_id)
    SELECT CAST(:key_sha256 AS bytea), CAST(:body_sha256 AS bytea), :case_id
    WHERE CAST(:key_sha256 AS bytea) IS NOT NULL
), event AS (
    INSERT INTO intake.outbox (topic, key, header_names, header_values, value)
    VALUES (:topic, :key, :header_names, :header_values, :value)
)
SELECT vault.create_key(:case_id, :wrapped);

-- name: find_idempotency^
SELECT i.body_sha256, a.case_id, a.number, a.received_at
FROM intake.idempotency i JOIN intake.applications a USING (case_id)
WHERE i.key_sha256 = :key_sha256;

-- name: find_application^
SELECT case_id, number, service, received_at FROM intake.applications WHERE number = :number;

-- name: steps_of
SELECT happened_at, kind, agency, status, detail FROM intake.steps
WHERE case_id = :case_id ORDER BY seq;

-- name: put_step!
INSERT INTO intake.steps (event_id, case_id, happened_at, kind, agency, status, detail)
VALUES (:event_id, :case_id, :happened_at, :kind, :agency, :status, :detail)
ON CONFLICT DO NOTHING;

-- name: duplicates
-- Applications of the same person for the same service; `known` where both were confirmed from
-- the same address. Those that were confirmed stand first: anybody can send others.
SELECT a.number, a.received_at, coalesce(a.proven = CAST(:contact AS bytea), false) AS known
FROM intake.applications a
WHERE a.person = :person AND a.received_at > :since AND a.case_id <> :case_id
  AND NOT EXISTS (
      SELECT FROM intake.steps s WHERE s.case_id = a.case_id AND s.status = 'WITHDRAWN'
  )
ORDER BY a.proven IS NULL, a.received_at DESC LIMIT 5;

-- name: put_request$
-- What a citizen adds to a case or asks of it, once, and the step that shows it.
WITH step AS (
    INSERT INTO intake.steps (event_id, case_id, happened_at, kind, detail)
    VALUES (:event_id, :case_id, :happened_at, :kind, :detail)
    ON CONFLICT DO NOTHING
    RETURNING event_id
), event AS (
    INSERT INTO intake.outbox (topic, key, header_names, header_values, value)
    SELECT :topic, :key, :header_names, :header_values, :value FROM step
)
SELECT event_id FROM step;

-- name: is_proven$
SELECT proven IS NOT NULL FROM intake.applications WHERE case_id = :case_id;

-- name: guesses$
-- No further than it matters.
SELECT count(*) FROM (
    SELECT FROM intake.guesses WHERE subject = :subject AND at > :since LIMIT :most
) counted;

-- name: put_guess!
INSERT INTO intake.guesses (subject) VALUES (:subject);

-- name: forget_guesses!
DELETE FROM intake.guesses WHERE at <= :before;
