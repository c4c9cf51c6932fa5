-- As before, but for the links that citizens ask for: they are no step of a case, and neither hide
-- that its last one was not heard nor count as one.
CREATE OR REPLACE VIEW notifier.silence AS
SELECT n.case_id, n.number, n.cause, max(n.template) AS template, min(n.happened_at) AS since,
    bool_or(n.state = 'unknown') AS perhaps,
    string_agg(n.channel || ': ' || n.state
        || CASE n.reason WHEN '' THEN '' ELSE ' (' || n.reason || ')' END, '; '
        ORDER BY n.channel DESC) AS why
FROM (
    SELECT DISTINCT case_id FROM notifier.notices
    WHERE changed_at > now() - interval '30 days' AND template <> 'preferences'
        AND state NOT IN ('sent', 'delivered', 'cancelled')
) c
CROSS JOIN LATERAL (
    SELECT cause FROM notifier.notices l
    WHERE l.case_id = c.case_id AND l.state <> 'cancelled' AND l.template <> 'preferences'
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
