#!/usr/bin/env bash
# Creates .venv with the packages of requirements.lock. Needs python3 >= 3.11; without uv on PATH, also venv and pip.
set -euo pipefail
cd "$(dirname "$0")/.."
UV_VERSION=$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' images/uv.lock)
# `make` puts .venv/bin first on PATH; the uv in there is a link to the uv that this script looks for.
uv=$(PATH=${PATH//$PWD\/.venv\/bin:/} command -v uv || true)
if [ -z "$uv" ]; then
  home="${XDG_CACHE_HOME:-$HOME/.cache}/mlops-lab/uv-$UV_VERSION"
  if [ ! -x "$home/bin/uv" ]; then
    echo "installing uv $UV_VERSION"
    python3 -m venv "$home"
    "$home/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement images/uv.lock
  fi
  uv="$home/bin/uv"
fi
[ -x .venv/bin/python ] || "$uv" venv --quiet --python 3.11 .venv
VIRTUAL_ENV=$PWD/.venv "$uv" pip sync --quiet requirements.lock
VIRTUAL_ENV=$PWD/.venv "$uv" pip install --quiet --no-deps --no-build-isolation --editable .
ln -sf "$uv" .venv/bin/uv
