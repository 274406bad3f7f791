#!/bin/sh
# Ten minutes on a GPU: does the course train there, how fast, and does it compute what a CPU computes?
#
#     OUT=DIR sh experiments/gpu_check.sh [--seconds 540] [--wheels DIR] [--set embedder.steps=100 ...]
#
# Needs PyTorch 2.6 or newer, no network. PYTHON names the interpreter (default: python3). Packages that are missing
# come from wheels in the folder --wheels, into an environment of their own; without them one line says which are.
# What it writes into $OUT, and in which order: experiments/gpu_check.py --help.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
out=${OUT:-$root/build/gpu_check}
wheels=
previous=
for word in "$@"; do
    case $word in --wheels=*) wheels=${word#--wheels=} ;; esac
    if [ "$previous" = --wheels ]; then wheels=$word; fi
    previous=$word
done
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
if ! missing=$("$python" "$root/experiments/gpu_check.py" --missing); then
    if [ -n "$wheels" ]; then
        environment=$(mktemp -d)
        "$python" -m venv "$environment"
        # what the interpreter itself has, of an environment as well: pip must see torch, and not ask for it
        places=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
        "$python" -c 'import sys; print(*(p for p in sys.path if p.endswith("-packages")), sep="\n")' \
            >"$places/parent.pth"
        python=$environment/bin/python
        # shellcheck disable=SC2086  # a word a package
        "$python" -m pip install -q --no-index --find-links "$wheels" $missing || true
    fi
    if ! missing=$("$python" "$root/experiments/gpu_check.py" --missing); then
        echo "gpu_check needs packages that $python lacks: $missing. Give a folder of wheels: --wheels DIR" >&2
        exit 2
    fi
fi
limit=$(command -v timeout || true)  # ten minutes, whatever a part takes: each writes its report when it ends
exec ${limit:+"$limit" -s INT -k 10 590} "$python" "$root/experiments/gpu_check.py" --out "$out" "$@"
