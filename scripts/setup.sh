#!/usr/bin/env bash
# Virtual environment, locked dependencies, this project (editable), and three jars beside Spark's own.
set -euo pipefail
: "${PYTHON:=python3}" "${VENV:=.venv}"
cd "$(dirname "$0")/.."

"$PYTHON" - <<'CHECK'
import sys
if sys.version_info < (3, 10):
    sys.exit(f"Python 3.10 or newer is needed, this is {sys.version.split()[0]}; name another one with: make PYTHON=python3.12 …")
CHECK

if [ ! -x "$VENV/bin/python" ]; then
  echo "Making $VENV …"
  "$PYTHON" -m venv "$VENV" || { echo "python -m venv failed; on Debian or Ubuntu: sudo apt-get install -y python3-venv" >&2; exit 1; }
fi
# Quiet twice: of two pips one may see what the other has half unpacked, and would warn of it.
install() { "$VENV/bin/python" -m pip install -qq --no-compile --disable-pip-version-check --no-deps "$@"; }
locked() { grep -v '^ *#' requirements.lock | awk "$1"; }

# Delta needs two jars (10 MB); the third (9 kB) makes local files without starting `chmod` for each. Spark's own Ivy
# fetches them from Maven Central into its cache, so that every later start works offline and `spark-submit
# jobs/<job>.py` needs no --packages.
fetch_jars() {
  local jars jar group module version log
  jars=$("$VENV/bin/python" -c 'import pathlib, pyspark; print(pathlib.Path(pyspark.__file__).parent / "jars")')
  for jar in io.delta:delta-spark_4.2_2.13:4.4.0 io.delta:delta-storage:4.4.0 com.globalmentor:hadoop-bare-naked-local-fs:0.1.0; do
    IFS=: read -r group module version <<< "$jar"
    [ ! -f "$jars/$module-$version.jar" ] || continue
    echo "Fetching $module …"
    log=$(mktemp)
    java -cp "$jars/*" org.apache.ivy.Main -m2compatible -dependency "$group" "$module" "$version" \
      -notransitive -confs default -retrieve "$jars/[artifact]-[revision].[ext]" > "$log" 2>&1 || true
    [ -f "$jars/$module-$version.jar" ] || { cat "$log" >&2; echo "Could not fetch $module $version from Maven Central" >&2; return 1; }
    rm -f "$log"
  done
}

# The lock names every package, so pip need not ask which belong together, and unpacking some 1.6 GB, of which one pip keeps
# one core busy, can be shared: PySpark first, since the jars go into it, then all else at once.
echo "Installing locked dependencies …"
install --requirement <(locked '/^py(spark|4j)==/')
running=()
fetch_jars & running+=($!)
for part in 0 1 2; do
  install --requirement <(locked "!/^py(spark|4j)==/ && NR % 3 == $part") & running+=($!)
done
install --editable . & running+=($!)
for each in "${running[@]}"; do wait "$each" || { wait; exit 1; }; done
touch "$VENV/.ready"
