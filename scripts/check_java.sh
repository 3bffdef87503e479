#!/usr/bin/env bash
# Spark 4.2 needs Java 17 or newer; say exactly how to get it where it is missing.
set -euo pipefail
version=$("${JAVA_HOME:+$JAVA_HOME/bin/}java" -version 2>&1 | sed -nE 's/.*version "([0-9]+).*/\1/p' | head -n 1) || true
if [ "${version:-0}" -ge 17 ]; then exit 0; fi
cat >&2 <<'MESSAGE'
Java 17 or newer is needed to run Spark, and `java` was not found (or is older). Install it with one of:
  Debian, Ubuntu:   sudo apt-get install -y openjdk-17-jre-headless
  Fedora, RHEL:     sudo dnf install -y java-17-openjdk-headless
  macOS:            brew install openjdk@17
or point JAVA_HOME at a Java 17, then run the same command again.
MESSAGE
exit 1
