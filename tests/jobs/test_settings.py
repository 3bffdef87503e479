"""What a person reads who got a setting wrong: the file, the key, what is allowed; nothing has started by then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.runtime.settings import SettingsError, load_settings

SOURCE = """
name: till
label: 收银
channel: store_pos
format: csv
columns: [order_no, at, paid]
records:
  - name: order
    event_type: order
    event_at: {column: at, format: iso}
    fields: {amount: paid}
"""

# What was written -> what the message must name.
FAULTS = {
    "timezome: UTC": ["mine.yaml: timezome: unknown key", "timezone"],
    "timezone: Mars/Phobos": ["mine.yaml: timezone", "Asia/Shanghai", "Mars/Phobos"],
    "rfm: {metod: fixed}": ["mine.yaml: rfm.metod: unknown key", "method"],
    "rfm: {method: magic}": ["mine.yaml: rfm.method", "quantile", "magic"],
    "audit: {least_row_share: null}": ["audit.least_row_share: missing key"],
    "purchases: {exclude_gift: false}": ["mine.yaml: purchases.exclude_gift: unknown key", "exclude_gifts"],
    "tag_health: {stale_days: {high: -1}}": ["mine.yaml: tag_health.stale_days.high", "-1"],
    "sources: nowhere": ["mine.yaml: sources", "nowhere", "is not a folder"],
    "rfm: [": ["mine.yaml: not YAML"],
    "rfm: {bins: 4, bins: 5}": ["mine.yaml: not YAML", "'bins' is given twice"],
    "value: {finance: {demand: [{fact: age_band, label: 年龄, at_least: 1, points: 5}]}}": [
        "mine.yaml",
        "'age_band' says who",
    ],
    "value: {clusters: {features: {gender: 性别}}}": ["clusters.features: 'gender' is not a numeric tag"],
    "value: {potential: {model: {outcome: net_amount_lifetime}}}": ["net_amount_lifetime must be a sum over a window"],
    "- a\n- b": ["mine.yaml: expected keys and values"],
    "tags: {spend: {label: 金额, description: d, type: value, measure: summ(net_amount)}}": ["spend", "summ", "sum"],
    "segments: {secondary: [{code: x, label: 甲, description: d, when: order_cuont_90d > 1}]}": [
        "order_cuont_90d",
        "order_count_90d",
    ],
    "contacts: {no_action: [other, lost, prospect]}": ["segment finance_risk has no strategy", "contacts.no_action"],
    "contacts: {no_action: [other, lost, prospect, finance_risk, wake_up, silent]}": [
        "segment 'wake_up' is not declared",
        "silent is listed, but has a strategy",
    ],
    "contacts: {channels: {sms: {reached_by: [fone]}}}": ["contacts.channels.sms", "'fone'", "phone"],
    "contacts: {suppressed: nobody.csv}": ["nobody.csv: no such file (contacts.suppressed)"],
    "strategies: {welcome: {segments: [new_costumer]}}": ["strategies.welcome", "'new_costumer'", "new_customer"],
    "strategies: {welcome: {channels: [smoke]}}": ["strategies.welcome.channels", "smoke", "sms"],
    "strategies: {welcome: {priority: 1}}": ["priority 1 is given twice"],
    "strategies: {welcome: {when: order_cuont_90d = 0}}": ["strategies.welcome: when", "order_count_90d"],
    "strategies: {welcome: {message: 'Hi {membr_level}'}}": ["strategies.welcome: message", "member_level"],
    "strategies: {welcome: {generic_message: 'Hi {member_level}'}}": ["generic_message reads 'member_level'"],
    "strategies: {welcome: {trigger: {kind: festival}}}": ["a festival trigger names its festivals"],
    "strategies: {welcome: {trigger: {kind: festival, festivals: [easter]}}}": ["festival 'easter'", "qixi"],
    "strategies: {wake_up: {experiment: {variants: {A: {share: 0.6}}}}}": ["add up to 1, not 1.1"],
    "kpis: {clv: {numerator: {where: clv_365 > 0}}}": ["kpis.yaml: kpi clv", "'clv_365'", "nearest: clv_365d"],
    "kpis: {clv: {numerator: {from: shelves}}}": ["mine.yaml: kpis.clv.numerator.from", "'orders'", "'stock'"],
    "restate_kpis: {day: 3}": ["mine.yaml: restate_kpis.day: unknown key", "days"],
    "stores: {S1: {kind: mall}}": ["mine.yaml: stores.S1.kind: unknown key", "type", "region"],
    "{stores: {S1: {type: mall}}, kpis: {buyers: {benchmark: {store_type: {mal: [1, 2]}}}}}": [
        "'mal'",
        "nearest: mall",
    ],
    "campaigns: {window_day: 7}": ["mine.yaml: campaigns.window_day: unknown key", "window_days"],
    "campaigns: {reviews: {opened_less: {when: open_rat < 1}}}": ["campaigns.reviews.opened_less", "'open_rat'"],
    "funnels: {purchase: {mode: strict}}": ["mine.yaml: funnels.purchase.mode", "ordered", "strict"],
    "funnels: {purchase: {scopes: {shop: store}}}": ["funnels.purchase.scopes.shop", "'store'", "store_id"],
    "funnels: {purchase: {scopes: {chain: channel}}}": ["scope 'chain' comes by itself"],
    "prices: {loyal_segments: [high_valu]}": ["prices.loyal_segments: segment 'high_valu'", "high_value"],
    "turnover: {band: [90, 30]}": ["mine.yaml: turnover.band", "[90, 30] is no band"],
    "regions: {hidden_quality: {least_buyer: 3}}": ["regions.hidden_quality.least_buyer: unknown key", "least_buyers"],
    "loans: {period_day: 7}": ["mine.yaml: loans.period_day: unknown key", "period_days"],
    "loans: {reviews: nobody.csv}": ["nobody.csv: no such file (loans.reviews)"],
    "tags: {preferred_hour: null}": ["planning reads the tag 'preferred_hour'"],
}


@pytest.mark.parametrize(("written", "named"), FAULTS.items(), ids=[text[:40] for text in FAULTS])
def test_a_wrong_setting_is_told_with_file_key_and_what_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, named: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(written)
    with pytest.raises(SettingsError) as found:
        load_settings(["mine.yaml"])
    assert [part for part in named if part not in str(found.value)] == [], str(found.value)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("channel: store_pos", "channel: stor", ["till.yaml", "'stor'", "store_pos"]),
        ("event_type: order", "event_type: ordr", ["till.yaml", "'ordr'", "order"]),
        ("{amount: paid}", "{amunt: paid}", ["till.yaml", "amunt", "amount"]),
        ("{amount: paid}", "{amount: payd}", ["till.yaml", "payd", "paid"]),
        ("name: till", "name: cash", ["till.yaml", "'till'"]),
        ("format: csv", "format: xml", ["till.yaml", "format", "csv"]),
        ("format: csv", "format: csv\noptions: {delimiter: '||'}", ["till.yaml", "delimiter '||'", "one character"]),
        ("format: csv", "format: csv\noptions: {escape: ''}", ["till.yaml", "escape ''", "one character"]),
        ("order_no,", "no,", ["till.yaml", "columns", "False", "quote"]),  # YAML reads a bare no as false
    ],
)
def test_a_wrong_source_is_told_with_its_file(tmp_path: Path, old: str, new: str, named: list[str]) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources/till.yaml").write_text(SOURCE.replace(old, new, 1))
    (tmp_path / "mine.yaml").write_text("sources: sources\n")
    with pytest.raises(SettingsError) as found:
        load_settings([str(tmp_path / "mine.yaml")])
    assert [part for part in named if part not in str(found.value)] == [], str(found.value)


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"mine.yaml": "timezone: Asia/Shanghai  # 上海\n"}, "mine.yaml: not UTF-8"),
        (
            {
                "mine.yaml": "contacts: {suppressed: people.csv}\n",
                "people.csv": "identifier_type,identifier,note\na,b,上海\n",
            },
            "people.csv: not UTF-8",
        ),
    ],
)
def test_what_a_spreadsheet_saved_in_its_own_encoding_is_told(
    tmp_path: Path, files: dict[str, str], named: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="gbk")
    with pytest.raises(SettingsError, match=named):
        load_settings([str(tmp_path / "mine.yaml")])


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("timezone: Mars\nrfm: {method: magic}\n")
    with pytest.raises(SettingsError) as found:
        load_settings([str(tmp_path / "mine.yaml")])
    assert "timezone" in str(found.value)
    assert "rfm.method" in str(found.value)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["check-settings"], 0, ""),
        (["check-settings", "--settings", "bad.yaml"], 2, "bad.yaml: rfm.method"),
        (["nightly", "--date", "2026-06-30", "--lake", "lake", "--settings", "bad.yaml"], 2, "nothing was started"),
        (["nightly", "--date", "June", "--lake", "lake"], 2, "'June' is not a date"),
        (["tidy-up"], 2, "invalid choice"),
    ],
)
def test_settings_are_checked_before_and_without_java(
    tmp_path: Path, arguments: list[str], code: int, told: str
) -> None:
    (tmp_path / "bad.yaml").write_text("rfm: {method: magic}\n")
    command = [str(Path(sys.executable).parent / "portraits"), *arguments]
    done = subprocess.run(command, cwd=tmp_path, env={"PATH": "/nowhere"}, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert not (tmp_path / "lake").exists()
