#!/bin/sh
# Enqueues from a shell what the pool of examples/app.py runs: a job is a line of JSON in a Redis list.
#
#     sh examples/enqueue.sh

set -eu
redis=${ASYNCWORK_REDIS:-redis://localhost:6379/0}
namespace=${ASYNCWORK_NAMESPACE:-my_app}

case $redis in
  unix://*)
    socket=${redis#unix://}
    set -- -s "${socket%%\?*}"
    ;;
  *) set -- -u "$redis" ;;
esac

# Arguments, as a JSON object: text that holds quotes or backslashes has to be escaped before it comes here.
job() {
  id=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
  printf '{"name":"send_email","id":"%s","t":%d,"args":%s}' "$id" "$(date +%s)" "$1"
}

# As soon as a worker is free. The name is told once, so that the queue is seen before a pool has served it.
redis-cli "$@" SADD "$namespace:known_jobs" send_email
redis-cli "$@" LPUSH "$namespace:jobs:send_email" "$(job '{"address":"shell@example.com","subject":"<Grüße> & 🎉"}')"

# Later: the score is when, in whole seconds.
redis-cli "$@" ZADD "$namespace:scheduled" "$(($(date +%s) + 1))" "$(job '{"address":"later@example.com"}')"
