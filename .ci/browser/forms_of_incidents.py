"""The forms of incidents: opening, changing, the timeline, resources and people, answers, next steps and the report."""

from playwright.sync_api import expect

from form_desk import NotOffered, at, form, with_field

LONG = "x" * 10_000


@form("/incidents/new")
def an_incident_is_opened(d):
    d.open("/admin/incidents/new")
    typed = {"title": "", "headline": "Some files", "resources": "savanna", "started_at": "2026-11-20T10:00", "time_zone": "Mars/Base", "summary": "Since noon"}
    form = at("/admin/incidents/new")
    d.refused(form, typed, "\u201csavanna\u201d must be a type and an ID", at="resources")
    d.says_at("time_zone", "Mars/Base", form)
    d.refused(form, {"resources": "", "time_zone": "UTC"}, "must not be empty", at="title")
    d.refused(form, {"title": "Opened", "resources": "project nowhere", "time_zone": "Africa/Nairobi"}, "project nowhere is not in the directory", at="resources")
    d.refused(form, {"title": LONG, "resources": "project savanna"}, "longer than", at="title")
    d.accepted(form, {"title": "Files of Savanna fail"}, "The incident is open. No customer is notified yet.", "Files of Savanna fail")


@form("/incidents/new", template="kept.html.hbs")
def a_form_of_an_ended_session_is_sent_later(d):
    page = d.open("/admin/incidents/new")
    d.fill(d.find(at("/admin/incidents/new")), {"title": "", "summary": "Typed before the session ended"})
    page.context.clear_cookies()
    answer = d.press(page.locator(at("/admin/incidents/new")))
    assert answer.status == 401, answer.status
    sign_in(d)
    # What was kept can be wrong. It is then a form like any other.
    d.refused(at("/admin/incidents/new"), {}, "must not be empty", at="title", kept=False)
    expect(page.locator("[name=summary]")).to_have_value("Typed before the session ended")
    page.context.clear_cookies()
    d.fill(d.find(at("/admin/incidents/new")), {"title": "Kept for later"})
    d.press(page.locator(at("/admin/incidents/new")))
    sign_in(d)
    d.accepted(at("/admin/incidents/new"), {}, "The incident is open.", "Kept for later")


def sign_in(d):
    d.page.get_by_label("Token").fill(d.token)
    d.page.get_by_role("button", name="Sign in").click()
    expect(d.page.get_by_role("navigation", name="Main menu")).to_be_visible()


@form("/incidents/{id}/edit")
def an_incident_is_edited(d):
    n = d.number("Edited")
    path = f"/admin/incidents/{n}/edit"
    d.open(path)
    d.refused(at(path), {"title": "", "headline": "y" * 121, "summary": "Kept"}, "must not be empty", at="title")
    d.says_at("headline", "120", at(path))
    d.refused(at(path), {"title": "Edited", "headline": "", "time_zone": "Nairobi"}, "Nairobi", at="time_zone")
    typed = {"title": "Edited by hand", "headline": "Some files cannot be opened", "time_zone": "Africa/Nairobi", "severity": "minor"}
    # Somebody else changes the same field meanwhile.
    d.call("PATCH", f"/incidents/{d.of(n)['id']}", {"title": "Changed by another"})
    d.refused(at(path), typed, "somebody changed it to \u201cChanged by another\u201d since", at="title")
    d.accepted(at(path), {}, "The incident is saved.", "Some files cannot be opened")
    assert d.of(n)["title"] == "Edited by hand", d.of(n)


@form("/incidents/{id}/status")
def the_status_changes(d):
    n = d.number("Status")
    path = f"/admin/incidents/{n}/status"
    d.open(f"/admin/incidents/{n}")
    typed = {"status": "identified", "message": "The disk is full", "at": "2026-11-20T10:00", "time_zone": "Moon"}
    d.refused(at(path), typed, "Moon", at="time_zone")
    d.refused(at(path), {"time_zone": "UTC", "at": "2060-01-01T00:00"}, "future", at="at")
    d.accepted(at(path), {"at": ""}, "The status is now identified. Customers were not notified by this.", "The disk is full")


@form("/incidents/{id}/severity")
def the_severity_changes(d):
    n = d.number("Severity")
    path = f"/admin/incidents/{n}/severity"
    d.open(f"/admin/incidents/{n}")
    d.refused(at(path), {"severity": NotOffered("terrible")}, "must be", at="severity", kept=False)
    d.accepted(at(path), {"severity": "critical"}, "The severity is now critical.")
    assert d.of(n)["severity"] == "critical"


@form("/incidents/{id}/owner", template=("form.html.hbs", "incident/head.html.hbs"))
def the_owner_changes(d):
    n = d.number("Owner")
    path, page = f"/admin/incidents/{n}/owner", f"/admin/incidents/{n}"
    d.open(page)
    saved = f'form.edit[action="{path}"]'
    d.refused(saved, {"owner": "z" * 300}, "longer than", at="owner")
    d.accepted(saved, {"owner": "Grace"}, "The owner is now Grace.", "Grace")
    d.accepted(f'form.take[action="{path}"]', {}, "The owner is now Ada.", "Ada", at=None)
    d.accepted(saved, {"owner": ""}, "The incident has no owner now.", "nobody")


@form("/incidents/{id}/timeline", template=("form.html.hbs", "incident.html.hbs"))
def a_timeline_entry_is_added(d):
    n = d.number("Timeline")
    path, page = f"/admin/incidents/{n}/timeline", f"/admin/incidents/{n}"
    note, entry = f'form.note-form[action="{path}"]', f'form.edit[action="{path}"]'
    d.open(page)
    # The note alone becomes the whole form, with the error at its field.
    d.refused(note, {"text": "  "}, "must not be empty", at="text", again=entry, kept=False)
    d.accepted(entry, {"text": "Rolled back to 4.12"}, "The entry is on the timeline.", "Rolled back to 4.12")
    d.accepted(note, {"text": "It is quiet now"}, "The entry is on the timeline.", "It is quiet now")
    typed = {"kind": "mitigated", "text": "Disks were added", "at": "2026-11-20T10:00", "time_zone": "Nairobi", "internal": "false"}
    d.refused(entry, typed, "Nairobi", at="time_zone")
    d.accepted(entry, {"time_zone": "Africa/Nairobi"}, "The entry is on the timeline.", "Disks were added")


@form("/incidents/{id}/next-steps")
def a_next_step_is_added(d):
    n = d.number("Step")
    path = f"/admin/incidents/{n}/next-steps"
    d.open(path)
    typed = {"text": "", "owner": "Grace", "due_on": "tomorrow", "link": "jira"}
    d.refused(at(path), typed, "must not be empty", at="text")
    d.says_at("due_on", "date", at(path))
    d.says_at("link", "http", at(path))
    typed = {"text": "Write a test", "due_on": "2027-01-31", "link": "https://tasks.example/1"}
    d.accepted(at(path), typed, "The step is added.", "Write a test")


@form("/next-steps/{id}")
def a_next_step_is_edited(d):
    step = d.step("Edit me")
    path = f"/admin/next-steps/{step['id']}"
    d.open(path)
    d.refused(at(path), {"due_on": "31.4.2027", "text": "Edited text"}, "date", at="due_on")
    d.accepted(at(path), {"due_on": "2027-04-30"}, "The step is saved.", "Edited text")


@form("/next-steps/{id}/state", template=("incident/steps.html.hbs", "follow-ups.html.hbs"), never_wrong="It is a button. Doing it twice changes nothing.")
def a_next_step_is_done(d):
    step = d.step("Do me", "Owner Do")
    path = f"/admin/next-steps/{step['id']}/state"
    d.open("/admin/follow-ups?owner=Owner+Do")
    d.accepted(at(path), {}, "The step is done.", "No step is open for this owner", at="/admin/follow-ups?owner=Owner+Do")
    n = step["number"]
    d.open(f"/admin/incidents/{n}/follow-ups")
    d.accepted(at(path), {}, "The step is open again.", "Mark as done")
    d.accepted(at(path), {}, "The step is done.", "Open again")


@form("/incidents/{id}/resources", "incident/resources.html.hbs: q", template=("form.html.hbs", "incident/resources.html.hbs"))
def resources_are_added_as_a_list(d):
    n = d.number("Resources")
    path = f"/admin/incidents/{n}/resources"
    d.open(path)
    d.refused(at(path) + ".edit", {"resources": "file m9-v1\nsavanna\nproject nowhere"}, "\u201csavanna\u201d must be a type and an ID", at="resources")
    d.refused(at(path) + ".edit", {"resources": "file m9-v1\nproject nowhere"}, "project nowhere is not in the directory", at="resources")
    d.accepted(at(path) + ".edit", {"resources": "file m9-v1"}, "1 resource is added.", "file m9-v1")
    d.searched(path, "q", "nothing at all", "No affected resource matches.")
    d.searched(path, "q", "m9", "file m9-v1")


@form("/incidents/{id}/resources/selector", "/incidents/{id}/resources/remove", "incident/resources.html.hbs: selector", template=("incident/resources.html.hbs",) * 2)
def resources_are_added_with_a_filter(d):
    d.service.load([{"kind": "resource", "type": "temporary", "id": f"t{i}", "account": "nyota"} for i in range(3)])
    n = d.number("Filter")
    path = f"/admin/incidents/{n}/resources"
    d.open(path)
    d.searched(path, "selector", "(type:temporary", "character")
    d.in_words()
    d.searched(path, "selector", "typ:temporary", "typ")
    d.searched(path, "selector", "type:temporary", "3 resources")
    # The resources are archived after they were counted.
    late = d.tab(f"{path}?selector=type%3Atemporary")
    d.accepted(at(f"{path}/selector"), {}, "3 resources are added.", "temporary t1")
    later = d.tab(f"{path}?selector=type%3Atemporary")
    for i in range(3):
        d.call("DELETE", f"/resources/temporary/t{i}")
    d.stale(late, at(f"{path}/selector"), "no resource has the type")
    d.stale(later, f'form[action="{path}/remove"]:has([name=selector])', "no resource has the type")


@form("/incidents/{id}/resources/remove", template="ask.html.hbs")
def resources_are_removed(d):
    n = d.number("Removed", [("file", "m9-v1"), ("file", "m9-v2"), ("media", "m9")])
    path = f"/admin/incidents/{n}/resources"
    d.open(path)
    late = d.tab(path)
    d.asked(f"{path}/remove", "does not count as affected any more", "1 resource is removed.", lambda: gone(d, "file m9-v1"), fields={"resources": "file m9-v1"})
    d.stale(late, f'details.ask form[action="{path}/remove"]:has([value="file m9-v1"])', "is not affected by this incident any more")
    d.open(f"{path}?selector=type%3Afile")
    where = f'details.ask form[action="{path}/remove"]:has([name=selector])'
    d.asked(f"{path}/remove", "They do not count as affected any more.", "1 resource is removed.", lambda: gone(d, "file m9-v2"), where=where)


def gone(d, link):
    expect(d.page.get_by_role("main").get_by_role("link", name=link)).to_have_count(0)


@form("/incidents/{id}/unmatched", template="incident/unmatched.html.hbs", never_wrong="It is a button that searches again.")
def unmatched_ids_are_searched_again(d):
    n = d.alerted("/api/projects/unknown-p/media/m9")
    d.open(f"/admin/incidents/{n}/unmatched")
    d.service.load([{"kind": "resource", "type": "project", "id": "unknown-p", "account": "nyota"}])
    d.accepted(at(f"/admin/incidents/{n}/unmatched"), {}, "1 ID was found in the directory.", "Every ID in the alerts is in the directory.")


NAMED = "incident/people-named.html.hbs"


@form("/incidents/{number}/people", f"{NAMED}: named", template=(NAMED, NAMED))
def people_are_added_as_a_list(d):
    n = d.number("Named")
    path, page = f"/admin/incidents/{n}/people", f"/admin/incidents/{n}/named"
    d.open(page)
    d.refused(at(path), {"people": "grace\nnobody@nowhere.example"}, "\u201cnobody@nowhere.example\u201d", at="people")
    d.refused(at(path), {"people": ""}, "must", at="people")
    d.accepted(at(path), {"people": "grace@kilele.example"}, "1 person is added.", "Grace")
    d.searched(page, "named", "wanjiru", "0 people found.")
    d.searched(page, "named", "grace", "Grace")


@form("/incidents/{number}/people/selector", f"{NAMED}: accounts", template=NAMED)
def people_are_added_with_a_filter(d):
    n = d.number("Filter of people")
    page = f"/admin/incidents/{n}/named"
    path = f"/admin/incidents/{n}/people/selector"
    d.open(page)
    one = d.find(with_field("accounts"))
    d.fill(one, {"accounts": "nobody-knows", "labels": "tier"})
    d.press(one)
    expect(d.page.locator("#people-count .wrong").first).to_be_visible()
    d.in_words()
    expect(d.page.locator("[name=labels]").first).to_have_value("tier")
    d.fill(d.find(with_field("accounts")), {"accounts": "nyota", "roles": "owner", "labels": ""})
    d.press(d.find(with_field("accounts")))
    expect(d.page.get_by_text("1 person").first).to_be_visible()
    # The account is renamed meanwhile, so the filter finds nobody.
    d.service.load([{"kind": "account", "id": "short", "name": "Short"}, {"kind": "member", "account": "short", "person": "grace", "role": "owner"}])
    late = d.tab(f"{page}?accounts=short")
    d.accepted(at(path), {}, "1 person is added.", "Amina")
    d.call("DELETE", "/accounts/short")
    d.stale(late, at(path), "short")


@form("/incidents/{number}/people/remove", template=(NAMED, "ask.html.hbs"))
def people_are_removed(d):
    n = d.number("Named and removed")
    d.call("POST", f"/incidents/{d.of(n)['id']}/affected/people", {"people": ["grace", "wanjiru"]})
    path, page = f"/admin/incidents/{n}/people", f"/admin/incidents/{n}/named"
    d.open(page)
    d.asked(f"{path}/remove", "", "1 person is removed.", lambda: gone(d, "Grace"), fields={"people": "grace"})
    button = "Remove the people in the field"
    d.refused(at(path), {"people": "nobody"}, "\u201cnobody\u201d", at="people", button=button)
    d.accepted(at(path), {"people": "wanjiru"}, "1 person is removed.", "Nobody is added manually", button=button)


@form("/incidents/{id}/answers")
def an_answer_is_recorded_for_a_person(d):
    n = d.told("Answers")
    path = f"/admin/incidents/{n}/answers"
    d.open(path)
    d.refused(at(path), {"person": "", "answer": "broken", "text": "She called us"}, "the directory has no person with this ID", at="person")
    d.refused(at(path), {"person": "nobody", "at": "2026-11-20T10:00", "time_zone": "Nairobi"}, "Nairobi", at="time_zone")
    d.refused(at(path), {"person": "nobody", "at": "", "time_zone": "UTC"}, "the directory has no person with this ID", at="person")
    d.accepted(at(path), {"person": "amina"}, "The answer is recorded.", "She called us")


@form("/incidents/{id}/answers/remind", template="ask.html.hbs")
def a_reminder_is_drafted(d):
    n = d.told("Reminder")
    path = f"/admin/incidents/{n}/answers"
    d.open(path)
    late = d.tab(path)
    d.asked(f"{path}/remind", "were asked and have not answered", "This draft asks those who have not answered.", "draft")
    for person in ("amina", "wanjiru"):
        d.call("POST", f"/incidents/{d.of(n)['id']}/answers", {"person": person, "answer": "works"})
    d.stale(late, at(f"{path}/remind"), "answer")


@form("/incidents/{id}/report/edit", template="report.html.hbs")
def a_report_is_written(d):
    n = d.number("Report")
    path = f"/admin/incidents/{n}/report/edit"
    d.open(path)
    d.refused(at(path), {"title": "", "heading_0": "What happened", "text_0": "A disk was full."}, "must not be empty", at="title")
    d.refused(at(path), {"title": "The full disk", "heading_0": ""}, "must not be empty", at="heading_0")
    d.accepted(at(path), {"heading_0": "What happened"}, "The report is saved. It is not published by this.", "A disk was full.")
    # Somebody else saves the report meanwhile.
    report = {"title": "By another", "sections": [{"heading": "H", "text": "T", "audience": "public"}]}
    d.call("PUT", f"/incidents/{d.of(n)['id']}/report", report)
    d.refused(at(path), {"title": "Mine"}, "somebody", status=422)


@form("/incidents/{id}/report/publish", "/incidents/{id}/report/unpublish", template="ask.html.hbs", never_wrong="It says on the page that nothing was done.")
def a_report_is_published_and_taken_back(d):
    n = d.number("Published")
    report = {"title": "What the public reads", "sections": [{"heading": "H", "text": "T", "audience": "public"}]}
    d.call("PUT", f"/incidents/{d.of(n)['id']}/report", report)
    page = f"/admin/incidents/{n}/report"
    d.open(page)
    d.asked(f"{page}/publish", "Everybody can read the public sections", "The report is published.", "published")
    late = d.tab(page)
    d.asked(f"{page}/unpublish", "Nobody outside reads the report any more.", "The report is not published any more.", "not published")
    d.stale(late, at(f"{page}/unpublish"), "Nothing was done:", status=(200,))


@form("/incidents/{id}/automation/hold", "/incidents/{id}/automation/release", template=("incident/head.html.hbs", "now.html.hbs"), never_wrong="It says on the page that nothing was changed.")
def a_policy_is_held_and_released(d):
    policy = d.call("POST", "/automation/policies", {"name": "Waits", "action": "draft", "wait_seconds": 3600, "message": "We look at it."})
    n = d.alerted("/api/projects/savanna/media/m9", "Something waits")
    page = f"/admin/incidents/{n}"
    hold, release = at(f"{page}/automation/hold"), at(f"{page}/automation/release")
    d.open(page)
    late = d.tab(page)
    d.accepted(hold, {}, "Policy \u201cWaits\u201d is held.", "held by")
    d.stale(late, hold, "Nothing was changed:", status=(200,))
    late = d.tab(page)
    d.accepted(release, {}, "Policy \u201cWaits\u201d is released.")
    d.stale(late, release, "Nothing was changed:", status=(200,))
    d.open("/admin")
    d.accepted(hold, {}, "Policy \u201cWaits\u201d is held.", "held by")
    d.accepted(release, {}, "Policy \u201cWaits\u201d is released.")
    d.call("DELETE", f"/automation/policies/{policy['id']}")


@form("/incidents/{id}/posts", "/incidents/{id}/posts/{post}", "/incidents/{id}/posts/{post}/delete", template=("form.html.hbs", "ask.html.hbs"), never_wrong={"/incidents/{id}/posts/{post}/delete": "It has no input."})
def a_post_is_made_changed_and_taken_back(d):
    d.call("PUT", "/components/uploads", {"name": "Uploads"})
    n = d.number("Post")
    path = f"/admin/incidents/{n}/posts"
    d.open(f"{path}/new")
    typed = {"message": "", "title": "Uploads fail", "components": "uploads broken"}
    d.refused(at(path), typed, "must not be empty", at="message")
    d.says_at("components", "state of a component", at(path))
    d.accepted(at(path), {"message": "We know the cause.", "components": "uploads major_outage"}, "The post is on the status page.", "Uploads fail")
    post = d.items(f"/incidents/{d.of(n)['id']}/posts")[0]["id"]
    one = f"{path}/{post}"
    d.open(one)
    d.refused(at(one), {"components": "nothing major_outage"}, "is not a component")
    d.accepted(at(one), {"message": "It is fixed.", "components": ""}, "The post is changed.", "It is fixed.")
    d.open(one)
    d.asked(f"{one}/delete", "The status page shows this post no more.", "The post is taken back.", "No posts.")
