#!/bin/sh
# Enqueues jobs from a shell for the pool of examples/app.py. A job is a line of JSON in a Redis list.
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

# Takes the arguments as a JSON object, in which quotes and backslashes must be escaped already.
job() {
  id=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
  printf '{"name":"send_email","id":"%s","t":%d,"args":%s}' "$id" "$(date +%s)" "$1"
}

# As soon as a worker is free. The name is registered, so that the queue is listed before a pool handles it.
redis-cli "$@" SADD "$namespace:known_jobs" send_email
redis-cli "$@" LPUSH "$namespace:jobs:send_email" "$(job '{"address":"shell@example.com","subject":"<Grüße> & 🎉"}')"

# Later. The score is the time in whole epoch seconds.
redis-cli "$@" ZADD "$namespace:scheduled" "$(($(date +%s) + 1))" "$(job '{"address":"later@example.com"}')"
