"""The forms of alerts: integrations, alert grouping, silences and windows, checks and heartbeats."""

import json

from playwright.sync_api import expect

from form_desk import at, form

HERE = "/admin/integrations"


def integration(d, name, **more):
    made = d.call("POST", "/integrations", {"name": name, "source": "alertmanager"} | more)
    return made, f"{HERE}/{made['id']}"


def shown_once(d, one, button=None):
    """Sends a form whose answer shows a secret once."""
    before = d.written()
    answer = d.press(one, button)
    assert answer.ok, f"{answer.status}: {d.page.get_by_role('main').inner_text()[:400]}"
    expect(d.page.get_by_text("This is shown only now.")).to_be_visible()
    secret = d.page.locator("#secret").inner_text().strip()
    assert secret and d.written() != before
    d.page.locator("main a.button").click()
    assert secret not in d.page.content(), "the secret is shown again"
    return secret


@form("/integrations/new/{source}")
def an_integration_is_created(d):
    path = f"{HERE}/new/alertmanager"
    d.open(path)
    typed = {"name": "", "resource_rules": "labels.project_id", "secret_kind": "given", "open_incident": "false"}
    d.refused(at(path), typed, "\u201clabels.project_id\u201d must be a field", at="resource_rules")
    d.refused(at(path), {"resource_rules": ""}, "must not be empty", at="secret")
    d.refused(at(path), {"secret": "long enough"}, "must not be empty", at="name")
    d.refused(at(path), {"name": "Main alerts", "resource_rules": "text ~ /projects/(?<project>[^/+", "secret": "short"}, "", at="resource_rules")
    d.refused(at(path), {"resource_rules": "labels.project_id = project", "secret": "short"}, "8 characters", at="secret")
    url = shown_once(d, d.fill_at(path, {"secret_kind": "generated", "secret": ""}))
    assert "/hooks/" in url, url
    d.shows("are only recorded")


@form("/integrations/new/{source}")
def an_integration_with_a_mapping_is_created(d):
    path = f"{HERE}/new/json"
    if d.page.goto(path).status != 200:
        path = next(one for one in d.links(f"{HERE}/new") if one.endswith(("generic", "json", "mapped", "other")))
        d.open(path)
    typed = {"name": "Our own system", "mapping.alerts": "alerts", "mapping.title": "title", "mapping.severity_values": "P1"}
    d.refused(at(path), typed, "\u201cP1\u201d", at="mapping.severity_values")
    d.refused(at(path), {"mapping.severity_values": ""}, "", at="mapping.alerts")
    shown_once(d, d.fill_at(path, {"mapping.alerts": "/alerts", "mapping.title": "/title", "mapping.severity_values": "P1 = critical"}))
    d.shows("Our own system")


@form("/integrations/{id}/change")
def an_integration_is_changed(d):
    _, page = integration(d, "Changed integration")
    path = f"{page}/change"
    d.open(path)
    d.refused(at(path), {"name": "", "resource_rules": "labels.project = project"}, "must not be empty", at="name")
    d.refused(at(path), {"name": "Renamed integration", "resource_rules": "= project"}, "", at="resource_rules")
    d.accepted(at(path), {"resource_rules": "labels.project = project"}, "The integration is saved.", "Renamed integration")


@form("/integrations/{id}/secrets/add", "/integrations/{id}/secrets/drop", "/integrations/{id}/secrets/none", template=("form.html.hbs", "ask.html.hbs"))
def the_secrets_of_an_integration_are_rotated(d):
    _, page = integration(d, "Rotated", secret="the first secret")
    path = f"{page}/secrets"
    add, drop = at(f"{path}/add"), at(f"{path}/drop")
    d.open(path)
    d.refused(add, {"secret_kind": "given", "secret": "short"}, "8 characters", at="secret")
    d.refused(add, {"secret": ""}, "", at="secret")
    d.accepted(add, {"secret": "the second secret"}, "The secret is added.", "2 secrets")
    d.refused(drop, {"drop_secret": "not a secret of it"}, "", at="drop_secret")
    d.refused(drop, {"drop_secret": ""}, "must not be empty", at="drop_secret")
    d.accepted(drop, {"drop_secret": "the first secret"}, "The secret is removed.", "1 secret")
    shown_once(d, d.fill_at(f"{path}/add", {"secret_kind": "generated"}))
    d.open(path)
    late = d.tab(path)
    d.asked(f"{path}/none", "From then on everybody who knows its URL can send alerts.", "The integration has no secret.", "This integration has no secret")
    d.call("DELETE", page.replace("/admin", ""))
    d.stale(late, at(f"{path}/none"), "integration")


@form("/integrations/{id}/try", template="form.html.hbs")
def a_request_is_tried(d):
    _, page = integration(d, "Tried")
    path = f"{page}/try"
    d.open(path)
    d.refused(at(path), {"body": "", "headers": "no colon"}, "\u201cno colon\u201d", at="headers")
    d.refused(at(path), {"headers": ""}, "must not be empty", at="body")
    answer = d.press(d.fill_at(path, {"body": "{not json", "headers": ""}))
    expect(d.page.get_by_text("The request would be refused.")).to_be_visible()
    d.in_words()
    answer = d.press(d.fill_at(path, {"body": json.dumps(d.alert_body("Tried alert"))}))
    assert answer.ok, answer.status
    expect(d.page.get_by_text("Tried alert").first).to_be_visible()
    assert not d.items(page.removeprefix("/admin") + "/bodies"), "the request was stored"


@form("/integrations/{id}/bodies/{body}/replay", "/integrations/{id}/delete", template=("integration.html.hbs", "ask.html.hbs"))
def a_saved_request_is_replayed_and_the_integration_deleted(d):
    made, page = integration(d, "Replayed", open_incident=False)
    d.service.call("POST", made["hook_url"], d.alert_body("Replayed alert"), token=None)
    body = d.items(page.removeprefix("/admin") + "/bodies")[0]["id"]
    replay = at(f"{page}/bodies/{body}/replay")
    d.open(page)
    late = d.tab(page)
    d.accepted(replay, {}, "The request is replayed.", "accepted")
    later = d.tab(page)
    d.asked(f"{page}/delete", "Its URL answers 404 from then on", "The integration is deleted. Its URL answers 404 from now on.")
    d.stale(late, replay, "integration")
    d.stale(later, at(f"{page}/delete"), "integration")


RULE = {"name": "By service", "policy": "record", "matchers": [{"field": "labels.service", "is": "upload"}]}


@form("/rules", "/rules/try", template="rule.html.hbs")
def a_rule_is_created(d):
    made, _ = integration(d, "For a rule", open_incident=False)
    d.service.call("POST", made["hook_url"], d.alert_body("Grouped alert"), token=None)
    d.open("/admin/rules/new")
    where = at("/admin/rules")
    typed = {
        "name": "", "matchers.0.field": "labels.service", "matchers.0.condition": "matches", "matchers.0.value": "(upload", "group_by": "service",
        "severity": "page", "resources": "savanna", "reopen_within": "-1",
    }
    d.refused(where, typed, "must not be empty", at="name")
    d.says_at("matchers.0.value", "", where)
    d.says_at("severity", "\u201cpage\u201d", where)
    d.says_at("resources", "\u201csavanna\u201d", where)
    d.says_at("reopen_within", "", where)
    typed = {
        "name": "By alertname", "matchers.0.field": "labels.alertname", "matchers.0.condition": "is", "matchers.0.value": "FileErrors",
        "group_by": "labels.alertname", "severity": "page = critical", "resources": "project savanna", "reopen_within": "0", "policy": "record",
    }
    d.refused(where, typed | {"body": ""}, "hoose a saved request to test the rule with", again="main form.edit", button="Test")
    # What a test shows is not stored, and the form keeps what was typed.
    where = "main form.edit"
    answer = d.press(d.fill_where(where, {"body": d.page.locator("#f-body option").nth(1).get_attribute("value")}), "Test")
    assert answer.ok, answer.status
    expect(d.page.get_by_text("Result of the test")).to_be_visible()
    expect(d.page.locator("[name=name]")).to_have_value("By alertname")
    assert not d.items("/alert-rules")
    d.accepted(where, {}, "The rule is saved.", "By alertname", button="Create rule")
    for rule in d.items("/alert-rules"):
        d.call("DELETE", f"/alert-rules/{rule['id']}")


@form("/rules/{id}", "/rules/{id}/move", "/rules/{id}/delete", template=("rule.html.hbs", "rules.html.hbs", "rules.html.hbs", "rules.html.hbs"))
def a_rule_is_changed_moved_and_deleted(d):
    first, second = (d.call("POST", "/alert-rules", RULE | {"name": name}) for name in ("First rule", "Second rule"))
    path = f"/admin/rules/{first['id']}"
    d.open(path)
    d.refused(at(path), {"name": "", "resources": "project nowhere"}, "must not be empty", at="name")
    d.refused(at(path), {"name": "First rule of all", "resources": "project nowhere"}, "nowhere", at="resources")
    d.accepted(at(path), {"resources": ""}, "The rule is saved.", "First rule of all")
    move = f"/admin/rules/{second['id']}/move"
    late = d.tab("/admin/rules")
    d.accepted(f'form[action="{move}"]:has([value=up])', {}, "The order of the rules is changed.")
    d.accepted(f'form[action="{move}"]:has([value=down])', {}, "The order of the rules is changed.")
    second = f"/admin/rules/{second['id']}"
    d.asked(f"{second}/delete", "Alerts that this rule grouped stay in their incidents.", "The rule is deleted.", lambda: expect(d.page.get_by_text("Second rule")).to_have_count(0))
    d.stale(late, f'form[action="{move}"]', "rule")
    late = d.tab("/admin/rules")
    d.call("DELETE", path.replace("/admin/rules", "/alert-rules"))
    d.stale(late, at(f"{path}/delete"), "rule")


@form("/quiet/silences", "/quiet/silences/{id}/end", template=("form.html.hbs", "ask.html.hbs"))
def a_silence_is_created_and_ended(d):
    d.open("/admin/quiet/silences/new")
    where = at("/admin/quiet/silences")
    typed = {"reason": "", "matchers.0.field": "", "matchers.0.value": "upload", "until": "", "time_zone": "Nairobi"}
    d.refused(where, typed, "must not be empty", at="reason")
    d.says_at("matchers.0.field", "", where)
    d.says_at("time_zone", "Nairobi", where)
    typed = {"reason": "We replace disks", "matchers.0.field": "labels.service", "until": "2026-01-01T00:00", "time_zone": "Africa/Nairobi"}
    d.refused(where, typed, "", at="until")
    d.accepted(where, {"until": d.later(hours=5)}, "The silence is created.", "We replace disks")
    made = next(one for one in d.items("/silences") if one["reason"] == "We replace disks")
    late = d.tab("/admin/quiet")
    path = f"/admin/quiet/silences/{made['id']}/end"
    d.asked(path, "", "The silence is ended.", "Past")
    d.stale(late, at(path), "ended")


@form("/quiet/windows", "/quiet/windows/{id}/end", template=("form.html.hbs", "ask.html.hbs"))
def a_maintenance_window_is_created_and_ended(d):
    d.open("/admin/quiet/windows/new")
    where = at("/admin/quiet/windows")
    typed = {"name": "", "resources": "savanna", "until": "", "schedule": "every night", "duration": "0"}
    d.refused(where, typed, "must not be empty", at="name")
    d.says_at("resources", "\u201csavanna\u201d", where)
    d.says_at("until", "", where)
    d.says_at("duration", "", where)
    typed = {"name": "Nightly backup", "resources": "project nowhere", "until": d.later(hours=30), "schedule": "0 22 * * *", "duration": ""}
    d.refused(where, typed, "", at="duration")
    d.refused(where, {"duration": "60"}, "nowhere", at="resources")
    d.accepted(where, {"resources": "project savanna"}, "The maintenance window is created.", "Nightly backup")
    made = next(one for one in d.items("/maintenance-windows") if one["name"] == "Nightly backup")
    late = d.tab("/admin/quiet")
    path = f"/admin/quiet/windows/{made['id']}/end"
    d.asked(path, "", "The maintenance window is ended.", "Past")
    d.stale(late, at(path), "ended")


@form("/watching/checks", "/watching/checks/{id}", "/watching/checks/{id}/delete", template=("form.html.hbs", "ask.html.hbs"))
def a_check_is_created_changed_and_deleted(d):
    d.open("/admin/watching/checks/new")
    where = at("/admin/watching/checks")
    typed = {
        "name": "", "url": "upload.example.com/health", "every_seconds": "1", "timeout_seconds": "0", "status": "ok", "headers": "Accept",
        "failures": "0", "resources": "upload",
    }
    d.refused(where, typed, "10", at="every_seconds")
    for name, says in [("timeout_seconds", ""), ("headers", "line 1 must be a name, a colon and a value"), ("failures", ""), ("resources", "\u201cupload\u201d")]:
        d.says_at(name, says, where)
    d.refused(where, {"every_seconds": "60", "timeout_seconds": "", "headers": "", "failures": "3", "resources": ""}, "\u201cok\u201d is not a status", at="status")
    d.refused(where, {"status": "200"}, "must not be empty", at="name")
    d.refused(where, {"name": "Upload"}, "http", at="url")
    typed = {
        "name": "Upload", "url": d.hook.url, "every_seconds": "3600", "timeout_seconds": "", "status": "200-299", "headers": "Accept: text/html",
        "failures": "3", "resources": "project savanna",
    }
    d.hook.status = 200
    d.accepted(where, typed, "The check is created.", "Upload")
    page = "/admin/watching/checks/" + next(one for one in d.items("/checks") if one["name"] == "Upload")["id"]
    d.open(page)
    d.refused(at(page), {"url": "ftp://files.example", "name": "Upload of files"}, "http", at="url")
    d.accepted(at(page), {"url": d.hook.url, "paused": "true"}, "The check is saved.", "Upload of files")
    d.open(page)
    late = d.tab(page)
    d.asked(f"{page}/delete", "This cannot be undone.", "The check is deleted.", "No checks.")
    d.stale(late, at(f"{page}/delete"), "check")


@form("/watching/heartbeats", "/watching/heartbeats/{id}", "/watching/heartbeats/{id}/delete", template=("form.html.hbs", "ask.html.hbs"))
def a_heartbeat_is_created_changed_and_deleted(d):
    d.open("/admin/watching/heartbeats/new")
    where = at("/admin/watching/heartbeats")
    d.refused(where, {"name": "", "every_seconds": "", "grace_seconds": "-5", "resources": "project nowhere"}, "", at="grace_seconds")
    d.refused(where, {"grace_seconds": "0"}, "", at="every_seconds")
    d.refused(where, {"every_seconds": "60"}, "must not be empty", at="name")
    typed = {"name": "Backup", "every_seconds": "86400", "grace_seconds": "3600"}
    d.refused(where, typed, "nowhere", at="resources")
    shown_once(d, d.fill_where(where, {"resources": "project savanna"}))
    d.shows("Backup")
    page = "/admin/watching/heartbeats/" + d.items("/heartbeats")[0]["id"]
    d.open(page)
    d.refused(at(page), {"every_seconds": "0", "name": "Nightly backup"}, "", at="every_seconds")
    d.accepted(at(page), {"every_seconds": "43200"}, "The heartbeat is saved.", "Nightly backup")
    d.open(page)
    late = d.tab(page)
    d.asked(f"{page}/delete", "This cannot be undone.", "The heartbeat is deleted.", "No heartbeats.")
    d.stale(late, at(f"{page}/delete"), "heartbeat")


@form(
    "/maintenances", "/maintenances/{id}/affected", "/maintenances/{id}/move", "/maintenances/{id}/cancel", "/maintenances/{id}/write", "/maintenances/{id}/begin", "/maintenances/{id}/finish",
    template=("form.html.hbs", "ask.html.hbs"),
)
def a_maintenance_is_planned_moved_and_cancelled(d):
    d.open("/admin/maintenances/new")
    where = at("/admin/maintenances")
    typed = {"title": "", "starts_at": d.later(hours=24), "ends_at": d.later(hours=23), "resources": "savanna", "message": "We move it."}
    d.refused(where, typed, "\u201csavanna\u201d", at="resources")
    d.refused(where, {"resources": "project nowhere", "title": "Move"}, "must be after starts_at", at="ends_at")
    d.refused(where, {"ends_at": d.later(hours=25)}, "nowhere", at="resources")
    d.accepted(where, {"resources": "project savanna"}, "Nobody is notified before you send this draft.", "Notice of maintenance")
    made = d.items("/maintenances")[0]
    page = f"/admin/maintenances/{made['id']}"
    d.open(page)
    d.page.get_by_role("link", name="Change what it affects").click()
    change = at(f"{page}/affected")
    d.refused(change, {"add": "project nowhere"}, "nowhere", at="add")
    d.refused(change, {"add": "", "components": "nothing"}, "is not a component", at="components")
    d.accepted(change, {"components": "", "remove": "project savanna"}, "Nobody was notified.", "Affected resources")
    d.open(f"{page}/affected")
    d.accepted(change, {"add": "project savanna"}, "Nobody was notified.", "savanna")
    d.open(f"{page}/move")
    move = at(f"{page}/move")
    d.refused(move, {"starts_at": d.later(hours=30), "ends_at": d.later(hours=29)}, "must be after starts_at", at="ends_at")
    d.accepted(move, {"ends_at": d.later(hours=31)}, "The maintenance is moved.", "Notice of maintenance")
    late = d.tab(page)
    d.open(page)
    d.asked(f"{page}/begin", "It begins by itself at its time.", "The maintenance has begun.", "in progress")
    d.stale(late, at(f"{page}/begin"), "has begun")
    d.open(f"{page}/write")
    write = at(f"{page}/write")
    d.refused(write, {"message": ""}, "must not be empty", at="message")
    d.accepted(write, {"message": "It has begun."}, "The draft is saved.", "Notice of maintenance")
    d.open(page)
    late = d.tab(page)
    d.asked(f"{page}/finish", "It ends by itself at its time.", "The maintenance is over.", "over")
    d.stale(late, at(f"{page}/finish"), "over")
    planned = {"title": "Other", "starts_at": d.later(hours=24) + ":00Z", "ends_at": d.later(hours=25) + ":00Z", "affected": [{"type": "project", "id": "savanna"}], "message": "We move it."}
    other = d.call("POST", "/maintenances", planned)
    page = f"/admin/maintenances/{other['id']}"
    late = d.tab(page)
    d.open(f"{page}/cancel")
    cancel = at(f"{page}/cancel")
    d.refused(cancel, {"message": "x" * 20_001}, "longer than", at="message")
    d.accepted(cancel, {"message": ""}, "The maintenance is cancelled.", "cancelled")
    d.stale(late, at(f"{page}/begin"), "cancelled")
