"""Brings a Kafka cluster to what the city needs: users, what they may do, and topics.

Doing it again changes nothing. A topic that has other partitions than wanted is left alone and
named: its keys would move to other partitions, and with them the order of cases.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from catalogue import Catalogue
from deploy.access import Grant, grants
from shared.contract.topics import TopicSpec, all_topics
from shared.runtime import kafka
from shared.runtime.settings import Settings


class ApplyError(Exception):
    """The cluster refused something; the message says what."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How many partitions the wide topics have, and how many copies of each there are."""

    partitions: int = 4
    replication: int = 1

    def partitions_of(self, spec: TopicSpec) -> int:
        return {"wide": self.partitions, "agency": max(1, self.partitions // 4), "one": 1}[
            spec.width
        ]

    def settings_of(self, spec: TopicSpec) -> dict[str, str]:
        """Nothing of a case's history expires: decisions are replayed from it."""
        found = {"min.insync.replicas": str(max(1, self.replication - 1))}
        if spec.name.endswith(".dead"):
            # A letter is a whole record with the reasons added: the largest must fit.
            found["max.message.bytes"] = str(kafka.LARGEST_BYTES)
        if spec.compacted:
            return found | {"cleanup.policy": "compact"}
        return found | {"cleanup.policy": "delete", "retention.ms": "-1"}


@dataclass(slots=True)
class Applied:
    created: list[str] = field(default_factory=list)
    other_shape: list[str] = field(default_factory=list)


def apply(
    settings: Settings, catalogue: Catalogue, passwords: Mapping[str, str], shape: Shape
) -> Applied:
    """Make users (with `passwords`, by name), grants and topics. Raises ApplyError, KafkaError."""
    admin = KafkaAdminClient(**_connection(settings))
    try:
        _users(admin, passwords)
        _grants(admin, [grant for grant in grants(catalogue) if grant.user in passwords])
        return _topics(admin, catalogue, shape)
    finally:
        admin.close()


def _connection(settings: Settings) -> dict[str, Any]:
    found = kafka.connection(settings)
    if "ssl_context" in found:
        found["ssl_cafile"] = settings.kafka_ca_file
        del found["ssl_context"]
    return found


def _users(admin: Any, passwords: Mapping[str, str]) -> None:
    answers = admin.alter_user_scram_credentials(
        [
            UserScramCredentialUpsertion(user, ScramMechanism.SCRAM_SHA_512, password)
            for user, password in passwords.items()
        ]
    )
    refused = {user: why for user, why in answers.items() if why}
    if refused:
        raise ApplyError(f"users: {refused}")


def _grants(admin: Any, wanted: list[Grant]) -> None:
    answers = admin.create_acls([_acl(grant) for grant in wanted])
    if answers["failed"]:
        raise ApplyError(f"grants: {answers['failed']}")


def _acl(grant: Grant) -> Any:
    prefixed = grant.name.endswith("*") and grant.name != "*"
    pattern = ACLResourcePatternType.PREFIXED if prefixed else ACLResourcePatternType.LITERAL
    name = grant.name.removesuffix("*") if prefixed else grant.name
    return ACL(
        principal=f"User:{grant.user}",
        host="*",
        operation=ACLOperation[grant.operation],
        permission_type=ACLPermissionType.ALLOW,
        resource_pattern=ResourcePattern(ResourceType[grant.kind], name, pattern),
    )


def _topics(admin: Any, catalogue: Catalogue, shape: Shape) -> Applied:
    own = {code for code, agency in catalogue.agencies.items() if agency.own_system}
    wanted = {spec.name: spec for spec in all_topics(list(catalogue.agencies), own)}
    existing = set(admin.list_topics())
    found = Applied()
    missing = {
        name: {
            "num_partitions": shape.partitions_of(spec),
            "replication_factor": shape.replication,
            "configs": shape.settings_of(spec),
        }
        for name, spec in wanted.items()
        if name not in existing
    }
    if missing:
        admin.create_topics(missing, wait_for_metadata=True)
        found.created = sorted(missing)
    known = sorted(existing & wanted.keys())
    for topic in admin.describe_topics(known) if known else ():
        if len(topic["partitions"]) != shape.partitions_of(wanted[topic["name"]]):
            found.other_shape.append(topic["name"])
    return found
