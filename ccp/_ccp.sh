# shellcheck shell=bash
# What the two convert_*_to_ccp_image.sh share; they read this file, nobody runs it.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=docker/_options.sh
source "$here/../docker/_options.sh"
# shellcheck disable=SC2034 # the scripts use it
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$here/../pyproject.toml")

common_help() {
    cat <<HELP
  --app-image NAME:TAG   image that is packed (CCP_APP_IMAGE; default: $app_image)
  --packed-image NAME:TAG
                         image that ccp-cli makes of it (CCP_PACKED_IMAGE; default: sec_ and the above)
  --app-entry PATH       program in the image (CCP_APP_ENTRY; default: $app_entry)
  --start DIR            folder in which it starts (CCP_START; default: $start)
  --memsize SIZE         memory of the enclave (CCP_MEMSIZE; default: $memsize)
  --thread N             thread slots of the enclave, at least 32 (CCP_THREAD; default: $thread)
  --tmpl NAME            template of the manifest (CCP_TMPL; default: $tmpl, made from $tmpl.toml)
  --capp-id ID           id of the application on CCP (CCP_CAPP_ID)
  --secret-id ID         id of the API key of your Tencent Cloud account (CCP_SECRET_ID)
  --secret-key-file FILE file whose first line is the API key's secret (or CCP_SECRET_KEY)
  --show-secrets         print the secrets themselves; without it the printed command names the
                         environment's CCP_SECRET_ID and CCP_SECRET_KEY, so that no secret gets into
                         a shell's history
  --add-host NAME:ADDRESS
                         a name that the container is to know; may be repeated (CCP_ADD_HOST)
  --run                  run both commands instead of printing them; ccp-cli must be installed
  --template-dir DIR     with --run: where ccp-cli looks for templates
                         (CCP_TEMPLATE_DIR; default: /opt/ccp/template)
  --help                 print this text
HELP
}

# Read an option that both scripts know, and set `shifted` to the words it took; fail when there is
# none.
common_option() {
    case $1 in
        --run) run=true shifted=1; return ;;
        --show-secrets) show_secrets=true shifted=1; return ;;
        --*) need "$1" $# ;;
        *) fail "what is $1? see --help" ;;
    esac
    shifted=2
    case $1 in
        --app-image) app_image=$2 ;;
        --packed-image) packed_image=$2 ;;
        --app-entry) app_entry=$2 ;;
        --start) start=$2 ;;
        --memsize) memsize=$2 ;;
        --thread) thread=$2 ;;
        --tmpl) tmpl=$2 ;;
        --capp-id) capp_id=$2 ;;
        --secret-id) secret_id=$2 ;;
        --secret-key-file)
            [[ -r $2 ]] || fail "$1: $2 can't be read"
            read -r secret_key <"$2" || [[ -n $secret_key ]] || fail "$1: $2 is empty"
            ;;
        --add-host) hosts+=("$2") ;;
        --template-dir) template_dir=$2 ;;
        --secret-key) fail "a secret on a command line gets into the shell's history; use --secret-key-file" ;;
        *) fail "there is no option $1; see --help" ;;
    esac
}

# The environment's values; options go over them.
# shellcheck disable=SC2034 # the scripts use `shifted`
common_defaults() {
    app_image=${CCP_APP_IMAGE:-$app_image} app_entry=${CCP_APP_ENTRY:-$app_entry}
    start=${CCP_START:-$start} memsize=${CCP_MEMSIZE:-$memsize} thread=${CCP_THREAD:-$thread}
    tmpl=${CCP_TMPL:-$tmpl} capp_id=${CCP_CAPP_ID:-} packed_image=${CCP_PACKED_IMAGE:-}
    secret_id=${CCP_SECRET_ID:-} secret_key=${CCP_SECRET_KEY:-}
    template_dir=${CCP_TEMPLATE_DIR:-/opt/ccp/template}
    hosts=() run=false show_secrets=false shifted=0
    [[ -z ${CCP_ADD_HOST:-} ]] || read -ra hosts <<<"$CCP_ADD_HOST"
}

common_check() {
    local host
    [[ $memsize =~ ^[1-9][0-9]*M$ ]] || fail "--memsize must be such as 8192M, not $memsize"
    if [[ ! $thread =~ ^[1-9][0-9]{0,3}$ ]] || ((thread < 32)); then
        fail "--thread must be a number, at least 32, not $thread"
    fi
    [[ $app_entry == /* && $start == /* ]] || fail "--app-entry and --start are absolute paths"
    for host in "${hosts[@]}"; do
        check_host "$host"
    done
    packed_image=${packed_image:-sec_$app_image}
    if [[ $run == true ]]; then
        [[ -n $secret_id ]] || fail "--run needs --secret-id or CCP_SECRET_ID"
        [[ -n $secret_key ]] || fail "--run needs --secret-key-file or CCP_SECRET_KEY"
        [[ -n $capp_id ]] || fail "--run needs --capp-id or CCP_CAPP_ID"
        command -v ccp-cli >/dev/null || fail "ccp-cli is not installed; see ccp/README.md"
    elif [[ $show_secrets == true ]]; then
        [[ -n $secret_id && -n $secret_key ]] || fail "--show-secrets: there are no secrets to show"
    fi
}

# Print a word for the printed command: a value, or what the shell puts in when the command runs; it
# stops there when the variable is empty.
value_or_variable() {
    if [[ -n $1 ]]; then
        quote "$1"
    else
        # shellcheck disable=SC2016 # the reader's shell is to expand it
        printf '"${%s:?%s}"' "$2" "$3"
    fi
}

print_pack() {
    local shown_id='' shown_key='' line lines
    if [[ $show_secrets == true ]]; then
        shown_id=$secret_id shown_key=$secret_key
    fi
    lines=(
        "--app-entry=$(quote "$app_entry")"
        "--memsize=$memsize"
        "--thread=$thread"
        "--tmpl=$(quote "$tmpl")"
        "--secret-id=$(value_or_variable "$shown_id" CCP_SECRET_ID 'id of your API key')"
        "--secret-key=$(value_or_variable "$shown_key" CCP_SECRET_KEY 'secret of your API key')"
        "--capp-id=$(value_or_variable "$capp_id" CCP_CAPP_ID 'id of the application on CCP')"
        "--app-image=$(quote "$app_image")"
        --app-type=image
        "--start=$(quote "$start")"
    )
    printf 'ccp-cli pack'
    for line in "${lines[@]}"; do
        printf ' \\\n    %s' "$line"
    done
    echo
}

# Print both commands, or run them.
print_or_run() {
    if [[ $run == false ]]; then
        print_pack
        echo
        print_command "$@"
        return
    fi
    if [[ -e $here/$tmpl.toml ]]; then # otherwise it is one of CCP's own
        [[ -d $template_dir ]] || fail "there is no folder $template_dir for ccp-cli's templates"
        cp "$here/$tmpl.toml" "$template_dir/$tmpl.toml"
    fi
    ccp-cli pack --app-entry="$app_entry" --memsize="$memsize" --thread="$thread" --tmpl="$tmpl" \
        --secret-id="$secret_id" --secret-key="$secret_key" --capp-id="$capp_id" \
        --app-image="$app_image" --app-type=image --start="$start"
    exec "$@"
}
