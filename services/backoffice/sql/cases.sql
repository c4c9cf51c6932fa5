-- name: lock_case^
SELECT case_id, number, service, agency, responsible, status, step, chain, tried, facts, sealed,
    received_at, assigned_at, due_on, joint_review, duplicates, age(xmin) < 0 AS younger
FROM backoffice.cases WHERE case_id = :case_id FOR UPDATE;

-- name: find_case^
SELECT case_id, number, service, agency, responsible, status, step, chain, tried, facts, sealed,
    received_at, assigned_at, due_on, joint_review, duplicates
FROM backoffice.cases WHERE number = :number;

-- name: put_case!
INSERT INTO backoffice.cases (case_id, number, service, agency, responsible, status, step, chain,
    tried, facts, sealed, received_at, assigned_at, due_on, joint_review, duplicates,
    changed_at)
VALUES (:case_id, :number, :service, :agency, :responsible, :status, :step, :chain,
    :tried, :facts, :sealed, :received_at, :assigned_at, :due_on, :joint_review, :duplicates,
    :changed_at)
ON CONFLICT (case_id) DO UPDATE SET agency = excluded.agency, responsible = excluded.responsible,
    status = excluded.status, step = excluded.step, chain = excluded.chain, tried = excluded.tried,
    sealed = excluded.sealed, assigned_at = excluded.assigned_at, due_on = excluded.due_on,
    joint_review = excluded.joint_review, changed_at = excluded.changed_at;

-- name: put_assignment!
INSERT INTO backoffice.assignments (assignment_id, case_id, agency, step, decision, assigned_at)
VALUES (:assignment_id, :case_id, :agency, :step, :decision, :assigned_at);

-- name: put_history!
INSERT INTO backoffice.history (case_id, agency, from_status, to_status, done_by, reason, done_at)
VALUES (:case_id, :agency, :from_status, :to_status, :done_by, :reason, :done_at);

-- name: inbox_of
SELECT case_id, number, service, agency, responsible, status, step, chain, tried, facts, sealed,
    received_at, assigned_at, due_on, joint_review, duplicates
FROM backoffice.cases
WHERE agency = :agency AND (CAST(:status AS text) IS NULL OR status = :status)
    AND (:with_closed OR status NOT IN ('CLOSED', 'ARCHIVED', 'REASSIGN_REQUESTED'))
ORDER BY due_on, assigned_at LIMIT :limit;

-- name: history_of
SELECT agency, from_status, to_status, done_by, reason, done_at
FROM backoffice.history WHERE case_id = :case_id ORDER BY seq;

-- name: lock_unknown$
-- Until the transaction ends nobody else can find out that this case is unknown.
SELECT pg_advisory_xact_lock(hashtextextended(CAST(CAST(:case_id AS uuid) AS text), 7730022));

-- name: put_supplement!
INSERT INTO backoffice.supplements (event_id, case_id, sealed, at)
VALUES (:event_id, :case_id, :sealed, :at);

-- name: supplements_of
SELECT sealed, at FROM backoffice.supplements WHERE case_id = :case_id ORDER BY at;

-- name: put_early!
INSERT INTO backoffice.early (event_id, case_id, type, event)
VALUES (:event_id, :case_id, :type, :event);

-- name: take_early
WITH taken AS (
    DELETE FROM backoffice.early WHERE case_id = :case_id RETURNING seq, type, event
)
SELECT type, event FROM taken ORDER BY seq;
