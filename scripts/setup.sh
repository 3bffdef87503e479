#!/usr/bin/env bash
# Virtual environment, locked dependencies, this project (editable), and Delta's two jars beside Spark's own.
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
echo "Installing locked dependencies …"
"$VENV/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check --requirement requirements.lock
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --editable .

# Two jars are all that Delta needs (10 MB). Spark's own Ivy fetches them from Maven Central into its cache, so that
# every later start works offline and `spark-submit jobs/<job>.py` needs no --packages.
jars=$("$VENV/bin/python" -c 'import pathlib, pyspark; print(pathlib.Path(pyspark.__file__).parent / "jars")')
for module in delta-spark_4.2_2.13 delta-storage; do
  if [ ! -f "$jars/$module-4.4.0.jar" ]; then
    echo "Fetching $module …"
    log=$(mktemp)
    java -cp "$jars/*" org.apache.ivy.Main -m2compatible -dependency io.delta "$module" 4.4.0 \
      -notransitive -confs default -retrieve "$jars/[artifact]-[revision].[ext]" > "$log" 2>&1 || true
    [ -f "$jars/$module-4.4.0.jar" ] || { cat "$log" >&2; echo "Could not fetch $module 4.4.0 from Maven Central" >&2; exit 1; }
    rm -f "$log"
  fi
done
touch "$VENV/.ready"
