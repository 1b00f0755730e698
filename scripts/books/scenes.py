"""What the commands of a page find when they are run: files, tools, and what has happened before."""

# A command that fails is named. With a database and a key, unless the page makes its own.
PRELUDE = """\
set -euo pipefail
trap 'echo "failed: $NOW"' ERR
export HTTP_LISTEN=127.0.0.1:$PORT DATABASE_URL=sqlite:$FOLDER/here/trunkline.db
export LIVEKIT_SECRET_ENCRYPTION_KEY_FILE=$FOLDER/here/key
(umask 077; trunkline key generate > key)
trunkline db migrate > /dev/null
"""

TENANT = "0d6f1f2e-52a8-4a35-9b1f-6f7f0c9f2a11"
ADD_EU = "trunkline livekit add --name eu --url wss://eu.example --api-key APIeu --trunk ST_eu < $SECRET"
ADD_NUMBER = f"trunkline number add --tenant {TENANT} --number +971501234567"
BOTH = f"{ADD_EU}\n{ADD_NUMBER} --livekit eu"
TWO_KEYS = """(umask 077; trunkline key generate > new; printf '%s,%s' "$(cat key)" "$(cat new)" > ring && mv ring key)"""

# Places of the pages, and where they are here.
PLACES = {
    "/run/trunkline/api.sock": "{folder}/api.sock",
    "/etc/trunkline": "{folder}/etc",
    "127.0.0.1:9464": "127.0.0.1:{port}",
    "127.0.0.1:9474": "127.0.0.1:{second}",
    "127.0.0.1:9470": "127.0.0.1:{second}",
}

# By the page and the beginning of a command: what is done before it.
SCENES = {
    "README.md": {
        "curl --unix-socket": "\n".join([
            "TOKEN=$(trunkline client add --name dialler --all-tenants --may tokens,resolve --room 'call-*')",
            "HTTP_SOCKET=$FOLDER/api.sock trunkline serve",
        ]),
    },
    "docs/first-hour.md": {
        "mkdir hour": "unset DATABASE_URL LIVEKIT_SECRET_ENCRYPTION_KEY_FILE",
    },
    "docs/api.md": {
        "trunkline client add --name dialler": BOTH,
        "curl -N": "trunkline client add --name listener --all-tenants --may changes > token\nsleep 2",
    },
    "docs/operations.md": {
        "trunkline livekit add --name eu --url wss://eu.example --api-key APIeu --trunk ST_eu <": ADD_NUMBER,
        "trunkline healthcheck": "trunkline serve",
        "trunkline audit list": "trunkline audit seal",
    },
    "docs/from-python.md": {
        "trunkline db migrate": f"trunkline livekit show eu > /dev/null 2>&1 || {{ {BOTH}\n}}",
    },
    "docs/runbooks.md": {
        "trunkline doctor": f"{BOTH}\ntrunkline serve",
    },
    "docs/troubleshooting.md": {
        "trunkline doctor": f"{BOTH}\ntrunkline serve",
    },
    "docs/cli.md": {
        "trunkline key bind --all --dry-run": f"{ADD_EU}\n{ADD_EU.replace('eu', 'us')}",
        "trunkline key status": TWO_KEYS,
        "trunkline db seed": "trunkline db migrate",
        "trunkline livekit remove eu --force": ADD_EU,
        "trunkline number add --tenant": "trunkline livekit show eu > /dev/null 2>&1 || " + ADD_EU,
        "trunkline resolve": f"trunkline rollout set live > /dev/null\ntrunkline number list --json | grep -q 4567 || {ADD_NUMBER} --livekit eu",
        "trunkline healthcheck --listen": "HTTP_LISTEN=127.0.0.1:$SECOND trunkline serve",
        "export DATABASE_URL=sqlite:$HOME": "env -u DATABASE_URL -u LIVEKIT_SECRET_ENCRYPTION_KEY_FILE trunkline serve",
    },
}


def of(page):
    return SCENES.get(page, {})


FILES = {
    "secret.txt": "a secret of forty characters, made for this\n",
    "leads.csv": "to,job\n+919876543210,lead-1\n+919876543211,lead-2\n",
    "numbers.csv": f"tenant,number,livekit,provider\n{TENANT},+971501234570,eu,du\n",
    "numbers.jsonl": '{"tenant": "%s", "number": "+971501234571"}\n' % TENANT,
}

# In front of the real ones. A daemon goes on behind the commands that follow, one at each address; what would
# watch without end is ended. What a server refuses is a failure.
TOOLS = {
    "trunkline": """\
#!/bin/bash
case " $* " in
*" --watch "* | *" serve --listen "*)
    timeout 2 {program} "$@"
    [ $? = 124 ]
    ;;
*" serve "*)
    file={folder}/daemon-${{HTTP_LISTEN##*:}}
    [ ! -e "$file" ] || {{ kill "$(cat "$file")"; tail --pid="$(cat "$file")" -f /dev/null; }} 2>/dev/null
    {program} "$@" </dev/null >>{folder}/daemon.log 2>&1 &
    echo $! >"$file"
    for _ in $(seq 300); do
        {program} healthcheck >/dev/null 2>&1 && exit 0
        sleep 0.1
    done
    cat {folder}/daemon.log
    exit 1
    ;;
*) exec {program} "$@" ;;
esac
""",
    "curl": """\
#!/bin/bash
case " $* " in
*" -N "*)
    /usr/bin/curl --fail-with-body --max-time 2 "$@"
    [ $? = 28 ]
    ;;
*) exec /usr/bin/curl --fail-with-body --max-time 20 "$@" ;;
esac
""",
}
