# Become a redis-server, with a watcher beside it that ends it with its owner. The owner runs this text with `sh -c`.
#
# $1: seconds from TERM to KILL. The rest: the command.
# Standard input: a pipe that ends with the owner. Standard output: the lock, which the server holds until it ends.
# Standard error: the log.
limit=$1
shift
umask 077
# The pipe moves to descriptor 3, because a shell gives its background commands /dev/null as their input.
exec 3<&0 </dev/null
(
    exec >/dev/null 2>&1
    read -r line <&3
    # This is the server: the shell becomes it below. No other process can have its id while the watcher is in its
    # process group.
    kill -TERM "$$"
    while [ "$limit" -gt 0 ] && kill -0 "$$"; do
        sleep 1 # not less, because the sleep of POSIX takes no fractions
        limit=$((limit - 1))
    done
    # The process group: the server, the child that rewrites its file, and this watcher.
    kill -KILL 0
) &
exec "$@" 3<&- 4>&1 >&2
