#!/usr/bin/env bash
# One Kafka broker, which is a controller too: writes its settings, formats its storage when it
# is new, and starts. docs/compose.md says what the variables are.
#
# Three listeners, each with a password of its own: clients by SCRAM, brokers among themselves by
# SCRAM, controllers by PLAIN (a quorum cannot keep its credentials in the log that it has yet to
# agree on). With KAFKA_SECURITY=SASL_SSL all three speak TLS.
set -euo pipefail
umask 077

node_id=${KAFKA_NODE_ID:?}
host=${KAFKA_HOST:?}
quorum=${KAFKA_QUORUM:?}
cluster_id=${KAFKA_CLUSTER_ID:?}
admin_password=${KAFKA_ADMIN_PASSWORD:?}
broker_password=${KAFKA_BROKER_PASSWORD:?}
security=${KAFKA_SECURITY:-SASL_PLAINTEXT}
replication=${KAFKA_REPLICATION:-3}
min_insync=${KAFKA_MIN_INSYNC:-2}
client_port=${KAFKA_CLIENT_PORT:-9092}
broker_port=${KAFKA_BROKER_PORT:-9093}
controller_port=${KAFKA_CONTROLLER_PORT:-9094}
bin=${KAFKA_BIN:-/opt/kafka/bin}
data=${KAFKA_DATA:-/var/lib/kafka/data}
scratch=${KAFKA_SCRATCH:-/tmp}
settings=$scratch/server.properties

fail() {
    echo "kafka.sh: $1" >&2
    exit 2
}

# A password stands inside quotes and brackets below; one that ends them early would weaken the
# listener without a word.
for password in "$admin_password" "$broker_password"; do
    [[ $password =~ ^[A-Za-z0-9_-]{16,}$ ]] ||
        fail "a password must be 16 or more of A-Z a-z 0-9 _ -"
done
[[ $security == SASL_PLAINTEXT || $security == SASL_SSL ]] ||
    fail "KAFKA_SECURITY must be SASL_PLAINTEXT or SASL_SSL"
[[ $cluster_id != -* ]] || fail "KAFKA_CLUSTER_ID must not begin with '-'"

module=org.apache.kafka.common.security
login="required username=\"broker\" password=\"$broker_password\""
cat >"$settings" <<EOF
process.roles=broker,controller
node.id=$node_id
log.dirs=$data/log
controller.quorum.voters=$quorum
controller.listener.names=CONTROLLER
listeners=CLIENT://:$client_port,BROKER://:$broker_port,CONTROLLER://:$controller_port
advertised.listeners=CLIENT://$host:$client_port,BROKER://$host:$broker_port
listener.security.protocol.map=CLIENT:$security,BROKER:$security,CONTROLLER:$security
inter.broker.listener.name=BROKER
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
sasl.mechanism.controller.protocol=PLAIN
listener.name.client.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.client.scram-sha-512.sasl.jaas.config=$module.scram.ScramLoginModule required;
listener.name.broker.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.broker.scram-sha-512.sasl.jaas.config=$module.scram.ScramLoginModule $login;
listener.name.controller.sasl.enabled.mechanisms=PLAIN
listener.name.controller.plain.sasl.jaas.config=$module.plain.PlainLoginModule $login user_broker="$broker_password";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:broker
auto.create.topics.enable=false
default.replication.factor=$replication
min.insync.replicas=$min_insync
unclean.leader.election.enable=false
offsets.topic.replication.factor=$replication
transaction.state.log.replication.factor=$replication
transaction.state.log.min.isr=$min_insync
share.coordinator.state.topic.replication.factor=$replication
share.coordinator.state.topic.min.isr=$min_insync
# A year: the relays' positions are group offsets, and a lost one stops its relay.
offsets.retention.minutes=527040
# An open transaction holds back every reader; no client may ask for more than a minute of it.
transaction.max.timeout.ms=60000
EOF

if [[ $security == SASL_SSL ]]; then
    cat >>"$settings" <<EOF
ssl.keystore.type=PEM
ssl.keystore.location=${KAFKA_TLS_KEY:?a PEM file with the private key and its certificate chain}
ssl.truststore.type=PEM
ssl.truststore.location=${KAFKA_TLS_CA:?a PEM file with the certificates to trust}
EOF
fi

export LOG_DIR=$scratch/logs
export KAFKA_LOG4J_OPTS="-Dlog4j2.configurationFile=${KAFKA_LOG4J:-/etc/casebus/log4j2.properties}"
# Without its '-loggc': the root file system is read-only.
export EXTRA_ARGS="-name kafkaServer"

if [[ -f $data/log/meta.properties ]]; then
    grep -qxF "cluster.id=$cluster_id" "$data/log/meta.properties" ||
        fail "the storage in $data belongs to another cluster than $cluster_id"
else
    # All other users are made by `casebus topics apply`, which signs in as admin. The tool prints
    # what it derived from the passwords, which has no place in a container's log.
    "$bin/kafka-storage.sh" format --cluster-id "$cluster_id" --config "$settings" \
        --add-scram "SCRAM-SHA-512=[name=admin,password=$admin_password]" \
        --add-scram "SCRAM-SHA-512=[name=broker,password=$broker_password]" >/dev/null
fi

exec "$bin/kafka-server-start.sh" "$settings"
