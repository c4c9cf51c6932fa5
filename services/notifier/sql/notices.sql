-- name: put_recipient!
INSERT INTO notifier.recipients (case_id, sealed) VALUES (:case_id, :sealed)
ON CONFLICT (case_id) DO NOTHING;

-- name: put_notice!
INSERT INTO notifier.notices
    (notice_id, cause, case_id, number, channel, template, context, expires_at)
VALUES (:notice_id, :cause, :case_id, :number, :channel, :template, :context, :expires_at)
ON CONFLICT (notice_id) DO NOTHING;

-- name: claim
-- Due notices, leased to one dispatcher; what happened first expires first and goes first. A
-- case's later notice waits until the earlier one of its channel has been tried.
WITH due AS (
    SELECT n.notice_id FROM notifier.notices n JOIN notifier.recipients r USING (case_id)
    WHERE n.state IN ('created', 'temporary_failure') AND n.next_try_at <= now()
        AND NOT EXISTS (
            SELECT FROM notifier.notices e
            WHERE e.case_id = n.case_id AND e.channel = n.channel
                AND e.state IN ('created', 'sending')
                AND (e.expires_at, e.seq) < (n.expires_at, n.seq))
    ORDER BY n.expires_at, n.seq LIMIT :limit FOR UPDATE OF n SKIP LOCKED
)
UPDATE notifier.notices n
SET state = 'sending', tries = n.tries + 1, leased_until = now() + interval '60 seconds',
    changed_at = now()
FROM due, notifier.recipients r
WHERE n.notice_id = due.notice_id AND r.case_id = n.case_id
RETURNING n.notice_id, n.cause, n.case_id, n.number, n.channel, n.template, n.context,
    n.tries, n.expires_at, r.sealed;

-- name: lost_leases
-- A dispatcher died while sending: whether the message went out cannot be known from here.
UPDATE notifier.notices
SET state = 'unknown', reason = 'dispatcher died while sending', leased_until = NULL,
    changed_at = now()
WHERE state = 'sending' AND leased_until < now()
RETURNING notice_id, cause, case_id, number, channel, template;

-- name: set_state^
UPDATE notifier.notices
SET state = :state, reason = :reason, provider = coalesce(:provider, provider),
    provider_message_id = coalesce(:provider_message_id, provider_message_id),
    next_try_at = coalesce(:next_try_at, next_try_at), leased_until = NULL, changed_at = now()
WHERE notice_id = :notice_id
RETURNING notice_id, cause, case_id, number, channel, template, provider;

-- name: put_receipt<!
INSERT INTO notifier.receipts (provider, provider_message_id, state, at)
VALUES (:provider, :provider_message_id, :state, :at)
ON CONFLICT DO NOTHING RETURNING true AS first;

-- name: apply_receipts
-- Notices that a receipt speaks of, moved forward only: delivered is the end. Of several
-- receipts for one message, the one that says delivered is believed.
UPDATE notifier.notices n
SET state = CASE r.state WHEN 'delivered' THEN 'delivered' ELSE 'permanent_failure' END,
    reason = CASE r.state WHEN 'delivered' THEN '' ELSE r.state END, changed_at = now()
FROM (
    SELECT DISTINCT ON (provider, provider_message_id) provider, provider_message_id, state
    FROM notifier.receipts
    WHERE provider = :provider AND provider_message_id = :provider_message_id
    ORDER BY provider, provider_message_id, state <> 'delivered', at
) r
WHERE r.provider = n.provider AND r.provider_message_id = n.provider_message_id
    AND n.state IN ('sending', 'sent', 'unknown')
RETURNING n.notice_id, n.cause, n.case_id, n.number, n.channel, n.template, n.state, n.reason,
    n.provider;
