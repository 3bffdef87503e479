#!/usr/bin/env bash
# What `make demo` shows: a small generated chain over three nights, then UCI Online Retail; the lakes stay in lakes/.
set -euo pipefail
cd "$(dirname "$0")/.."
portraits=.venv/bin/portraits
last=2026-06-30

rm -rf lakes
mkdir -p lakes/chain lakes/online_retail

echo "── A retail chain with eleven channels, generated ──"
$portraits generate --landing lakes/chain/landing --customers 1000 --days 400 --nights 2 --date "$last"
echo "── Its nights: the history, then one day after the other ──"
$portraits nightly --dates 2026-06-29..$last --lake lakes/chain --settings scripts/demo.yaml
$portraits summary --lake lakes/chain --settings scripts/demo.yaml

echo "── UCI Online Retail, mapped by YAML only ──"
$portraits nightly --date 2011-12-10 --lake lakes/online_retail \
  --landing examples/online_retail/landing --settings examples/online_retail/settings.yaml
$portraits summary --lake lakes/online_retail --settings examples/online_retail/settings.yaml
