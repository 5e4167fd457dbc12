"""The searches and filters, the forms without a change. A wrong input is one that finds nothing, or that cannot be read."""

from playwright.sync_api import expect

from form_desk import form


@form("layout.html.hbs: q", "search.html.hbs: q", template=("layout.html.hbs", "search.html.hbs"))
def everything_is_searched(d):
    d.number("Searched by its title")
    page = d.open("/admin")
    page.keyboard.press("/")
    page.keyboard.type("zzzz nothing")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing contains \u201czzzz nothing\u201d.")).to_be_visible()
    d.searched(page.url, "q", "rched by its tit", "Searched by its title")
    d.searched(page.url, "q", "anji", "Wanjiru")
    d.searched(page.url, "q", "", "Type the number of an incident")


@form("incidents.html.hbs: severity", template="incidents.html.hbs")
def incidents_are_filtered(d):
    n = d.number("A minor one", severity="minor")
    d.call("PATCH", f"/incidents/{d.of(n)['id']}", {"owner": "Filter Owner"})
    page = "/admin/incidents"
    d.searched(page, "owner", "nobody of this name", "No incident matches.")
    d.filtered(page, {"owner": "Filter Owner", "severity": "critical"}, "No incident matches.")
    d.filtered(page, {"owner": "Filter Owner", "severity": "minor"}, "A minor one")
    d.filtered(page, {"owner": "Filter Owner", "led_by": True}, "No incident matches.")


@form("incident/audience.html.hbs: q", "incident/why.html.hbs: who", template=("incident/audience.html.hbs", "incident/why.html.hbs"))
def the_people_of_an_incident_are_searched(d):
    page = f"/admin/incidents/{d.number('Searched')}/people"
    d.searched(page, "q", "nobody here", "0 people found")
    d.searched(page, "q", "wanjiru", "wanjiru@nyota.example")
    d.searched(page, "who", "nobody@nowhere.example", "The directory has no person with the ID or address")
    d.searched(page, "who", "amina", "Default audience:")


@form("accounts.html.hbs: q", template="accounts.html.hbs")
def accounts_are_searched(d):
    d.searched("/admin/directory/accounts", "q", "nothing here", "No account has this in its name or ID.")
    d.searched("/admin/directory/accounts", "q", "yota", "Nyota Films")


@form("people.html.hbs: q", template="people.html.hbs")
def people_are_searched(d):
    d.searched("/admin/directory/people", "q", "nothing here", "Nobody has this in the name, the address or the ID.")
    d.searched("/admin/directory/people", "q", "anjiru@ny", "Wanjiru")


@form("resources.html.hbs: q", "resources.html.hbs: type", template=("resources.html.hbs",) * 2)
def resources_are_searched(d):
    page = "/admin/directory/resources"
    d.searched(page, "q", "nothing here", "No resource matches.")
    d.searched(page, "q", "interv", "Interview")
    d.filtered(page, {"type": "file", "label": "provider"}, "name=value", field="label", refused=True)
    d.filtered(page, {"type": "file", "label": "provider=gcs"}, "No resource matches.", field="label")
    d.filtered(page, {"type": "file", "label": "provider=s3"}, "m9-v1", field="label")


@form("suppressions.html.hbs: address", template="suppressions.html.hbs")
def suppressions_are_searched(d):
    page = "/admin/directory/suppressions"
    d.searched(page, "address", "nobody@nowhere.example", "No suppressed address matches.")
    d.searched(page, "address", "not an address", "No suppressed address matches.")
    d.suppressed("searched")
    d.searched(page, "address", "searched@opted.example", "The person unsubscribed from updates.")


@form("feedback.html.hbs: kind", template="feedback.html.hbs")
def reports_are_filtered(d):
    page = "/admin/feedback"
    d.filtered(page, {"kind": "complaint", "matched": "true"}, "No report matches.", field="kind")
    d.bounced("filtered")
    d.filtered(page, {"kind": "hard"}, "filtered@bounced.example", field="kind")


@form("alerts.html.hbs: q", template="alerts.html.hbs")
def alerts_are_filtered(d):
    d.alerted("/api/projects/savanna/media/m9", "Alerts are filtered")
    page = "/admin/alerts"
    d.filtered(page, {"q": "nothing here"}, "No alert matches")
    d.filtered(page, {"incident": "9999999"}, "There is no incident with this number.")
    d.filtered(page, {"q": "are filtered", "status": "firing", "severity": "critical"}, "Alerts are filtered")


@form("audit.html.hbs: incident", template="audit.html.hbs")
def the_audit_is_filtered(d):
    n = d.number("Audited")
    page = "/admin/audit"
    d.filtered(page, {"incident": "the last one"}, "incident", field="actor", refused=True)
    d.filtered(page, {"incident": "9999999"}, "incident", field="actor", refused=True)
    d.filtered(page, {"actor": "Nobody"}, "no event has this value", field="actor", refused=True)
    d.filtered(page, {"subject": "nothing"}, "no event has this value", field="actor", refused=True)
    d.filtered(page, {"incident": str(n), "action": "incident.opened"}, "Audited", field="actor")
    d.filtered(page, {"incident": str(n), "from": "2060-01-01T00:00"}, "No event matches.", field="actor")


@form("follow-ups.html.hbs: owner", template="follow-ups.html.hbs")
def next_steps_are_filtered(d):
    d.step("Filtered step", owner="Step Owner")
    d.searched("/admin/follow-ups", "owner", "Nobody", "No step is open for this owner")
    d.searched("/admin/follow-ups", "owner", "Step Owner", "Filtered step")
