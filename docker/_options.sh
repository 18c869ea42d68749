# shellcheck shell=bash
# What the scripts in docker/ and ccp/ share; they read this file, nobody runs it.

fail() {
    echo "${0##*/}: $1" >&2
    exit 2
}

# need OPTION COUNT: an option must have a value.
need() {
    [[ $2 -gt 1 ]] || fail "$1 needs a value; see --help"
}

# A port, alone or with the address to publish it on.
check_port() {
    local port=${1##*:}
    if [[ ! $port =~ ^[1-9][0-9]{0,4}$ ]] || ((port > 65535)); then
        fail "$1 is not a port"
    fi
}

# docker run --add-host takes NAME:ADDRESS.
check_host() {
    [[ $1 =~ ^[A-Za-z0-9_.-]+:[0-9A-Fa-f.:]+$ ]] || fail "--add-host needs NAME:ADDRESS, not $1"
}

# Print the absolute path of a file or folder that must be there.
existing() {
    [[ -e $2 ]] || fail "$1: there is no $2"
    realpath -- "$2"
}

# Print a command so that it can be pasted, one option a line.
print_command() {
    local line='' word
    for word in "$@"; do
        if [[ $word == -* && -n $line ]]; then
            printf '%s \\\n' "$line"
            line="    $(quote "$word")"
        else
            line+="${line:+ }$(quote "$word")"
        fi
    done
    printf '%s\n' "$line"
}

quote() {
    if [[ $1 =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then
        printf '%s' "$1"
    else
        printf "'%s'" "${1//\'/\'\\\'\'}"
    fi
}

# run_or_print DRY_RUN COMMAND...: run a command, or only print it.
run_or_print() {
    local dry_run=$1
    shift
    if [[ $dry_run == true ]]; then
        print_command "$@"
    else
        exec "$@"
    fi
}

# Print the options that let a container use SGX, one a line.
sgx_options() {
    local device
    for device in /dev/sgx_enclave /dev/sgx_provision; do
        printf '%s\n' --device "$device"
        # The container's user is nobody on the host; the device's group may open it.
        [[ ! -e $device ]] || printf '%s\n' --group-add "$(stat --format %g "$device")"
    done
    printf '%s\n' --volume /var/run/aesmd:/var/run/aesmd
}
