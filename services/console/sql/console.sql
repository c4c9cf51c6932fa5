-- name: put_release$
INSERT INTO console.releases
    (ruleset, version, state, effective_from, note, rollback_of, proposed_by, tables, names)
VALUES (:ruleset, :version, :state, :effective_from, :note, :rollback_of, :proposed_by, :tables,
    :names)
RETURNING number;

-- name: approve_release!
UPDATE console.releases SET state = 'live', effective_from = :effective_from,
    approved_by = :approved_by, approved_at = clock_timestamp(), names = :names
WHERE number = :number AND state IN ('proposed', 'shadow');

-- name: withdraw_release!
UPDATE console.releases SET state = 'withdrawn',
    withdrawn_by = :withdrawn_by, withdrawn_at = clock_timestamp()
WHERE number = :number AND state IN ('proposed', 'shadow');

-- name: names_of_release$
SELECT names FROM console.releases WHERE number = :number;

-- name: tables_of_release$
SELECT tables FROM console.releases WHERE number = :number;

-- name: releases
SELECT number, ruleset, version, state, effective_from, note, rollback_of, proposed_by,
    proposed_at, approved_by, approved_at, withdrawn_by, withdrawn_at
FROM console.releases ORDER BY number DESC;

-- name: put_shadowed!
INSERT INTO console.shadow_moves
    (release, service, live_agency, agency, differs, cases, example)
VALUES (:release, :service, :live_agency, :agency, :differs, 1, :example)
ON CONFLICT (release, service, live_agency, agency, differs)
DO UPDATE SET cases = console.shadow_moves.cases + 1;

-- name: shadow_moves
SELECT service, live_agency, agency, differs, cases, example
FROM console.shadow_moves WHERE release = :release
ORDER BY cases DESC, service, live_agency, agency, differs;

-- name: put_sample!
INSERT INTO console.lag_samples (sampled_at, group_id, topic, partition, committed, end_offset,
    records, seconds, members, beginning)
VALUES (:sampled_at, :group_id, :topic, :partition, :committed, :end_offset,
    :records, :seconds, :members, :beginning);

-- name: delete_old_samples!
DELETE FROM console.lag_samples WHERE sampled_at < now() - interval '1 day';

-- name: samples
SELECT sampled_at, group_id, topic, partition, committed, end_offset, records, seconds, members,
    beginning
FROM console.lag_samples
WHERE sampled_at >= (SELECT max(sampled_at) FROM console.lag_samples)
    - make_interval(secs => :window_s)
ORDER BY sampled_at;

-- name: count_event!
INSERT INTO console.event_counts (minute, type, count)
VALUES (date_trunc('minute', CAST(:time AS timestamptz)), :type, 1)
ON CONFLICT (minute, type) DO UPDATE SET count = console.event_counts.count + 1;

-- name: counts_last_hour
SELECT type, sum(count)::bigint AS count FROM console.event_counts
WHERE minute > now() - interval '1 hour' GROUP BY type ORDER BY type;

-- name: open_cases
SELECT agency, count(*) AS cases, min(due_on) AS first_due,
    count(*) FILTER (WHERE due_on < CURRENT_DATE) AS overdue
FROM backoffice.cases WHERE status NOT IN ('CLOSED', 'ARCHIVED', 'WITHDRAWN')
GROUP BY agency ORDER BY overdue DESC, cases DESC LIMIT 30;

-- name: put_relay_sample!
INSERT INTO console.relay_samples (sampled_at, outbox, position, rows, seconds, refused, fits)
VALUES (:sampled_at, :outbox, :position, :rows, :seconds, :refused, :fits);

-- name: delete_old_relay_samples!
DELETE FROM console.relay_samples WHERE sampled_at < now() - interval '1 day';

-- name: relay_samples
SELECT sampled_at, outbox, position, rows, seconds, refused, fits FROM console.relay_samples
WHERE sampled_at >= (SELECT max(sampled_at) FROM console.relay_samples)
    - make_interval(secs => :window_s)
ORDER BY sampled_at;

-- name: delete_dead_letters!
DELETE FROM console.dead_letters;

-- name: put_dead_letters!
INSERT INTO console.dead_letters (topic, group_id, code, letters, since)
VALUES (:topic, :group_id, :code, :letters, :since);

-- name: dead_letters
SELECT topic, group_id AS "group", code, letters, since FROM console.dead_letters
ORDER BY letters DESC, topic, group_id, code;

-- name: settled_letters
SELECT target FROM console.dead_orders WHERE kind = 'letter' AND settled;

-- name: oldest_transaction
SELECT pid, owner, database, application, state, since, blocked_by,
    extract(epoch FROM clock_timestamp() - since)::float AS seconds
FROM console.oldest_transaction();
