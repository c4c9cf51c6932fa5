"""Every metric of casebus, with its unit and what it means. Served at /metrics."""

from prometheus_client import Counter, Gauge, Histogram

APPLICATIONS = Counter(
    "casebus_applications", "Applications answered by intake, by outcome", ["outcome"]
)
SUBMIT_SECONDS = Histogram(
    "casebus_submit_seconds",
    "From reading the request to the commit of the application",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
SEARCHES = Counter(
    "casebus_searches", "Questions to the portal's search, by outcome (found, nothing)", ["outcome"]
)
RELAYED = Counter("casebus_relay_rows", "Outbox rows sent to Kafka", ["outbox"])
RELAY_REFUSED = Counter("casebus_relay_refused_rows", "Rows that Kafka refuses", ["outbox"])
RELAY_LAG_ROWS = Gauge("casebus_relay_lag_rows", "Outbox rows not yet in Kafka", ["outbox"])
RELAY_LAG_SECONDS = Gauge(
    "casebus_relay_lag_seconds", "Age of the oldest outbox row not yet in Kafka", ["outbox"]
)
TRANSACTIONS = Counter(
    "casebus_transactions", "Kafka transactions, by end (committed, aborted)", ["group", "end"]
)
CONSUMED = Counter("casebus_consumed_records", "Records handled", ["group", "topic"])
REPEATED = Counter("casebus_repeated_records", "Records seen before, by the inbox", ["group"])
DEAD = Counter("casebus_dead_records", "Records sent to a dead-letter topic", ["group", "code"])
RETRIES = Counter("casebus_retries", "Tries again because something was down", ["group"])
FENCES = Counter(
    "casebus_fenced_producers", "Producers that another of the same name has replaced", ["group"]
)
POSITION_LOST = Gauge(
    "casebus_position_lost",
    "1 while the position of an outbox or a partition does not fit: somebody has to mend it",
    ["place"],
)
DECISIONS = Counter("casebus_decisions", "Routing decisions, by the event that asked", ["cause"])
FACTS_REFUSED = Counter(
    "casebus_facts_refused", "Decisions that lacked a fact of the right type or a known value"
)
SHADOW_DECISIONS = Counter(
    "casebus_shadow_decisions",
    "Decisions by a release in shadow, beside the live one (same, different, failed; untold: "
    "decided, and given up on the way)",
    ["release", "outcome"],
)
RELEASES = Counter(
    "casebus_releases", "Releases of rules that the router read, by state, or refused", ["state"]
)
NOTICES = Counter("casebus_notices", "Notices by channel and new state", ["channel", "state"])
ATTEMPTS = Counter(
    "casebus_notice_attempts",
    "Times that a provider was asked to carry a message (accepted, refused, rejected, unknown)",
    ["provider", "outcome"],
)
BREAKER_OPEN = Gauge(
    "casebus_provider_breaker_open",
    "1 while a provider gets no messages after five failures in a row",
    ["provider"],
)
CONSENTS = Counter(
    "casebus_consents", "Changes of what is wanted of an address, by who said so", ["channel", "by"]
)
# Names that existing dashboards know.
GROUP_LAG = Gauge(
    "kafka_consumergroup_lag", "Offsets not yet handled", ["consumergroup", "topic", "partition"]
)
GROUP_LAG_SECONDS = Gauge(
    "kafka_consumergroup_group_lag_seconds",
    "Age of the oldest record not yet handled",
    ["consumergroup", "topic", "partition"],
)
GROUP_LAG_SUM = Gauge(
    "kafka_consumergroup_lag_sum", "Offsets not yet handled, of the whole group", ["consumergroup"]
)
PARTITION_END = Gauge(
    "kafka_topic_partition_current_offset", "The end of a partition", ["topic", "partition"]
)
GROUP_STATE = Gauge(
    "casebus_consumergroup_state",
    "1 for the state in which a consumer group is, 0 for the others",
    ["consumergroup", "state"],
)
PARKED = Gauge("casebus_parked_events", "Events that are parked now", ["service", "code"])
REFUSED = Gauge("casebus_refused_rows", "Outbox rows that Kafka refused and wait", ["outbox"])
LETTERS = Gauge(
    "casebus_dead_letters",
    "Dead letters that wait for somebody and are parked nowhere",
    ["topic", "group", "code"],
)
