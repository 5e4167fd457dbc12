# Stops a PostgreSQL server that the tests started, and deletes its data, when no test process that
# signed in has been alive for 30 seconds. Started by postgres.rs, and outlives the tests.
directory=$1
server=$2
current=$3

alive() {
    kill -0 "$1" 2>/dev/null
}

in_use() {
    for user in "$directory"/users/*; do
        if alive "${user##*/}"; then
            return 0
        fi
        rm -f "$user"
    done
    return 1
}

idle=0
while alive "$server"; do
    if in_use; then
        idle=0
    else
        idle=$((idle + 1))
    fi
    if [ "$idle" -ge 30 ]; then
        # The name first, then another look: a process that signed in before the name was gone is seen
        # by it, and one that comes later starts a server of its own.
        if [ "$(cat "$current" 2>/dev/null)" = "${directory##*/}" ]; then
            rm -f "$current"
        fi
        in_use || break
    fi
    sleep 1
done

kill -INT "$server" 2>/dev/null
patience=10
while alive "$server" && [ "$patience" -gt 0 ]; do
    patience=$((patience - 1))
    sleep 1
done
rm -rf "$directory"
