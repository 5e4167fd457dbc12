"""The forms about what was recorded: emails to an address, evidence, the proof of the audit trail, erasures, backups, emergency notices,
and the internal report."""

import io
import re
import sqlite3
import zipfile
from pathlib import Path

from playwright.sync_api import expect

from form_desk import at, form


@form("deliveries.html.hbs: address", "directory.html.hbs: address", template=("deliveries.html.hbs", "directory.html.hbs"))
def the_emails_to_an_address_are_searched(d):
    d.told("Sent to an address")
    page = "/admin/deliveries"
    d.searched(page, "address", "nobody@nowhere.example", "No email matches.")
    d.searched(page, "address", "not an address", "No email matches.")
    d.searched(page, "address", "AMINA@nyota.example", "Sent to an address")
    d.filtered(page, {"address": "amina@nyota.example", "person": "wanjiru"}, "No email matches.", field="person")
    d.filtered(page, {"person": "wanjiru", "account": "crowd"}, "No email matches.", field="person")
    d.filtered(page, {"person": "amina", "account": "nyota"}, "Sent to an address", field="person")
    # The search of the customers leads to the same page.
    d.searched("/admin/directory", "address", "nobody@nowhere.example", "No email matches.")
    d.searched("/admin/directory", "address", "wanjiru@nyota.example", "Sent to an address")
    d.page.get_by_role("link", name="View the mail").first.click()
    d.shows("wanjiru@nyota.example")


@form("/incidents/{id}/evidence")
def the_evidence_is_downloaded(d):
    n = d.told("Proven")
    path = f"/admin/incidents/{n}/evidence"
    d.open(path)
    d.refused(at(path), {"person": "nobody", "account": ""}, "there is no person with this ID", at="person")
    d.refused(at(path), {"person": "", "account": "nobody"}, "there is no account with this ID", at="account")
    d.refused(at(path), {"person": "amina", "account": "nyota"}, "cannot be combined", at="account")
    assert "?person" not in d.page.get_by_role("main").inner_text(), "a parameter of the API is on the page"
    whole, of_one = downloaded(d, path, {"person": "", "account": ""}), downloaded(d, path, {"person": "amina"})
    assert "wanjiru@nyota.example" in whole and "wanjiru@nyota.example" not in of_one, "whom the file is about"
    d.open("/admin/audit?action=evidence.exported")
    d.shows(d.person)
    # The page of a person leads to the form, which names the person already.
    d.open("/admin/directory/people/amina")
    d.page.locator("#evidence").get_by_role("link", name=f"#{n} ").click()
    expect(d.page.locator('[name="person"]')).to_have_value("amina")


def downloaded(d, path, typed):
    """The text of the evidence. The form stays as it was, and the download is recorded."""
    before, one = d.written(), d.find(at(path))
    d.fill(one, typed)
    with d.page.expect_download() as coming:
        one.locator("button[type=submit]").click()
    file = Path(coming.value.path()).read_bytes()
    assert coming.value.suggested_filename.endswith(".zip"), coming.value.suggested_filename
    assert d.written() != before, "nothing was recorded"
    with zipfile.ZipFile(io.BytesIO(file)) as content:
        assert {"index.html", "VERIFY.md"} <= {name.rsplit("/", 1)[-1] for name in content.namelist()}, content.namelist()
        return "".join(content.read(name).decode("utf-8", "replace") for name in content.namelist())


PROOF = "audit-proof.html.hbs"


@form("/audit/timestamps", template=PROOF, never_wrong="It says on the page which authority gave no time stamp.")
def a_time_stamp_is_asked_for(d):
    page = "/admin/audit/proof"
    form = at("/admin/audit/timestamps")
    d.stamps.works = False
    d.open(page)
    try:
        answer = d.press(d.find(form))
        assert answer.status < 500, f"answered {answer.status}: {d.page.get_by_role('main').inner_text()[:300]}"
        expect(d.page.get_by_role("status").filter(has_text=f"Not stamped by {d.stamps.url}")).to_be_visible()
    finally:
        d.stamps.works = True
    d.open(page)
    late = d.tab(page)
    d.accepted(form, {}, re.compile(r"1 time stamp of [\d,]+ events\."), d.stamps.url)
    with d.page.expect_download() as coming:
        d.page.get_by_role("main").get_by_role("link", name="time stamp", exact=True).first.click()
    assert Path(coming.value.path()).read_bytes()[:1] == b"\x30", "no answer of an authority"
    # Nothing speaks against another one, from a page that is older.
    answer = d.press(d.find(form, late), tab=late)
    assert answer.ok, answer.status
    late.close()


@form("/audit/mail", template=PROOF)
def the_trail_is_verified_with_an_email(d):
    _, mail = d.emailed("witness", "witness.example")
    page, form = "/admin/audit/proof", at("/admin/audit/mail")
    forwarded = "\n".join(line for line in mail.splitlines() if not line.lower().startswith("candor-audit:"))
    wrong = {
        "no mail at all": "not an email",
        "From: ann@x.example\nSubject: Fwd\n\nSee below.": "no header Candor-Audit",
        forwarded: "no header Candor-Audit",
        mail.replace("\r\nCandor-Audit:", "\r\nCandor-Audit: other.example 3 AAAA\r\nCandor-Audit:"): "several headers Candor-Audit",
    }
    for text, says in wrong.items():
        d.open(page)
        d.refused(form, {"file": eml(text)}, says, at=None)
    d.open(page)
    before = d.written()
    assert d.press(d.fill_where(form, {"file": eml(mail)})).ok
    expect(d.page.get_by_role("status").filter(has_text=re.compile("The trail begins with exactly the [0-9,]+ events"))).to_be_visible()
    # An email of another installation, or of a trail that was rewritten.
    size = int(re.search(r"(?im)^Candor-Audit: \S+ (\d+) ", mail).group(1))
    d.open(page)
    assert d.press(d.fill_where(form, {"file": eml(mail.replace(f" {size} ", f" {size - 1} ", 1))})).ok
    alert = d.page.get_by_role("alert")
    expect(alert).to_contain_text("The trail does not agree with the email")
    expect(alert).to_contain_text("history was rewritten")
    assert d.written() == before, "something was stored"
    d.one.check()


def eml(text):
    return {"name": "mail.eml", "mimeType": "message/rfc822", "buffer": text.encode()}


@form("/directory/people/{id}/erase")
def a_person_is_erased(d):
    d.emailed("forgotten", "forgotten.example")
    page = "/admin/directory/people/forgotten"
    path = f"{page}/erase"
    words = lambda: d.page.locator('[aria-label="Confirm"] .mono').inner_text()
    d.open(path)
    d.refused(at(path), {"reason": "Request 17", "confirmation": "yes"}, f"must be \u201c{words()}\u201d", at="confirmation")
    d.refused(at(path), {"reason": "", "confirmation": words()}, "must not be empty", at="reason")
    typed = {"reason": "Request 17", "confirmation": words()}
    # Somebody else changes the person meanwhile, so other rows are erased than the page has named.
    d.call("PUT", "/accounts/nyota/members/forgotten", {"role": "billing"})
    d.refused(at(path), typed, "rows are about the person now", at=None)
    late = d.tab(path)
    d.accepted(at(path), {"confirmation": words()}, re.compile(r"The person is erased: \d+ rows were changed\."), "Request 17")
    d.fill(d.find(at(path), late), typed)
    d.stale(late, at(path), "does not exist any more")
    d.open("/admin/directory/people?q=forgotten")
    d.shows("Nobody has this in the name, the address or the ID.")


def erased(d, name, reason):
    """Erases somebody who was notified. Returns the ID of the erasure."""
    d.emailed(name, "erased.example")
    return d.call("POST", f"/people/{name}/erase", {"reason": reason})["id"]


@form("/directory/erasures/check", template="erasures.html.hbs")
def an_erased_address_is_checked(d):
    erased(d, "checked", "To be checked")
    page = "/admin/directory/erasures"
    form = at(f"{page}/check")
    d.open(page)
    d.refused(form, {"address": " ", "person": ""}, "Enter an address, or the ID of a person.", at="address")
    checked(d, page, {"address": "nobody@nowhere.example"}, "No erased recipient had it.", "None.")
    checked(d, page, {"person": "nobody"}, "No erased recipient had it.", "None.")
    checked(d, page, {"address": "Checked@erased.example"}, "detection", "To be checked")
    checked(d, page, {"person": "checked"}, "detection", "To be checked")


def checked(d, page, typed, recipient, erasure):
    """Checks a claim. Nothing is stored by it, and the page says what was asked."""
    before = d.written()
    d.open(page)
    assert d.press(d.fill_where(at(f"{page}/check"), typed)).ok
    for text in [*typed.values(), recipient, erasure]:
        d.shows(text)
    assert d.written() == before, "something was stored"
    d.one.check()


@form("/directory/erasures/{id}/allow", template="ask.html.hbs")
def an_erased_person_is_allowed_again(d):
    id = erased(d, "returns", "Asked twice")
    page = "/admin/directory/erasures"
    allow = f"{page}/{id}/allow"
    d.open(page)
    late = d.tab(page)
    d.asked(allow, "What was erased stays erased.", "The person is allowed again.", lambda: expect(d.page.locator(at(allow))).to_have_count(0))
    d.shows(re.compile(f"by {d.person}"))
    d.stale(late, at(allow), "the person is allowed again already")
    d.somebody("returns", "returns@erased.example")


@form("/backups", "/backups/{id}/check", template=("backups.html.hbs", "backups.html.hbs"), never_wrong="It says on the page that nothing was done.")
def a_backup_is_made_and_checked(d):
    page = "/admin/backups"
    make = at(page)
    newest = lambda: d.items("/backups")[0]
    d.open(page)
    late = d.tab(page)
    d.accepted(make, {}, "The backup is being made.")
    d.until("the backup", lambda: newest()["state"] == "done")
    one = newest()
    d.open(page)
    d.shows(one["file"])
    # Another process makes a backup at this moment.
    with rows(d) as db:
        db.execute("UPDATE backups SET state = 'running', active = 1, lease = 'another', lease_until = ? WHERE id = ?", (2**62, one["id"]))
    d.stale(late, make, "Nothing was done: a backup is already being made", status=(200,))
    with rows(d) as db:
        db.execute("UPDATE backups SET state = 'done', active = NULL, lease = NULL, lease_until = 0 WHERE id = ?", (one["id"],))
    d.open(page)
    check = at(f"{page}/{one['id']}/check")
    late, later = d.tab(page), d.tab(page)
    d.accepted(check, {}, "The backup is being checked.")
    d.until("the drill", lambda: newest()["check"] not in ("queued", "running", "none"))
    d.open(page)
    d.shows("can be restored")
    # The newest file is the only one that is kept, so the one of the older tabs is removed.
    d.accepted(make, {}, "The backup is being made.")
    d.until("the backup that replaces it", lambda: newest()["id"] != one["id"] and newest()["state"] == "done")
    d.until("the removal", lambda: d.call("GET", f"/backups/{one['id']}")["removed_at"])
    d.stale(late, check, "Nothing was done: the backup has no file that could be checked.", status=(200,))
    later.close()


def rows(d):
    return sqlite3.connect(Path(d.service.folder.name) / "candor.db", timeout=20)


@form("/incidents/{id}/emergency-notices", template="incident/emergency.html.hbs")
def the_record_of_an_emergency_notice_is_imported(d):
    n = d.number("The database was gone")
    page = f"/admin/incidents/{n}/emergency-notices"
    form, name = at(page), "emergency.ndjson"
    record = d.service.emergency_notice("The file service is down", "We work on it.")
    file = lambda content: {"file": {"name": name, "mimeType": "application/x-ndjson", "buffer": content}}
    d.open(page)
    d.refused(form, {}, "Choose the record that candor emergency-notify wrote.", at=None)
    d.refused(form, file(b"no record\n"), "line 1: is not a line of a record", at=None)
    d.refused(form, file(b"no record"), "the file is not the record of an emergency notice", at=None)
    forged = record.replace(b"amina@nyota.example", b"wanja@nyota.example")
    d.refused(form, file(forged), "was changed, or a line before it was removed", at=None)
    late = d.tab(page)
    d.accepted(form, file(record), "The record is imported: 2 people, 2 accepted.", "The file service is down")
    d.fill(d.find(form, late), file(record))
    d.stale(late, form, "the record was already imported as far as it goes")
    d.open(page)
    d.page.get_by_role("link", name="The file service is down").click()
    d.shows("We work on it.")
    d.shows("Wanjiru")
    # One record belongs to one incident.
    other = f"/admin/incidents/{d.number('Another one')}/emergency-notices"
    d.open(other)
    d.refused(at(other), file(record), "the record was imported onto another incident", at=None)


REPORT = "incident/report.html.hbs"


def reported(d, title, text="A disk was full.", publish=False):
    """An incident with a report. Returns the number, the page of the report, and a function that saves the next version."""
    n = d.number(title)
    id = d.of(n)["id"]

    def save(text):
        sections = [{"heading": "What happened", "text": text, "audience": "public"}, {"heading": "Names", "text": "Grace found it.", "audience": "internal"}]
        d.call("PUT", f"/incidents/{id}/report", {"title": f"About {title}", "sections": sections})

    save(text)
    if publish:
        d.call("POST", f"/incidents/{id}/report/publish", {})
    return n, f"/admin/incidents/{n}/report", save


@form("/incidents/{id}/report/mail", template=REPORT)
def the_internal_report_is_emailed(d):
    _, page, _ = reported(d, "Emailed report")
    form = at(f"{page}/mail")
    d.open(page)
    d.refused(form, {"to": "amina@nyota.example, ops@nyota.example"}, "belongs to a person in the directory", at="to")
    d.refused(form, {"to": "somebody@elsewhere.example"}, "is not in a domain of your own side", at="to")
    d.refused(form, {"to": "no address"}, "address", at="to")
    d.refused(form, {"to": " , "}, "must be 1 to 20 addresses", at="to")
    assert "audit@nyota.example" not in d.mail.recipients()
    d.accepted(form, {"to": "audit@nyota.example; qa@nyota.example"}, "The internal report was sent to 2 addresses.")
    d.until("both emails", lambda: {"audit@nyota.example", "qa@nyota.example"} <= set(d.mail.recipients()))
    assert "Grace found it." in next(text for to, text in d.mail.mails if "audit@nyota.example" in to)


@form(template=REPORT)
def a_report_with_names_is_published(d):
    n, page, save = reported(d, "Names in a report", publish=False)
    save("On call exchanged the disk.")
    d.open(page)
    ask = f'details.ask form[action="{page}/publish"]'
    answer = d.press(d.find(ask))
    assert answer.status == 422, answer.status
    expect(d.page.get_by_role("alert")).to_contain_text("contain names of our own people in public sections: On call")
    names = f'form.edit[action="{page}/publish"]'
    d.refused(names, {"allow_names": False}, "contain names of our own people in public sections: On call", at=None)
    d.accepted(names, {"allow_names": True}, "The report is published.", "published")


@form("/incidents/{id}/report/publish", template=REPORT)
def a_correction_of_a_report_is_published(d):
    n, page, save = reported(d, "Corrected report", publish=True)
    form = f'form.edit[action="{page}/publish"]'
    # The operator is called "On call". Names of our own people are not for everybody.
    save("On call replaced the disk.")
    d.open(page)
    typed = {"note": "It was the disk of shelf 2.", "allow_names": False}
    d.refused(form, typed, "contain names of our own people in public sections: On call", at=None)
    d.refused(form, {"note": "x" * 20_000, "allow_names": True}, "is longer than", at="note")
    expect(d.page.get_by_text("the public page shows version 1")).to_be_visible()
    late = d.tab(page)
    said = "The corrected report is published, with your note."
    d.accepted(form, {"note": "It was the disk of shelf 2.", "allow_names": True}, said, "It was the disk of shelf 2.")
    with d.another() as public:
        public.goto(f"/status")
        expect(public.get_by_text("On call replaced the disk.")).to_be_visible()
    d.fill(d.find(form, late), {"note": "Too late", "allow_names": True})
    into = d.number("It is the same disk")
    d.call("POST", f"/incidents/{d.of(n)['id']}/merge", {"into": d.of(into)["id"]})
    d.stale(late, form, f"is merged into #{into}")


@form(template=())
def the_versions_of_a_report_are_compared(d):
    n, page, save = reported(d, "Versions", publish=True)
    save("A disk of shelf 2 was full.")
    d.open(page)
    d.page.get_by_role("link", name="All versions").click()
    expect(d.page.get_by_role("row").filter(has_text="public")).to_have_count(1)
    d.page.get_by_role("link", name="What changed").first.click()
    expect(d.page.locator(".diff")).to_contain_text("A disk of shelf 2 was full.")
    d.one.check()
    # A draft of the report is written from the record.
    d.open(f"/admin/incidents/{d.number('From the record')}/report/edit")
    expect(d.page.locator('[name="title"]')).not_to_have_value("")
