-- What a notice may go through on its way: held for a newer one, deferred, tried by several
-- providers, joined from the receipts of its parts; and what citizens want.

-- `seq` is the case's number in signed links; `closed_at` begins the time after which the address
-- is forgotten.
ALTER TABLE notifier.recipients
    ADD COLUMN seq bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    ADD COLUMN number text NOT NULL DEFAULT '',
    ADD COLUMN closed_at timestamptz;
UPDATE notifier.recipients r SET number = n.number FROM notifier.notices n
WHERE n.case_id = r.case_id;
CREATE INDEX ON notifier.recipients (closed_at) WHERE closed_at IS NOT NULL;

-- `address` is a keyed hash of where it went, never the address.
ALTER TABLE notifier.notices
    ADD COLUMN happened_at timestamptz,
    ADD COLUMN urgent boolean NOT NULL DEFAULT false,
    ADD COLUMN address bytea,
    ADD COLUMN segments int NOT NULL DEFAULT 0;
UPDATE notifier.notices SET happened_at = expires_at - interval '2 days';
ALTER TABLE notifier.notices ALTER COLUMN happened_at SET NOT NULL;
DROP INDEX notifier.notices_next_try_at_idx;
CREATE INDEX ON notifier.notices (channel, next_try_at, seq)
    WHERE state IN ('created', 'deferred', 'temporary_failure');
CREATE INDEX ON notifier.notices (changed_at);

-- Every time that a provider was asked. `outcome`: accepted, refused (for now), rejected (for
-- good), unknown.
CREATE TABLE notifier.attempts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    notice_id uuid NOT NULL,
    provider text NOT NULL,
    began_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('accepted', 'refused', 'rejected', 'unknown')),
    code text NOT NULL DEFAULT '',
    segments int NOT NULL DEFAULT 0
);
CREATE INDEX ON notifier.attempts (notice_id);
CREATE INDEX ON notifier.attempts (ended_at);

-- The provider's id of each part of what it accepted.
CREATE TABLE notifier.parts (
    provider text NOT NULL,
    message_id text NOT NULL,
    notice_id uuid NOT NULL,
    part int NOT NULL,
    of int NOT NULL,
    accepted_at timestamptz NOT NULL,
    PRIMARY KEY (provider, message_id)
);
CREATE INDEX ON notifier.parts (notice_id);
INSERT INTO notifier.parts (provider, message_id, notice_id, part, of, accepted_at)
SELECT provider, provider_message_id, notice_id, 1, 1, changed_at FROM notifier.notices
WHERE provider_message_id IS NOT NULL AND provider IS NOT NULL ON CONFLICT DO NOTHING;
ALTER TABLE notifier.notices DROP COLUMN provider_message_id;

ALTER TABLE notifier.receipts RENAME COLUMN provider_message_id TO message_id;
ALTER TABLE notifier.receipts ADD COLUMN code text NOT NULL DEFAULT '';
CREATE INDEX ON notifier.receipts (came_at);

-- What citizens want of an address, and what the providers say of it: the last row counts.
CREATE TABLE notifier.consents (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    address bytea NOT NULL,
    channel text NOT NULL CHECK (channel IN ('sms', 'mail')),
    wants boolean NOT NULL,
    language text CHECK (language IN ('zh-TW', 'en')),
    quiet text NOT NULL DEFAULT 'city' CHECK (quiet ~ '^(city|none|[0-9]{1,2}-[0-9]{1,2})$'),
    given_by text NOT NULL CHECK (btrim(given_by) <> ''),
    reason text NOT NULL DEFAULT '',
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON notifier.consents (address, seq DESC);
REVOKE UPDATE, DELETE ON notifier.consents FROM notifier;

-- How many messages each provider takes now, shared by all dispatchers.
CREATE TABLE notifier.rates (
    provider text PRIMARY KEY,
    tokens double precision NOT NULL,
    filled_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What operators ordered, by whom and why, and what came of it. `target`: of resend a notice, of
-- suppress and allow CASE NUMBER:CHANNEL.
CREATE TABLE notifier.notice_orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    action text NOT NULL CHECK (action IN ('resend', 'suppress', 'allow')),
    target text NOT NULL,
    ordered_by text NOT NULL CHECK (btrim(ordered_by) <> ''),
    reason text NOT NULL CHECK (btrim(reason) <> ''),
    ordered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_at timestamptz,
    settled boolean NOT NULL DEFAULT false,
    outcome text
);
CREATE INDEX ON notifier.notice_orders (id) WHERE done_at IS NULL;

-- Cases whose citizen has not heard of the last step: no provider has taken it, and it waits for no
-- time that is still to come. Those that may have heard are told apart; who wants no messages is
-- left out.
CREATE VIEW notifier.silence AS
SELECT n.case_id, n.number, n.cause, max(n.template) AS template, min(n.happened_at) AS since,
    bool_or(n.state = 'unknown') AS perhaps,
    string_agg(n.channel || ': ' || n.state
        || CASE n.reason WHEN '' THEN '' ELSE ' (' || n.reason || ')' END, '; '
        ORDER BY n.channel DESC) AS why
FROM (
    SELECT DISTINCT case_id FROM notifier.notices
    WHERE changed_at > now() - interval '30 days'
        AND state NOT IN ('sent', 'delivered', 'cancelled')
) c
CROSS JOIN LATERAL (
    SELECT cause FROM notifier.notices l WHERE l.case_id = c.case_id AND l.state <> 'cancelled'
    ORDER BY l.happened_at DESC, l.cause LIMIT 1
) last
JOIN notifier.notices n ON n.case_id = c.case_id AND n.cause = last.cause
WHERE n.state <> 'cancelled'
GROUP BY n.case_id, n.number, n.cause
HAVING NOT bool_or(n.state IN ('sent', 'delivered'))
    AND NOT bool_or(n.state IN ('created', 'deferred', 'sending', 'temporary_failure')
        AND n.next_try_at > now() - interval '5 minutes')
    AND NOT bool_and(n.state = 'suppressed' AND n.reason = 'stopped by citizen')
    AND min(n.happened_at) < now() - interval '5 minutes';

-- How each provider did in the last hour.
CREATE VIEW notifier.provider_rates AS
WITH asked AS (
    SELECT provider, count(*) AS asked,
        count(*) FILTER (WHERE outcome = 'accepted') AS accepted,
        count(*) FILTER (WHERE outcome = 'refused') AS refused,
        count(*) FILTER (WHERE outcome = 'rejected') AS rejected,
        count(*) FILTER (WHERE outcome = 'unknown') AS unknown,
        sum(segments) FILTER (WHERE outcome = 'accepted') AS segments,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - began_at))
            AS answer_p95_s
    FROM notifier.attempts WHERE ended_at > now() - interval '1 hour' GROUP BY provider
), told AS (
    SELECT r.provider, count(*) FILTER (WHERE r.state = 'delivered') AS delivered,
        count(*) FILTER (WHERE r.state <> 'delivered') AS failed,
        count(*) FILTER (WHERE p.message_id IS NULL) AS orphans,
        percentile_cont(0.95) WITHIN GROUP (
            ORDER BY greatest(0, extract(epoch FROM r.at - p.accepted_at))) AS receipt_p95_s
    FROM notifier.receipts r LEFT JOIN notifier.parts p USING (provider, message_id)
    WHERE r.came_at > now() - interval '1 hour' GROUP BY r.provider
)
SELECT provider, asked, accepted, refused, rejected, unknown, coalesce(segments, 0) AS segments,
    answer_p95_s, coalesce(delivered, 0) AS delivered, coalesce(failed, 0) AS failed,
    coalesce(orphans, 0) AS orphans, receipt_p95_s
FROM asked LEFT JOIN told USING (provider);

GRANT SELECT (happened_at, urgent, segments, next_try_at, expires_at) ON notifier.notices
    TO operator, console;
GRANT SELECT ON notifier.attempts, notifier.parts, notifier.receipts, notifier.silence,
    notifier.provider_rates TO operator, console;
GRANT SELECT (channel, wants, given_by, reason, at) ON notifier.consents TO operator, console;
GRANT SELECT ON notifier.notice_orders TO operator, console;
GRANT INSERT (action, target, ordered_by, reason) ON notifier.notice_orders TO operator;
