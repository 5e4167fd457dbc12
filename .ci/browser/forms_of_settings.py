"""The forms of the settings: sign-in, preferences, templates, policies, limits, operators and tokens. And the pages of customers."""

import json
import re

from playwright.sync_api import expect

from form_desk import NotOffered, at, form


@form("/sign-in", "/sign-out", template=("sign-in.html.hbs", "layout.html.hbs"), never_wrong={"/sign-out": "It has no input."})
def somebody_signs_in_and_out(d):
    with d.another() as page:
        page.goto("/admin/incidents")
        page.get_by_label("Token").fill("not a token")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_have_text("This token is not valid.")
        expect(page.locator("[name=token][aria-invalid=true][aria-describedby=wrong]")).to_be_visible()
        page.get_by_label("Token").fill(d.token)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(re.compile("/admin/incidents$"))
        page.reload()
        page.locator("details.who summary").click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        page.goto("/admin")
        expect(page.get_by_label("Token")).to_be_visible()


@form("/preferences")
def preferences_are_saved(d):
    path = "/admin/preferences"
    d.open(path)
    d.refused(at(path), {"time_zone": "Nairobi"}, "Nairobi", at="time_zone")
    shown = lambda: expect(d.page.locator("[name=time_zone]")).to_have_value("Africa/Nairobi")
    d.accepted(at(path), {"time_zone": "Africa/Nairobi"}, "Your preferences are saved.", shown, writes=False)
    d.open("/admin/audit")
    expect(d.page.get_by_label("From (Africa/Nairobi)")).to_be_visible()
    d.open(path)
    d.accepted(at(path), {"time_zone": ""}, "Your preferences are saved.", writes=False)


@form("/templates/{phase}/edit", "/templates/{phase}/preview", "/templates/{phase}/versions/{version}/restore", "/templates/{phase}/reset", template=("template-editor.html.hbs", "ask.html.hbs"), never_wrong={"/templates/{phase}/preview": "The frame beside the form says what is wrong.", "/templates/{phase}/versions/{version}/restore": "A version is never deleted."})
def a_template_is_edited_previewed_restored_and_reset(d):
    page = "/admin/templates/update"
    d.open(f"{page}/edit")
    where = at(f"{page}/edit")
    subject = d.page.locator("[name=subject]").input_value()
    frame = d.page.frame_locator("iframe[name=preview]")
    one = d.find(where)
    # The preview says in the frame what is wrong, and stores nothing.
    d.fill(one, {"subject": "{{#if headline}}"})
    one.get_by_role("button", name="Show HTML").click()
    expect(frame.get_by_text("This template cannot be shown")).to_be_visible()
    d.fill(one, {"subject": f"Hello {subject}", "of": "1"})
    one.get_by_role("button", name="Show subject and text").click()
    expect(frame.get_by_text("Subject: Hello")).to_be_visible()
    d.refused(where, {"subject": "{{#if headline}}"}, "", at="subject")
    d.refused(where, {"subject": ""}, "is empty", at="subject")
    d.refused(where, {"subject": f"Hello {subject}", "text": "Nothing of what must be said."}, "", at="text", button="Save template")
    d.open(f"{page}/edit")
    d.accepted(where, {"subject": f"Hello {subject}"}, "The template is saved.", "Hello", button="Save template")
    d.open(f"{page}/edit")
    d.accepted(where, {"subject": f"Goodbye {subject}"}, "The template is saved.", "Goodbye", button="Save template")
    # The readers of a language can have parts of their own.
    d.open(f"{page}/edit")
    d.refused(where, {"languages.de.text": "Hallo"}, "does not show the operator's message", at="languages.de.text", button="Save template")
    d.accepted(where, {"languages.de.text": "", "languages.de.subject": "Neues zu {{what}}"}, "The template is saved.", "The usual email in German", button="Save template")
    version = next(link for link in d.links(f"{page}/versions") if link.endswith("/1"))
    d.open(version)
    d.asked(f"{version}/restore", "It is saved as a new version.", "Version 1 is restored.", "Hello")
    d.open(page)
    late = d.tab(page)
    d.asked(f"{page}/reset", "", "The built-in template is used again.")
    d.stale(late, at(f"{page}/reset"), "does not exist any more")


POLICY = {"name": "Drafts", "action": "draft", "message": "We look at it."}


@form("/automation")
def a_policy_is_created(d):
    d.open("/admin/automation/new")
    where = at("/admin/automation")
    typed = {
        "name": "", "action": "send", "wait_seconds": "-1", "message": "", "limits.audience_at_most": "", "limits.hours.from": "8 o'clock",
        "severities.critical": True, "limits.per_account_per_hour": "often",
    }
    d.refused(where, typed, "", at="wait_seconds")
    d.says_at("limits.per_account_per_hour", "", where)
    # Limits without the first one would not apply, so they are not lost without a word.
    d.refused(where, {"wait_seconds": "60", "limits.per_account_per_hour": "5"}, "must not be empty", at="limits.audience_at_most")
    d.refused(where, {"limits.audience_at_most": "10"}, "must not be empty", at="limits.hours.until")
    d.refused(where, {"limits.hours.until": "18:00", "limits.hours.time_zone": "UTC"}, "", at="limits.hours.from")
    d.refused(where, {"limits.hours.from": "08:00"}, "must not be empty", at="name")
    d.refused(where, {"name": "Nights"}, "", at="message")
    d.accepted(where, {"action": "draft", "message": "We look at it.",}, "The policy is saved.", "Nights")
    for one in d.items("/automation/policies"):
        d.call("DELETE", f"/automation/policies/{one['id']}")


@form("/automation/{id}", "/automation/{id}/json", "/automation/{id}/try", "/automation/{id}/delete", template=("form.html.hbs", "policy.html.hbs", "ask.html.hbs"))
def a_policy_is_changed_tried_and_deleted(d):
    n = d.number("For a policy")
    policy = d.call("POST", "/automation/policies", POLICY)
    page = f"/admin/automation/{policy['id']}"
    d.open(page)
    d.refused(at(page), {"name": "Drafts at night", "limits.audience_at_most": "50", "limits.hours.from": "20:00", "limits.hours.until": "", "limits.hours.time_zone": ""}, "must not be empty", at="limits.hours.until")
    d.accepted(at(page), {"limits.hours.until": "08:00", "limits.hours.time_zone": "Africa/Nairobi"}, "The policy is saved.", "Drafts at night")
    tried = at(f"{page}/try")
    d.refused(tried, {"incident": NotOffered("nothing")}, "", at="incident", kept=False)
    answer = d.press(d.fill_where(tried, {"incident": d.of(n)["id"]}))
    assert answer.ok, answer.status
    expect(d.page.locator("#try [role=status]").first).to_be_visible()
    d.open(f"{page}/json")
    where = at(f"{page}/json")
    name = d.page.locator("main form.edit textarea").get_attribute("name")
    stored = json.loads(d.page.locator("main form.edit textarea").input_value())
    d.refused(where, {name: "{\"name\": \"Drafts\""}, "", at=name)
    d.refused(where, {name: json.dumps(stored | {"nmae": "x"})}, "nmae", words=False)
    d.refused(where, {name: json.dumps(stored | {"wait_seconds": "soon"})}, "wait_seconds", words=False)
    d.accepted(where, {name: json.dumps(stored | {"name": "Drafts by JSON"})}, "The policy is saved.", "Drafts by JSON")
    d.open(page)
    late = d.tab(page)
    d.asked(f"{page}/delete", "What still waits for it is not done.", "The policy is deleted.", "No policies: nothing is sent automatically.")
    d.stale(late, at(f"{page}/delete"), "policy")


@form("/limits", "/limits/json", "/limits/rehearse")
def limits_are_changed(d):
    before = {name: value for name, value in d.call("GET", "/limits").items()}
    where, page = at("/admin/limits"), "/admin/limits"
    d.open(page)
    d.refused(where, {"sms_price": "cheap"}, "", at="sms_price")
    d.refused(where, {"recipients": "-1", "share_of_directory": "a fifth", "sms_price": "25", "by": "minor update", "hold_if": "bounced"}, "", at="recipients")
    d.says_at("share_of_directory", "", where)
    d.says_at("by", "\u201cminor update\u201d", where)
    d.says_at("hold_if", "\u201cbounced\u201d", where)
    typed = {"recipients": "900", "share_of_directory": "20", "approval_expires_after": "an hour", "by": "minor update = 0", "hold_if": ""}
    d.refused(where, typed, "", at="approval_expires_after")
    d.says_at("share_of_directory", "", where)
    d.accepted(where, {"recipients": "1000", "share_of_directory": "0.5", "approval_expires_after": "PT2H"}, "The limits are saved.", lambda: expect(d.page.locator("[name=recipients]")).to_have_value("1000"))
    rehearse = at("/admin/limits/rehearse")
    d.refused(rehearse, {"reason": "drill"}, "10 characters", at="reason")
    d.accepted(rehearse, {"reason": "Ada and Grace rehearsed it by telephone."}, "The rehearsal is recorded.", "by telephone")
    d.open(f"{page}/json")
    where = at(f"{page}/json")
    name = d.page.locator("main form.edit textarea").get_attribute("name")
    stored = json.loads(d.page.locator("main form.edit textarea").input_value())
    d.refused(where, {name: "recipients = 5"}, "", at=name)
    d.refused(where, {name: json.dumps(stored | {"recipients": "many"})}, "recipients", words=False)
    d.accepted(where, {name: json.dumps(stored | {"recipients": 2000})}, "The limits are saved.", lambda: expect(d.page.locator("[name=recipients]")).to_have_value("2000"))
    d.call("PUT", "/limits", before)


@form("/operators", "/operators/{id}", "/operators/{id}/test", "/operators/{id}/delete", template=("form.html.hbs", "operators.html.hbs", "operator.html.hbs", "ask.html.hbs"))
def an_operator_is_created_tested_changed_and_deleted(d):
    d.open("/admin/operators/new")
    where = at("/admin/operators")
    d.refused(where, {"name": "", "email": "rota at nyota", "severities.critical": True}, "must not be empty", at="name")
    d.says_at("email", "address", where)
    d.refused(where, {"name": "The rota", "email": ""}, "")
    select = d.page.locator("main form.edit select").first.get_attribute("name")
    secret = d.page.locator("main form.edit [type=password]").first.get_attribute("name")
    d.refused(where, {"email": "rota@nyota.example", select: "slack", secret: "no url"}, "", at=secret)
    d.accepted(where, {select: "", secret: ""}, "The operator is created.", "rota@nyota.example")
    page = "/admin/operators/" + next(one for one in d.items("/operators") if one["name"] == "The rota")["id"]
    d.accepted(at(f"{page}/test"), {}, "A test message is on its way.", "The rota")
    d.until("the test message", lambda: "rota@nyota.example" in d.mail.recipients())
    d.open(page)
    d.refused(at(page), {"name": "The night rota", "email": "not an address"}, "address", at="email")
    d.accepted(at(page), {"email": "night@nyota.example"}, "The operator is saved.", "The night rota")
    d.open(page)
    late, later = d.tab(page), d.tab(page)
    d.accepted(at(f"{page}/test"), {}, "A test message is on its way.")
    d.open(page)
    d.asked(f"{page}/delete", "Messages that still wait for this operator are not sent.", "The operator is deleted.")
    d.stale(late, at(f"{page}/test"), "operator")
    d.stale(later, at(f"{page}/delete"), "operator")


@form("/tokens", "/tokens/{id}/revoke", template=("form.html.hbs", "ask.html.hbs"))
def a_token_is_created_and_revoked(d):
    d.open("/admin/tokens/new")
    where = at("/admin/tokens")
    d.refused(where, {"name": "", "role": "viewer", "expires_at": "2026-01-01T00:00", "time_zone": "Nairobi"}, "Nairobi", at="time_zone")
    d.refused(where, {"time_zone": "UTC"}, "must be one line of 1 to 200 characters", at="name")
    d.refused(where, {"name": "For a program", "time_zone": "UTC"}, "future", at="expires_at")
    before = d.written()
    answer = d.press(d.fill_where(where, {"expires_at": d.later(hours=24), "person": "grace@nyota.example"}))
    assert answer.ok, answer.status
    secret = d.page.locator("#secret").inner_text().strip()
    assert d.written() != before
    d.page.locator("main a.button").click()
    d.shows("For a program")
    assert secret not in d.page.content()
    made = next(one for one in d.items("/tokens") if one["name"] == "For a program")
    path = f"/admin/tokens/{made['id']}/revoke"
    late = d.tab("/admin/tokens")
    d.asked(path, "This cannot be undone.", "The token is revoked.", lambda: expect(d.page.get_by_text("For a program")).to_have_count(0))
    d.stale(late, at(path), "token")


@form("/feed-keys", "/feed-keys/{id}/revoke", template=("form.html.hbs", "ask.html.hbs"))
def a_feed_key_is_created_and_revoked(d):
    d.open("/admin/feed-keys/new")
    where = at("/admin/feed-keys")
    d.refused(where, {"name": "Studio", "origins": "https://app.example.com/path"}, "must be an origin", at="origins")
    d.refused(where, {"name": "", "origins": "https://app.example.com"}, "must not be empty", at="name")
    before = d.written()
    answer = d.press(d.fill_where(where, {"name": "Studio", "origins": "https://app.example.com"}))
    assert answer.ok, answer.status
    secret = d.page.locator("#secret").inner_text().strip()
    assert d.written() != before
    d.page.locator("main a.button").click()
    d.shows("https://app.example.com")
    assert secret not in d.page.content()
    made = next(one for one in d.items("/feed-keys") if one["name"] == "Studio")
    path = f"/admin/feed-keys/{made['id']}/revoke"
    late = d.tab("/admin/feed-keys")
    d.asked(path, "This cannot be undone.", "The feed key is revoked.", lambda: expect(d.page.get_by_text("Studio")).to_have_count(0))
    d.stale(late, at(path), "feed key")


@form("public: /mine/link/{token}", "public: /mine/open/{ticket}", "public: /mine", "public: /mine/preferences", "public: /mine/end", template=())
def a_customer_opens_their_page_and_chooses(d):
    d.told("For the page of a customer")
    text = next(mail for to, mail in reversed(d.mail.mails) if to == ["amina@nyota.example"]).replace("=\r\n", "").replace("=3D", "=")
    link = re.search(r"/mine/link/[\w.-]+", text).group(0)
    with d.another() as page:
        assert page.goto(link).ok
        page.get_by_role("button", name="Show my incidents").click()
        expect(page.get_by_role("heading", name="What affects you now")).to_be_visible()
        page.get_by_label("Time zone").fill("Mars/Olympus")
        page.get_by_role("button", name="Save preferences").click()
        expect(page.get_by_role("alert")).to_have_text("This time zone is not known.")
        page.get_by_label("Time zone").fill("Europe/Berlin")
        page.get_by_label("Language of our emails").select_option("de")
        page.get_by_role("button", name="Save preferences").click()
        expect(page.get_by_role("status")).to_have_text("Ihre Einstellungen sind gespeichert.")
        page.get_by_label("Sprache unserer E-Mails").select_option("")
        page.get_by_label("Zeitzone").fill("")
        page.get_by_role("button", name="Einstellungen speichern").click()
        page.get_by_role("button", name="Close this page").click()
        assert page.goto("/mine").status == 401


@form("public: /answers/{token}", "public: /unsubscribe/{token}", "public: /unsubscribe/{token}/undo", template=())
def a_customer_answers_and_stops_updates(d):
    n = d.told("For a customer")
    text = next(mail for to, mail in reversed(d.mail.mails) if to == ["amina@nyota.example"] and "For a customer" in mail or to == ["amina@nyota.example"]).replace("=\r\n", "").replace("=3D", "=")
    answers = re.search(r"/answers/[\w.-]+", text).group(0)
    stop = re.search(r"/unsubscribe/[\w.-]+", text).group(0)
    with d.another() as page:
        assert page.goto(answers).ok
        page.get_by_label("Still broken").check()
        page.locator("#text").fill("It still fails")
        page.get_by_role("button", name="Send answer").click()
        expect(page.get_by_role("heading", name="Your answer is recorded")).to_be_visible()
        page.goto(answers)
        expect(page.get_by_text("Your last answer:")).to_be_visible()
        assert page.goto(answers[:-3] + "abc").status == 404
        page.goto(stop)
        page.get_by_role("button", name="Stop updates").click()
        expect(page.get_by_role("heading", name="You will get no more updates")).to_be_visible()
        page.get_by_role("button", name="Get updates again").click()
        expect(page.get_by_role("heading", name="You will get updates again")).to_be_visible()
    d.open(f"/admin/incidents/{n}/answers")
    d.shows("It still fails")


@form("/status-page/components", "/status-page/components/{id}", "/status-page/components/{id}/delete", template=("form.html.hbs", "ask.html.hbs"), never_wrong={"/status-page/components/{id}/delete": "It has no input."})
def a_component_is_created_changed_and_deleted(d):
    path = "/admin/status-page/components"
    d.open(f"{path}/new")
    d.refused(at(path), {"id": "not fit", "name": "Search"}, "letters from a to z", at="id")
    d.accepted(at(path), {"id": "search"}, "The component is created.", "Search")
    one = f"{path}/search"
    d.open(one)
    d.refused(at(one), {"selector": "type:nothing"}, "nothing", at="selector")
    d.accepted(at(one), {"name": "Find", "selector": ""}, "The component is saved.", "Find")
    d.open(one)
    d.asked(f"{one}/delete", "Posts that name it stay.", "The component is deleted.")


@form("public: /status/subscribe", "public: /status/subscription/{token}/confirm", "public: /status/subscription/{token}", "/status-page/subscribers/{id}/end", "subscribers.html.hbs: address", template=("subscribers.html.hbs", "ask.html.hbs"), never_wrong={"/status-page/subscribers/{id}/end": "It has no input."})
def somebody_subscribes_to_the_status_page(d):
    address = "reader@reader.example"
    with d.another() as page:
        assert page.goto("/status/en").ok
        page.get_by_role("link", name="Get updates by email").click()
        # The browser refuses what is no address at all.
        page.get_by_label("Email address").fill("a..b@reader.example")
        page.get_by_role("button", name="Subscribe").click()
        expect(page.get_by_role("alert")).to_contain_text("This is not an email address.")
        expect(page.get_by_label("Email address")).to_have_value("a..b@reader.example")
        page.get_by_label("Email address").fill(address)
        page.get_by_role("button", name="Subscribe").click()
        expect(page.get_by_role("heading", name="Check your inbox")).to_be_visible()
        d.until("the question", lambda: any(address in to for to, _ in d.mail.mails))
        text = next(text for to, text in d.mail.mails if address in to).replace("=\r\n", "")
        link = re.search(r"/status/subscription/[\w.-]+", text).group(0)
        assert page.goto(link[:-3] + "abc").status == 404
        assert page.goto(link).ok
        page.get_by_role("button", name="Confirm").click()
        expect(page.get_by_role("heading", name="You are subscribed")).to_be_visible()
        page.goto(link)
        page.get_by_role("button", name="Stop these emails").click()
        expect(page.get_by_role("heading", name="You are not subscribed")).to_be_visible()
        page.goto("/status/subscribe?lang=en")
        page.get_by_label("Email address").fill("second@reader.example")
        page.get_by_role("button", name="Subscribe").click()
    path = "/admin/status-page/subscribers"
    d.searched(path, "address", "nobody@reader.example", "Nobody subscribed with this address.")
    d.searched(path, "address", "SECOND@reader.example", "not confirmed")
    one = d.items("/status-subscribers")[0]["id"]
    d.open(path)
    d.asked(f"{path}/{one}/end", "The address is deleted here", "The subscription is ended.", "Nobody subscribed yet.")


@form("/brand", "/brand/logo", "/brand/logo/delete", template=("form.html.hbs", "brand.html.hbs", "ask.html.hbs"))
def the_brand_is_changed(d):
    page = "/admin/brand"
    d.open(page)
    where = at(page)
    typed = {"name": "Quickbyte", "color": "#ffee00", "reply_to": "help", "support_url": "help", "postal_address": "1 High Street", "footer": "Quickbyte Ltd"}
    d.refused(where, typed, "nearest color", at="color")
    d.says_at("reply_to", "", where)
    d.says_at("support_url", "", where)
    d.accepted(where, {"color": "#0b5cad", "reply_to": "", "support_url": ""}, "The brand is saved.", lambda: expect(d.page.locator("[name=color]")).to_have_value("#0b5cad"))
    logo = at(f"{page}/logo")
    file = lambda text: {"name": "logo.svg", "mimeType": "image/svg+xml", "buffer": text.encode()}
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 80 20">'
    d.refused(logo, {"file": file(f"{head}<script>1</script></svg>")}, "which is not allowed", kept=False)
    d.accepted(logo, {"file": file(f'{head}<path d="M0 0h80v20z"/></svg>')}, "The logo is saved.", "SVG, 80 by 20 pixels")
    late = d.tab(page)
    d.asked(f"{page}/logo/delete", "Emails that were sent still show the logo.", "The logo is removed.", "There is no logo")
    d.stale(late, at(f"{page}/logo/delete"), "logo")
    d.call("PUT", "/brand", {})
