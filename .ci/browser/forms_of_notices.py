"""The forms of notices: writing, checking, approving, sending in waves, stopping, resending and correcting."""

import re

from playwright.sync_api import expect

from form_desk import NotOffered, at, form
from service import HOSTILE

WRITE, CHECK, SENT = "notice/write.html.hbs", "notice/check.html.hbs", "notice/sent.html.hbs"
IN_FRAME = "The frame beside the form says what is missing."


def draft(d, title, affected=(("project", "savanna"),), phase="detection", message="We are working on it.", **more):
    """The path of a new draft of another person."""
    n = d.number(title, affected, **more)
    return "/admin/notices/" + d.service.draft(d.of(n), message, phase=phase)["id"]


def seen(d, path):
    """The digest of a draft, as the API knows it."""
    return d.call("GET", path.removeprefix("/admin") + "/preview")["digest"]


def state(d, path):
    return d.call("GET", path.removeprefix("/admin"))["state"]


def sent(d, path):
    d.call("POST", path.removeprefix("/admin") + "/send", {"digest": seen(d, path)})
    d.until("the end of the notice", lambda: state(d, path) == "sent")


@form("/incidents/{id}/write", template=WRITE)
def a_notice_is_written(d):
    n = d.number("Written")
    path = f"/admin/incidents/{n}/write"
    d.open(path)
    typed = {"message": "", "headline": "h" * 200, "next_update": "at", "next_update_due_at": "2026-11-20T10:00", "time_zone": "Nairobi"}
    d.refused(at(path), typed, "Nairobi", at="time_zone")
    d.refused(at(path), {"time_zone": "UTC"}, "must not be empty", at="message")
    d.says_at("headline", "120", at(path))
    typed = {"message": "Some files cannot be opened.", "headline": "Some files", "time_zone": "UTC"}
    d.refused(at(path), typed, "must be in the future", at="next_update_due_at")
    d.refused(at(path), {"next_update": "PT1H", "next_update_due_at": "", "customer_action": "needed", "to_do": ""}, "must", at="to_do")
    german = {"to_do": "Open the file again.", "translations.de.headline": "Einige Dateien"}
    d.refused(at(path), german, "is missing", at="translations.de.message")
    german = {"translations.de.message": "Wir suchen die Ursache."}
    d.refused(at(path), german, "is missing", at="translations.de.to_do")
    d.accepted(at(path), {"translations.de.to_do": "Bitte noch einmal öffnen."}, "The draft is saved. Nothing is sent yet", "2 people")


@form("/incidents/{id}/write/preview", template=WRITE, never_wrong=IN_FRAME)
def a_new_notice_is_previewed(d):
    previewed(d, f"/admin/incidents/{d.number('Previewed')}/write")


@form("/notices/{id}/write/preview", template=WRITE, never_wrong=IN_FRAME)
def a_draft_is_previewed(d):
    previewed(d, draft(d, "Previewed draft") + "/write")


def previewed(d, path):
    d.open(path)
    one = d.page.locator("main form.edit")
    d.fill(one, {"message": ""})
    frame = d.page.frame_locator("iframe[name=mail-preview]")
    one.get_by_role("button", name="Show the email").click()
    expect(frame.get_by_text("The email appears here when the message is written")).to_be_visible()
    d.fill(one, {"message": f"It is slow. {HOSTILE}"})
    one.get_by_role("button", name="Show the email").click()
    expect(frame.get_by_text("It is slow. <img src=x onerror=alert(1)>").locator("visible=true").first).to_be_visible()
    assert d.page.url.endswith(path), d.page.url


@form("/notices/{id}/change", template=WRITE)
def a_draft_is_changed(d):
    path = draft(d, "Changed draft")
    d.open(f"{path}/write")
    where = at(f"{path}/change")
    d.refused(where, {"message": " ", "headline": "A headline"}, "must not be empty", at="message")
    d.accepted(where, {"message": "It is the disk."}, "The draft is saved. Nothing is sent yet", "It is the disk.")


@form("/notices/{id}/values", template="notice/values.html.hbs")
def the_values_of_recipients_are_uploaded(d):
    path = draft(d, "Values", message="Your code is {{values.code}}.")
    where = at(f"{path}/values")
    d.open(path)
    d.refused(where, {"values": "person,code\nnobody,A-1"}, "nobody", at="values")
    d.refused(where, {"values": "amina A-1"}, "", at="values")
    d.refused(where, {"values": ""}, "", at="values")
    d.accepted(where, {"values": "person,code\namina,A-1\nwanjiru,B-2"}, "The values of 2 people are stored.", "Send to 2 people")
    file = {"name": "values.csv", "mimeType": "text/csv", "buffer": b"person,code\namina,C-3\nwanjiru,D-4"}
    d.accepted(where, {"file": file}, "The values of 2 people are stored.", "C-3")


@form("/notices/{id}/test", template=CHECK)
def a_test_is_sent(d):
    path = draft(d, "Tested")
    d.open(path)
    d.mail.refused.append("ops@nyota.example")
    answer = d.press(d.fill_at(f"{path}/test", {"to": "ops@nyota.example"}))
    assert answer.ok, answer.status
    expect(d.page.get_by_role("alert").filter(has_text="The mail server did not accept the test")).to_be_visible()
    d.mail.refused.remove("ops@nyota.example")
    d.accepted(at(f"{path}/test"), {"to": "ops@nyota.example"}, "The test was sent.")
    assert "ops@nyota.example" in d.mail.recipients()
    # An operator who is deleted meanwhile cannot be chosen any more.
    d.refused(at(f"{path}/test"), {"to": NotOffered("grace@kilele.example")}, "Nothing was done:", kept=False)


@form("/notices/{id}/ask-for-approval", template="notice/approval.html.hbs")
def an_approval_is_asked_for(d):
    path = d.above_the_limit("Asked", mine=True)
    d.open(path)
    late = d.tab(path)
    d.call("PATCH", path.removeprefix("/admin"), {"message": "Another text."})
    d.stale(late, at(f"{path}/ask-for-approval"), "changed since you looked", status=(409,))
    d.page.reload()
    d.accepted(at(f"{path}/ask-for-approval"), {}, "Operators are asked to approve this notice.", "asked for an approval")


@form("/notices/{id}/approve", template="notice/approval.html.hbs")
def a_notice_is_approved(d):
    path = d.above_the_limit("Approved")
    d.open(path)
    late = d.tab(path)
    d.call("PATCH", path.removeprefix("/admin"), {"message": "Another text."})
    d.stale(late, at(f"{path}/approve"), "changed since you looked", status=(409,))
    d.page.reload()
    d.accepted(at(f"{path}/approve"), {}, "You approved this list and this text.", "complete")


@form("/notices/{id}/break-glass", template="notice/break-glass.html.hbs")
def the_glass_is_broken(d):
    path = d.above_the_limit("Broken glass", mine=True)
    d.open(path)
    d.refused(at(f"{path}/break-glass"), {"reason": "urgent"}, "10 characters", at="reason")
    d.accepted(at(f"{path}/break-glass"), {"reason": "Nobody else is awake, and files are lost."}, "Break glass is used", "Nobody else is awake")


@form("/notices/{id}/discard", template="ask.html.hbs")
def a_draft_is_discarded(d):
    path = draft(d, "Discarded")
    d.open(path)
    late = d.tab(path)
    d.asked(f"{path}/discard", "This cannot be undone.", "The draft is discarded. Nothing was sent.", "No notices.")
    d.stale(late, at(f"{path}/discard"), re.compile("not found", re.I))


@form("/notices/{id}/send", template=CHECK)
def a_notice_is_sent(d):
    path = draft(d, "Sent")
    d.open(path)
    late = d.tab(path)
    incident = d.call("GET", path.removeprefix("/admin"))["incident"]
    d.call("POST", f"/incidents/{incident}/affected/people", {"people": ["grace"]})
    d.stale(late, at(f"{path}/send"), "The list changed since you looked: 1 person added", status=(409,))
    d.page.reload()
    d.accepted(at(f"{path}/send"), {}, "The notice is being sent. You can stop it on this page.", re.compile("of 3"), button="Send to 3 people")
    d.until("the end of the notice", lambda: state(d, path) == "sent")


@form("/notices/{id}/hold", "/notices/{id}/continue", "/notices/{id}/stop", "/notices/{id}/resume", template=("notice/sending.html.hbs", SENT, SENT, "ask.html.hbs"))
def a_notice_in_waves_is_held_continued_stopped_and_resumed(d):
    path = draft(d, "Waves", [("project", "stage")])
    d.open(path)
    d.accepted(at(f"{path}/send"), {"waves": "in_waves", "pause": "PT1H"}, "The notice is being sent.", "Wave 1 of 3")
    d.until("the end of the first wave", lambda: len([to for to in d.mail.recipients() if to.endswith("@crowd.example")]) == 10)
    d.page.reload()
    hold, held = at(f"{path}/hold"), d.tab(path)
    d.accepted(hold, {"reason": "Too many complaints"}, "The notice is held.", "Too many complaints")
    late = d.tab(path)
    d.asked(f"{path}/continue", "The others wait.", "Wave 2 has begun.", "Wave 2 of 3")
    d.stale(late, at(f"{path}/continue"), "Nothing was done:")
    late = d.tab(path)
    d.accepted(at(f"{path}/stop"), {}, "The notice is stopped.", "Resume and send to")
    d.stale(late, at(f"{path}/stop"), "Nothing was done:")
    d.stale(held, hold, "Nothing was done:")
    late = d.tab(path)
    d.accepted(at(f"{path}/resume"), {}, "The notice is being sent to those who did not get it.", re.compile("of 20"))
    d.stale(late, at(f"{path}/resume"), "Nothing was done:")
    d.until("the end of the notice", lambda: state(d, path) == "sent")


@form("/notices/{id}/catch-up", template=SENT)
def a_notice_is_caught_up(d):
    path = draft(d, "Caught up", [("project", "kilele")])
    sent(d, path)
    incident = d.call("GET", path.removeprefix("/admin"))["incident"]
    d.call("POST", f"/incidents/{incident}/affected/people", {"people": ["amina"]})
    d.open(path)
    late = d.tab(path)
    d.accepted(at(f"{path}/catch-up"), {}, "This draft says the same to those who have not got it. Nothing is sent yet.", "Send to 1 person")
    d.call("POST", f"/incidents/{incident}/affected/people/remove", {"people": ["amina"]})
    d.stale(late, at(f"{path}/catch-up"), "Nothing was done:")


@form("/notices/{id}/resend-failed", "/deliveries/{id}/resend", template=("ask.html.hbs", "notice/deliveries.html.hbs"))
def what_failed_is_sent_again(d):
    d.service.load([
        {"kind": "account", "id": "lost", "name": "Lost"},
        {"kind": "resource", "type": "project", "id": "lost", "account": "lost"},
        {"kind": "person", "id": "lost-1", "name": "Lost One", "email": "one@lost.example"},
        {"kind": "person", "id": "lost-2", "name": "Lost Two", "email": "two@lost.example"},
        {"kind": "member", "account": "lost", "person": "lost-1", "role": "owner"},
        {"kind": "member", "account": "lost", "person": "lost-2", "role": "owner"},
    ])
    d.mail.refused += ["one@lost.example", "two@lost.example"]
    path = draft(d, "Failed", [("project", "lost")])
    sent(d, path)
    d.open(path)
    resend = d.page.locator("#deliveries form").first.get_attribute("action")
    late, later = d.tab(path), d.tab(path)
    d.mail.refused.remove("one@lost.example")
    d.mail.refused.remove("two@lost.example")
    d.accepted(at(resend), {}, "The email is being sent again.")
    d.until("the email", lambda: any("@lost.example" in to for to in d.mail.recipients()))
    d.stale(late, at(resend), "Nothing was done:")
    d.until("the state", lambda: state(d, path) == "sent")
    d.open(path)
    d.asked(f"{path}/resend-failed", "once more", "1 delivery is being sent again.")
    d.until("both emails", lambda: len([to for to in d.mail.recipients() if "@lost.example" in to]) == 2)
    d.until("the state", lambda: state(d, path) == "sent")
    d.stale(later, at(f"{path}/resend-failed"), "Nothing was done:")


@form("/notices/{id}/correction")
def a_correction_is_drafted(d):
    path = draft(d, "Corrected")
    sent(d, path)
    incident = d.call("GET", path.removeprefix("/admin"))["incident"]
    d.call("DELETE", f"/incidents/{incident}/affected/project/savanna")
    d.open(path)
    where = at(f"{path}/correction")
    d.refused(where, {"message": " "}, "must not be empty", at="message")
    d.accepted(where, {"message": "You were not affected. We are sorry."}, "The correction is drafted. Nothing is sent yet.", "You were not affected. We are sorry.")


@form("notice/recipients.html.hbs: q", template="notice/recipients.html.hbs")
def recipients_are_searched(d):
    path = draft(d, "Recipients")
    d.searched(path, "q", "nobody here", "No recipient matches \u201cnobody here\u201d.", status=200)
    d.searched(path, "q", "wanjiru", "wanjiru@nyota.example")
