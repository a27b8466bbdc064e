# Run a server, and end it when its owner ends. The owner runs this text with `sh -c`.
#
# $1: seconds from TERM to KILL. $2: a directory to remove at the end, or nothing. The rest: the command.
# Standard input: a pipe that ends with the owner. Standard output: to the owner, the server's process id and then its
# exit status. Standard error: the log.
limit=$1 scratch=$2
shift 2
umask 077
# The pipe moves to descriptor 3, because a shell gives its background commands /dev/null as their input.
exec 3<&0 </dev/null
# The server keeps the standard output open as descriptor 4: when it closes, the server has ended.
"$@" 3<&- 4>&1 >&2 &
server=$!
# Not before the server runs, because it would inherit the ignored signals. PIPE is among them because the owner may be
# gone when the exit status is written.
trap '' HUP INT TERM PIPE
(
    exec >&2
    read -r line <&3
    kill -TERM "$server"
    sleep "$limit"
    kill -KILL "$server"
) &
watcher=$!
exec 3<&-
echo "$server"
wait "$server"
echo "$?" 2>/dev/null
kill -KILL "$watcher"
wait "$watcher" 2>/dev/null
[ -z "$scratch" ] || rm -rf "$scratch"
# End the rest of the process group: the watcher's sleep, the rewriting child of a killed server, and this shell.
kill -KILL 0
