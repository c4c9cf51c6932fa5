-- name: put_recipient!
INSERT INTO notifier.recipients (case_id, number, sealed) VALUES (:case_id, :number, :sealed)
ON CONFLICT (case_id) DO UPDATE SET sealed = excluded.sealed;

-- name: close_case!
-- From here the time runs after which the address is forgotten.
UPDATE notifier.recipients SET closed_at = :at WHERE case_id = :case_id AND closed_at IS NULL;

-- name: put_notice!
INSERT INTO notifier.notices (notice_id, cause, case_id, number, channel, template, context,
    happened_at, urgent, next_try_at, expires_at)
VALUES (:notice_id, :cause, :case_id, :number, :channel, :template, :context,
    :happened_at, :urgent, greatest(now(), :next_try_at), :expires_at)
ON CONFLICT (notice_id) DO NOTHING;

-- name: claim
-- Due notices, leased to one dispatcher. A case's later notice waits until the earlier one of its
-- channel has been tried. `superseded`: a later one that says it too is on its way or was sent.
WITH due AS (
    SELECT n.notice_id FROM notifier.notices n JOIN notifier.recipients r USING (case_id)
    WHERE n.channel = :channel AND n.state IN ('created', 'deferred', 'temporary_failure')
        AND n.next_try_at <= now()
        AND NOT EXISTS (
            SELECT FROM notifier.notices e
            WHERE e.case_id = n.case_id AND e.channel = n.channel
                AND (e.state IN ('created', 'sending')
                    OR e.state = 'deferred' AND e.next_try_at <= now())
                AND (e.happened_at, e.seq) < (n.happened_at, n.seq))
    ORDER BY n.next_try_at, n.seq LIMIT :limit FOR UPDATE OF n SKIP LOCKED
)
UPDATE notifier.notices n
SET state = 'sending', tries = n.tries + 1, leased_until = now() + interval '60 seconds',
    changed_at = now()
FROM due, notifier.recipients r
WHERE n.notice_id = due.notice_id AND r.case_id = n.case_id
RETURNING n.notice_id, n.cause, n.case_id, n.number, n.channel, n.template, n.context,
    n.happened_at, n.urgent, n.tries, n.expires_at, r.sealed, r.seq,
    EXISTS (
        SELECT FROM notifier.notices l
        JOIN unnest(:older::text[], :newer::text[]) AS s(older, newer)
            ON s.older = n.template AND s.newer = l.template
        WHERE l.case_id = n.case_id AND l.channel = n.channel AND l.happened_at > n.happened_at
            AND l.state IN ('created', 'deferred', 'sending', 'temporary_failure', 'sent',
                'delivered')) AS superseded;

-- name: lost_leases
-- A dispatcher died while sending: whether the message went out cannot be known from here.
UPDATE notifier.notices
SET state = 'unknown', reason = 'dispatcher died while sending', leased_until = NULL,
    changed_at = now()
WHERE state = 'sending' AND leased_until < now()
RETURNING notice_id, cause, case_id, number, channel, template, state, reason, provider;

-- name: record
-- What became of notices that were claimed. A receipt may have been faster, and counts for more.
UPDATE notifier.notices n
SET state = g.state, reason = g.reason, provider = coalesce(g.provider, n.provider),
    address = coalesce(g.address, n.address), segments = greatest(g.segments, n.segments),
    next_try_at = coalesce(g.next_try_at, n.next_try_at), leased_until = NULL,
    tries = n.tries - CASE WHEN g.asked THEN 0 ELSE 1 END, changed_at = now()
FROM unnest(:notice_ids::uuid[], :states::text[], :reasons::text[], :providers::text[],
    :addresses::bytea[], :segments::int[], :next_tries::timestamptz[], :asked::bool[])
    AS g(notice_id, state, reason, provider, address, segments, next_try_at, asked)
WHERE n.notice_id = g.notice_id AND n.state IN ('sending', 'unknown')
RETURNING n.notice_id, n.cause, n.case_id, n.number, n.channel, n.template, n.state, n.reason,
    n.provider;

-- name: put_attempts!
INSERT INTO notifier.attempts
    (notice_id, provider, began_at, ended_at, outcome, code, segments)
SELECT * FROM unnest(:notice_ids::uuid[], :providers::text[], :began::timestamptz[],
    :ended::timestamptz[], :outcomes::text[], :codes::text[], :segments::int[]);

-- name: put_parts!
INSERT INTO notifier.parts (provider, message_id, notice_id, part, of, accepted_at)
SELECT * FROM unnest(:providers::text[], :message_ids::text[], :notice_ids::uuid[],
    :parts::int[], :ofs::int[], :accepted::timestamptz[])
ON CONFLICT DO NOTHING;

-- name: last_message
SELECT DISTINCT ON (notice_id) notice_id, provider, message_id FROM notifier.parts
WHERE notice_id = ANY(:notice_ids::uuid[]) ORDER BY notice_id, accepted_at DESC, part DESC;

-- name: put_receipts!
INSERT INTO notifier.receipts (provider, message_id, state, at, code)
SELECT * FROM unnest(:providers::text[], :message_ids::text[], :states::text[],
    :ats::timestamptz[], :codes::text[])
ON CONFLICT DO NOTHING;

-- name: apply_receipts
-- Notices whose parts receipts speak of, moved forward only: delivered, when every part of one try
-- is, is the end; failed, when one part is. Of several receipts for one part, the one that says
-- delivered is believed.
WITH touched AS (
    SELECT DISTINCT p.notice_id FROM notifier.parts p
    JOIN unnest(:providers::text[], :message_ids::text[]) AS g(provider, message_id)
        USING (provider, message_id)
), parts AS (
    SELECT p.notice_id, p.accepted_at, p.of,
        coalesce(bool_or(r.state = 'delivered'), false) AS delivered,
        min(r.state) FILTER (WHERE r.state NOT IN ('delivered', 'unknown')) AS failure
    FROM touched t JOIN notifier.parts p USING (notice_id)
    LEFT JOIN notifier.receipts r USING (provider, message_id)
    GROUP BY p.notice_id, p.accepted_at, p.of, p.provider, p.message_id
), tries AS (
    SELECT notice_id, accepted_at, bool_and(delivered) AND count(*) = max(of) AS delivered,
        min(failure) FILTER (WHERE NOT delivered) AS failure
    FROM parts GROUP BY notice_id, accepted_at
), verdicts AS (
    SELECT notice_id, bool_or(delivered) AS delivered,
        (array_agg(failure ORDER BY accepted_at DESC))[1] AS failure
    FROM tries GROUP BY notice_id
)
UPDATE notifier.notices n
SET state = CASE WHEN v.delivered THEN 'delivered' ELSE 'permanent_failure' END,
    reason = CASE WHEN v.delivered THEN '' ELSE v.failure END, leased_until = NULL,
    changed_at = now()
FROM verdicts v
WHERE v.notice_id = n.notice_id AND (v.delivered OR v.failure IS NOT NULL)
    AND (n.state IN ('sent', 'unknown') OR v.delivered AND n.state = 'permanent_failure')
RETURNING n.notice_id, n.cause, n.case_id, n.number, n.channel, n.template, n.state, n.reason,
    n.provider;

-- name: bounced
-- Addresses of which a provider says that they will never work.
INSERT INTO notifier.consents (address, channel, wants, given_by, reason)
SELECT DISTINCT ON (n.address) n.address, n.channel, false, 'provider', g.code
FROM unnest(:providers::text[], :message_ids::text[], :codes::text[])
    AS g(provider, message_id, code)
JOIN notifier.parts p USING (provider, message_id)
JOIN notifier.notices n USING (notice_id)
WHERE n.address IS NOT NULL AND NOT EXISTS (
    SELECT FROM (SELECT wants, given_by FROM notifier.consents c WHERE c.address = n.address
        ORDER BY seq DESC LIMIT 1) AS last
    WHERE NOT last.wants)
RETURNING channel, given_by;

-- name: choices
-- What counts of each address.
SELECT DISTINCT ON (address) address, wants, language, quiet, given_by
FROM notifier.consents WHERE address = ANY(:addresses::bytea[]) ORDER BY address, seq DESC;

-- name: put_choice!
INSERT INTO notifier.consents (address, channel, wants, language, quiet, given_by, reason)
VALUES (:address, :channel, :wants, :language, :quiet, :given_by, :reason);

-- name: recipient^
SELECT case_id, number, sealed FROM notifier.recipients WHERE seq = :seq;

-- name: recipient_of^
SELECT case_id, number, sealed FROM notifier.recipients WHERE number = :number;

-- name: refill^
-- Tokens of a provider, locked: none when it was never asked.
SELECT tokens, extract(epoch FROM clock_timestamp() - filled_at)::float8 AS since_s
FROM notifier.rates WHERE provider = :provider FOR UPDATE;

-- name: put_tokens!
INSERT INTO notifier.rates (provider, tokens) VALUES (:provider, :tokens)
ON CONFLICT (provider) DO UPDATE SET tokens = excluded.tokens, filled_at = clock_timestamp();

-- name: receipt_p95
SELECT provider, receipt_p95_s FROM notifier.provider_rates WHERE receipt_p95_s IS NOT NULL;

-- name: forget_addresses
-- The address and the texts of cases that ended long ago; that they were told stays.
WITH gone AS (
    DELETE FROM notifier.recipients WHERE case_id IN (
        SELECT case_id FROM notifier.recipients
        WHERE closed_at < now() - make_interval(days => :days) LIMIT 1000)
    RETURNING case_id
)
UPDATE notifier.notices n SET context = '{}', address = NULL FROM gone
WHERE n.case_id = gone.case_id RETURNING n.notice_id;

-- name: forget_receipts!
DELETE FROM notifier.receipts WHERE came_at < now() - make_interval(days => :days)
    AND NOT EXISTS (SELECT FROM notifier.parts p
        WHERE (p.provider, p.message_id) = (receipts.provider, receipts.message_id));

-- name: open_orders
SELECT id, action, target, ordered_by, reason FROM notifier.notice_orders
WHERE done_at IS NULL ORDER BY id;

-- name: take_order$
-- Whether the order is ours until this transaction ends, and still to be done.
SELECT pg_try_advisory_xact_lock(hashtext('notifier.notice_orders'), :id::int)
    AND (SELECT done_at IS NULL FROM notifier.notice_orders WHERE id = :id);

-- name: finish_order!
UPDATE notifier.notice_orders
SET done_at = clock_timestamp(), outcome = :outcome, settled = :settled WHERE id = :id;

-- name: send_again^
UPDATE notifier.notices
SET state = 'created', reason = :reason, tries = 0, next_try_at = now(),
    expires_at = greatest(expires_at, now() + interval '2 days'), changed_at = now()
WHERE notice_id = :notice_id AND state NOT IN ('created', 'deferred', 'sending')
RETURNING notice_id, cause, case_id, number, channel, template, state, reason, provider;

-- name: state_of$
SELECT state FROM notifier.notices WHERE notice_id = :notice_id;
