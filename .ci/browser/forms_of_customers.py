"""The forms of the directory: accounts, people, resources, webhooks, sources, imports, suppressions and what came back."""

import sqlite3
from pathlib import Path

from playwright.sync_api import expect

from form_desk import at, form

HERE = "/admin/directory"


@form("/directory/new-account")
def an_account_is_created(d):
    path = f"{HERE}/new-account"
    d.open(path)
    typed = {"id": "", "name": "", "time_zone": "Berlin", "labels": "plan pro", "locale": "not a language"}
    d.refused(at(path), typed, "\u201cplan pro\u201d", at="labels")
    d.refused(at(path), {"labels": ""}, "'Berlin' is not an IANA time zone", at="time_zone")
    d.refused(at(path), {"time_zone": ""}, "must not be empty", at="id")
    d.refused(at(path), {"id": "acme"}, "must not be empty", at="name")
    d.says_at("locale", "", at(path))
    typed = {"id": "acme", "name": "Acme Ltd", "time_zone": "Europe/Berlin", "labels": "plan=pro", "locale": "de"}
    d.refused(at(path), typed | {"id": "nyota"}, "already", at="id")
    d.accepted(at(path), typed, "The account Acme Ltd is created.", "plan=pro")


@form("/directory/accounts/{id}/edit")
def an_account_is_edited(d):
    path = d.account("edited") + "/edit"
    d.open(path)
    d.refused(at(path), {"name": "", "labels": "plan"}, "\u201cplan\u201d", at="labels")
    d.refused(at(path), {"labels": ""}, "must not be empty", at="name")
    d.find(at(path)).locator("[name=name]").fill("Renamed")
    d.call("PUT", "/accounts/edited", {"name": "Changed by another"})
    d.refused(at(path), {"labels": "plan=free"}, "somebody changed it to \u201cChanged by another\u201d since", at="name")
    d.accepted(at(path), {}, "The account is saved.", "Renamed")


@form("/directory/accounts/{id}/delete", template="ask.html.hbs")
def an_account_is_archived(d):
    page = d.account("archived")
    d.open(page)
    late = d.tab(page)
    d.asked(f"{page}/delete", "notified", "The account is archived.", "Save it again")
    d.stale(late, at(f"{page}/delete"), "archived")


@form("/directory/accounts/{id}/members")
def a_member_is_added(d):
    page = d.account("joined")
    path = f"{page}/members"
    d.open(path)
    d.refused(at(path), {"person": "nobody", "role": "owner"}, "nobody", at="person")
    d.refused(at(path), {"person": "grace", "role": ""}, "must not be empty", at="role")
    d.accepted(at(path), {"role": "owner"}, "Grace", "grace")


@form("/directory/accounts/{id}/members/{person}", "/directory/accounts/{id}/members/{person}/remove", template=("form.html.hbs", "ask.html.hbs"))
def a_member_gets_another_role_and_is_removed(d):
    page = d.account("held")
    d.call("PUT", "/accounts/held/members/grace", {"role": "owner"})
    path = f"{page}/members/grace"
    d.open(path)
    d.refused(at(path), {"role": ""}, "must not be empty", at="role")
    d.accepted(at(path), {"role": "billing"}, "Grace", "billing")
    d.open(page)
    late = d.tab(page)
    d.asked(f"{path}/remove", "", "The person is removed from the account.", "No members: nobody is notified as an owner.")
    d.stale(late, at(f"{path}/remove"), "grace")


@form("/directory/accounts/{id}/endpoints", "/directory/endpoints/{id}/test", "/directory/endpoints/{id}/enable", "/directory/endpoints/{id}/delete", template=("form.html.hbs", "endpoint.html.hbs", "endpoint.html.hbs", "ask.html.hbs"))
def an_endpoint_is_created_tested_enabled_and_deleted(d):
    page = d.account("called", project="called")
    path = f"{page}/endpoints"
    d.open(path)
    d.refused(at(path), {"url": "nyota.example/hook", "secret": "secret"}, "URL", at="url")
    d.refused(at(path), {"url": "", "secret": "secret"}, "must", at="url")
    d.refused(at(path), {"url": d.hook.url, "secret": "secret"}, "whsec_", at="secret")
    created(d, path)
    endpoint = "/admin/directory/endpoints/" + d.items("/accounts/called/endpoints")[0]["id"]
    d.open(endpoint)
    expect(d.page.locator("#secret")).to_have_count(0)
    # A system that answers with an error fails the test, and nothing is disabled by it.
    d.hook.status = 500
    d.press(d.find(at(f"{endpoint}/test")))
    expect(d.page.get_by_text("The endpoint did not accept the test.")).to_be_visible()
    d.hook.status = 200
    d.press(d.find(at(f"{endpoint}/test")))
    expect(d.page.get_by_text("The endpoint accepted the test.")).to_be_visible()
    # A system that is gone says 410, and is disabled by it.
    d.hook.status = 410
    notice = d.service.draft(d.of(d.number("A call", [("project", "called")])))
    d.service.send(notice)
    d.until("the end of the endpoint", lambda: not d.items("/accounts/called/endpoints")[0]["enabled"])
    d.open(endpoint)
    before = d.tab(endpoint)
    d.accepted(at(f"{endpoint}/enable"), {}, "The endpoint is enabled.", "enabled")
    late, later = d.tab(endpoint), d.tab(endpoint)
    d.asked(f"{endpoint}/delete", "Its secret is lost.", "The endpoint is deleted.", "No endpoints")
    d.stale(late, at(f"{endpoint}/delete"), "endpoint")
    d.stale(later, at(f"{endpoint}/test"), "endpoint")
    d.stale(before, at(f"{endpoint}/enable"), "endpoint")


@form("/directory/people/{id}/endpoints")
def a_phone_number_is_stored_and_deleted(d):
    person = d.somebody("phoned")
    path = f"{person}/endpoints"
    d.open(path)
    d.refused(at(path), {"url": "0700 123456", "consent": "asked on the phone"}, "country code", at="url")
    d.refused(at(path), {"url": "+254 700 123456", "consent": " "}, "must", at="consent")
    d.accepted(at(path), {"url": "+254 700 123456", "consent": "asked on the phone"}, "The number is stored.", "asked on the phone")
    expect(d.page.get_by_text("254")).to_have_count(0)
    endpoint = "/admin/directory/endpoints/" + d.items("/people/phoned/endpoints")[0]["id"]
    d.open(person)
    expect(d.page.get_by_text("Store a phone number")).to_have_count(0)
    d.open(endpoint)
    d.asked(f"{endpoint}/delete", "The number is deleted.", "The endpoint is deleted.", "No phone number")


@form("/directory/accounts/{id}/contacts", "/directory/accounts/{id}/contacts/{kind}/remove", template=("form.html.hbs", "ask.html.hbs"))
def a_contact_is_named_and_removed(d):
    page = d.account("reached")
    path = f"{page}/contacts"
    d.open(path)
    d.refused(at(path), {"kind": "security", "email": "nobody"}, "address", at="email")
    d.accepted(at(path), {"email": "soc@reached.example"}, "contact for security", "soc@reached.example")
    d.open(page)
    late = d.tab(page)
    d.asked(f"{path}/security/remove", "The history stays.", "The contact is removed.", "No contacts: only people are notified.")
    d.stale(late, at(f"{path}/security/remove"), "security")


def created(d, path):
    """The page that shows the secret once is the answer to the form."""
    before = d.written()
    answer = d.press(d.fill_at(path, {"secret": ""}))
    assert answer.ok, answer.status
    expect(d.page.locator("#secret")).to_contain_text("whsec_")
    assert d.written() != before


@form("/directory/new-person")
def a_person_is_created(d):
    path = f"{HERE}/new-person"
    d.open(path)
    typed = {"id": "", "name": "", "email": "zuri at nyota", "time_zone": "Nairobi"}
    d.refused(at(path), typed, "'Nairobi' is not an IANA time zone", at="time_zone")
    d.refused(at(path), {"time_zone": ""}, "must not be empty", at="id")
    d.refused(at(path), {"id": "zuri"}, "must not be empty", at="name")
    d.says_at("email", "address", at(path))
    d.refused(at(path), {"id": "amina", "name": "Zuri", "email": "zuri@nyota.example", "time_zone": "Africa/Nairobi"}, "already", at="id")
    d.accepted(at(path), {"id": "zuri"}, "Zuri", "zuri@nyota.example")


@form("/directory/people/{id}/edit")
def a_person_is_edited(d):
    path = d.somebody("edited-person") + "/edit"
    d.open(path)
    d.refused(at(path), {"email": "two@x.example, three@x.example", "name": "Two"}, "address", at="email")
    d.refused(at(path), {"email": "two@x.example", "name": ""}, "must not be empty", at="name")
    d.accepted(at(path), {"name": "Renamed Person"}, "The person is saved.", "Renamed Person")


@form("/directory/people/{id}/delete", template="ask.html.hbs")
def a_person_is_archived(d):
    page = d.somebody("archived-person")
    d.open(page)
    late = d.tab(page)
    d.asked(f"{page}/delete", "notif", "The person is archived.", "Save it again")
    d.stale(late, at(f"{page}/delete"), "archived")


@form("/directory/people/{id}/address", template="address.html.hbs")
def an_address_is_corrected(d):
    page = d.somebody("moved")
    d.open(f"{page}/address")
    where = at(f"{page}/address")
    d.refused(where, {"email": "not an address"}, "address", at="email")
    d.refused(where, {"email": ""}, "", at="email")
    d.accepted(where, {"email": "new@moved.example"}, "new@moved.example", "new@moved.example")


@form("/directory/new-resource")
def a_resource_is_created(d):
    path = f"{HERE}/new-resource"
    d.open(path)
    typed = {"type": "", "id": "", "account": "nobody", "parent": "savanna", "labels": "s3", "name": "New"}
    d.refused(at(path), typed, "\u201cs3\u201d", at="labels")
    d.says_at("parent", "type", at(path))
    d.refused(at(path), {"parent": "", "labels": ""}, "must not be empty", at="type")
    typed = {"type": "project", "id": "p1", "account": "nobody", "parent": "project nowhere", "labels": "provider=s3"}
    d.refused(at(path), typed, "nobody", at="account")
    d.refused(at(path), {"account": "nyota", "parent": "project nowhere"}, "nowhere", at="parent")
    d.refused(at(path), {"id": "savanna", "parent": ""}, "is the ID of another resource of this type already", at="id")
    d.accepted(at(path), {"id": "p1"}, "project p1 is created.", "provider=s3")


@form("/directory/resources/{type}/{id}/edit")
def a_resource_is_edited(d):
    path = d.resource("edited-resource") + "/edit"
    d.open(path)
    d.refused(at(path), {"name": "Renamed", "parent": "project edited-resource"}, "", at="parent")
    d.refused(at(path), {"parent": "", "account": "nobody"}, "nobody", at="account")
    d.accepted(at(path), {"account": "nyota"}, "The resource is saved.", "Renamed")


@form("/directory/resources/{type}/{id}/delete", template="ask.html.hbs")
def a_resource_is_archived(d):
    page = d.resource("archived-resource")
    d.open(page)
    late = d.tab(page)
    d.asked(f"{page}/delete", "Nobody is notified through this resource any more.", "The resource is archived.", "Save it again")
    d.stale(late, at(f"{page}/delete"), "archived")


@form("/directory/resources/{type}/{id}/collaborators", "/directory/resources/{type}/{id}/collaborators/{person}", "/directory/resources/{type}/{id}/collaborators/{person}/remove", template=("form.html.hbs", "ask.html.hbs"))
def a_collaborator_is_added_changed_and_removed(d):
    page = d.resource("shared")
    path = f"{page}/collaborators"
    d.open(path)
    d.refused(at(path), {"person": "nobody", "role": "editor"}, "nobody", at="person")
    d.refused(at(path), {"person": "grace", "role": ""}, "must not be empty", at="role")
    d.accepted(at(path), {"role": "editor"}, "Grace", "editor")
    d.open(f"{path}/grace")
    d.refused(at(f"{path}/grace"), {"role": ""}, "must not be empty", at="role")
    d.accepted(at(f"{path}/grace"), {"role": "viewer"}, "Grace", "viewer")
    late = d.tab(page)
    d.asked(f"{path}/grace/remove", "", "The person is no collaborator on this resource any more.", "No collaborators on this resource itself.")
    d.stale(late, at(f"{path}/grace/remove"), "grace")


@form("/directory/import", template="import.html.hbs")
def customers_are_imported(d):
    path = f"{HERE}/import"
    where = at(path)
    d.open(path)
    d.refused(where, {"text": ""}, "Choose a file, or paste its content.")
    good = '{"kind": "person", "id": "imported", "name": "Imported One", "email": "one@imported.example"}'
    d.refused(where, {"text": good + '\n{"kind": "person", "id": "bad", "name": "Bad", "email": "no address"}'}, "Line 2")
    d.refused(where, {"text": good + "\nnot JSON"}, "Line 2")
    d.refused(where, {"format": "csv", "text": "id;name\nx;X"}, "Rows of the table")
    d.refused(where, {"kind": "person", "text": "id,title\nx,X"}, "title")
    d.refused(where, {"format": "ndjson", "text": good}, "Leave out the rows")
    answer = d.press(d.fill_at(path, {"kind": ""}))
    assert answer.ok, answer.status
    expect(d.page.get_by_role("status").filter(has_text="Imported: 1 person.")).to_be_visible()
    file = {"name": "people.csv", "mimeType": "text/csv", "buffer": b"id,full name,email\nfrom-file,From File,f@file.example"}
    answer = d.press(d.fill_at(path, {"format": "csv", "kind": "person", "columns": "id:id,name:full name,email:email", "text": "", "file": file}))
    assert answer.ok, f"{answer.status}: {d.page.get_by_role('main').inner_text()[:400]}"
    expect(d.page.get_by_role("status").filter(has_text="Imported: 1 person.")).to_be_visible()
    d.open(f"{HERE}/people/from-file")
    d.shows("From File")


@form("/directory/inbound-mail", template="inbound-mail.html.hbs")
def an_email_that_came_back_is_submitted(d):
    path = f"{HERE}/inbound-mail"
    where = at(path)
    d.open(path)
    d.refused(where, {"mail": "  "}, "must not be empty", at="mail", kept=False)
    typed = "From: somebody@mail.example\nSubject: Hello\n\nHow are you?"
    answer = d.press(d.fill_at(path, {"mail": typed}))
    assert answer.ok, answer.status
    expect(d.page.get_by_role("status").filter(has_text="Candor")).to_be_visible()
    # It was not what Candor looks for, so it can be corrected.
    expect(d.page.locator("[name=mail]")).to_have_value(typed)
    answer = d.press(d.fill_at(path, {"mail": d.bounce("came-back")}))
    assert answer.ok, answer.status
    expect(d.page.get_by_role("status").filter(has_text="It is stored.")).to_be_visible()
    expect(d.page.locator("[name=mail]")).to_have_value("")
    d.open(f"{HERE}/suppressions?address=came-back%40bounced.example")
    d.shows("An email to it bounced permanently.")


@form("/directory/suppressions/lift", template="ask.html.hbs")
def a_suppression_is_lifted(d):
    address = d.suppressed("lifted")
    page = f"{HERE}/suppressions?address={address}"
    d.open(page)
    late = d.tab(page)
    d.asked(f"{HERE}/suppressions/lift", "Do this only if the person asked you.", f"{address} gets updates again.", at=page, shows="No suppressed address matches.", fields={"address": address})
    d.stale(late, at(f"{HERE}/suppressions/lift"), "does not exist any more")


class Shop:
    """The database of a product."""

    def __init__(self, d, name):
        self.file = Path(d.service.folder.name) / f"{name}.db"
        self.url = f"sqlite://{self.file}"
        self.do("CREATE TABLE users (id TEXT, name TEXT, email TEXT)")
        self.name = name
        for i in range(5):
            self.do(f"INSERT INTO users VALUES ('{name}-{i}', 'User {i}', 'u{i}@{name}.example')")

    def do(self, statement):
        with sqlite3.connect(self.file) as db:
            db.execute(statement)


def source(d, name):
    shop = Shop(d, name)
    body = {"name": name, "kind": "sqlite", "url": shop.url, "queries": {"people": "SELECT id, name, email FROM users"}}
    return shop, f"{HERE}/sources/" + d.call("POST", "/directory/sources", body)["id"]


def runs(d, page):
    return d.items(page.removeprefix("/admin") + "/runs")


def ended(d, page, state):
    d.until(f"the run that is {state}", lambda: runs(d, page) and runs(d, page)[0]["state"] == state)
    return runs(d, page)[0]["id"]


@form("/directory/new-source/{kind}")
def a_source_is_created(d):
    shop = Shop(d, "created")
    path = f"{HERE}/new-source/sqlite"
    d.open(path)
    typed = {
        "name": "", "url": "shop.db", "people": "DELETE FROM users", "every": "day", "at": "at two", "max_gone_percent": "200",
        "stale_after": "0",
    }
    d.refused(at(path), typed, "must be a number from 0 to 100", at="max_gone_percent")
    d.says_at("max_gone_percent", "must be a number from 0 to 100", at(path))
    d.says_at("stale_after", "must be a number of hours", at(path))
    d.refused(at(path), {"max_gone_percent": "10", "stale_after": "48"}, "must be a time such as 02:00", at="at")
    d.refused(at(path), {"at": "02:30"}, "must not be empty", at="name")
    d.says_at("url", "", at(path))
    typed = {"name": "The shop", "url": shop.url, "people": "SELECT id, name, email FROM users", "every": "cron", "at": "", "cron": "often", "max_gone_percent": "10", "stale_after": "48"}
    d.refused(at(path), typed, "", at="cron")
    d.accepted(at(path), {"every": "day", "at": "02:30", "cron": ""}, "The source is created. Test it now: a test stores nothing.", "every day at 02:30 UTC")
    # A service gets a secret, which is shown once.
    path = f"{HERE}/new-source/http"
    d.open(path)
    d.refused(at(path), {"name": "The service", "url": "no url", "secret": "short"}, "", at="url")
    answer = d.press(d.fill_at(path, {"url": d.hook.url, "secret": ""}))
    assert answer.ok, f"{answer.status}: {d.page.get_by_role('main').inner_text()[:400]}"
    expect(d.page.locator("#secret")).to_contain_text("whsec_")
    d.open(f"{HERE}/sources")
    d.shows("The service")
    for one in d.items("/directory/sources"):
        if one["kind"] == "http":
            d.call("DELETE", f"/directory/sources/{one['id']}")


@form("/directory/sources/{id}/edit")
def a_source_is_edited(d):
    _, page = source(d, "edited")
    d.open(f"{page}/edit")
    where = at(f"{page}/edit")
    d.refused(where, {"name": "Renamed source", "max_left_out_percent": "-1"}, "must be a number from 0 to 100", at="max_left_out_percent")
    d.refused(where, {"max_left_out_percent": "20", "url": "http://x.example"}, "", at="url")
    d.accepted(where, {"url": ""}, "The source is saved.", "Renamed source")


@form("/directory/sources/{id}/test", "/directory/sources/{id}/sync", template=("source.html.hbs", "source.html.hbs", "source-test.html.hbs"))
def a_source_is_tested_and_read(d):
    shop, page = source(d, "read")
    d.open(page)
    shop.do("ALTER TABLE users RENAME COLUMN email TO mail")
    answer = d.press(d.find(at(f"{page}/test")))
    assert answer.ok, answer.status
    expect(d.page.locator("main .wrong, main [role=alert]").first).to_contain_text("email")
    shop.do("ALTER TABLE users RENAME COLUMN mail TO email")
    d.open(page)
    answer = d.press(d.find(at(f"{page}/test")))
    assert answer.ok, answer.status
    expect(d.page.get_by_text("A sync would succeed.")).to_be_visible()
    d.accepted(at(f"{page}/sync"), {}, "The sync is started.")
    ended(d, page, "done")
    d.open(f"{HERE}/people/read-1")
    late = d.tab(page)
    d.open(page)
    d.accepted(at(f"{page}/sync"), {}, "The sync is started.")
    ended(d, page, "done")
    later = d.tab(page)
    d.call("DELETE", page.removeprefix("/admin"))
    d.stale(late, at(f"{page}/test"), "source")
    d.stale(later, at(f"{page}/sync"), "source")


@form("/directory/sources/{id}/runs/{run}/confirm", "/directory/sources/{id}/runs/{run}/refuse", template="ask.html.hbs")
def a_waiting_run_is_refused_and_confirmed(d):
    shop, page = source(d, "waiting")
    d.call("POST", page.removeprefix("/admin") + "/sync")
    ended(d, page, "done")
    shop.do("DELETE FROM users WHERE id <> 'waiting-0'")
    d.call("POST", page.removeprefix("/admin") + "/sync")
    run = f"{page}/runs/" + str(ended(d, page, "needs_confirmation"))
    d.open(run)
    late = d.tab(run)
    d.asked(f"{run}/refuse", "The sync stores nothing.", "The changes are refused. Nothing was stored.", "refused")
    d.stale(late, at(f"{run}/refuse"), "")
    d.call("POST", page.removeprefix("/admin") + "/sync")
    run = f"{page}/runs/" + str(ended(d, page, "needs_confirmation"))
    d.open(run)
    late = d.tab(run)
    d.asked(f"{run}/confirm", "The sync stores all changes and archives 4 entries.", "The sync is confirmed and goes on.")
    ended(d, page, "done")
    d.stale(late, at(f"{run}/confirm"), "")
    d.open(f"{HERE}/people/waiting-1")
    d.shows("Archived")


@form("/directory/sources/{id}/delete", template="ask.html.hbs")
def a_source_is_deleted(d):
    _, page = source(d, "deleted")
    d.open(page)
    late = d.tab(page)
    d.asked(f"{page}/delete", "", "The source is deleted. The entries that it brought stay in the directory.")
    d.stale(late, at(f"{page}/delete"), "source")
