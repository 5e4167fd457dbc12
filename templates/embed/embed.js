// Shows the user of a product the notices that were sent to them: a banner for the newest one that is unread and mandatory, and an inbox.
//
//   <script src="https://candor.example.com/embed.js" data-candor-token-url="/candor-token" defer></script>
//
// data-candor-token-url  a path of the product that answers with {"token": "…"} for the user who is signed in, or with 401 or 204
// data-candor-button     a selector of the element that gets the inbox button; without it, the button stands in a corner
//
// It works under a strict Content-Security-Policy: script-src with the nonce or the address of this file, and connect-src with its origin.
// It has no inline style and never turns a text into markup.
(() => {
  "use strict";
  const script = document.currentScript;
  const tokenUrl = script && script.dataset.candorTokenUrl;
  if (!tokenUrl || window.candorNotices) return;
  const base = script.src.replace(/\/embed\.js.*$/, "");

  const css = `
:host { all: initial; color-scheme: light dark; }
:host([hidden]) { display: none; }
* { box-sizing: border-box; font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; line-height: 1.5; }
.banner, dialog, .inbox {
  --paper: #ffffff; --ink: #1f2429; --quiet: #57606a; --rule: #d0d7de; --mark: #1c4a94; --mark-ink: #ffffff;
  --warn: #fdf0d0; --warn-ink: #5c3300; --warn-rule: #d99a2b;
}
@media (prefers-color-scheme: dark) {
  .banner, dialog, .inbox {
    --paper: #1e2227; --ink: #e6e9ed; --quiet: #a3abb5; --rule: #444c56; --mark: #a1c6ff; --mark-ink: #10233f;
    --warn: #33280f; --warn-ink: #f3d9a3; --warn-rule: #d99a2b;
  }
}
button, a { font-size: 14px; color: inherit; }
button { cursor: pointer; border: 1px solid currentColor; border-radius: 6px; background: transparent; padding: 5px 12px; min-height: 32px; }
button:focus-visible, a:focus-visible, .list:focus-visible { outline: 3px solid var(--mark); outline-offset: 2px; }
p, h2, h3, ul { margin: 0; padding: 0; }
.banner { display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; padding: 10px 16px; font-size: 15px;
  background: var(--warn); color: var(--warn-ink); border-block-end: 2px solid var(--warn-rule); }
.banner .text { flex: 1 1 20em; min-width: 0; overflow-wrap: anywhere; }
.banner .buttons { display: flex; flex-wrap: wrap; gap: 8px; }
.banner strong { display: block; }
.inbox { position: relative; display: inline-flex; align-items: center; justify-content: center; width: 44px; height: 44px; padding: 0;
  border-radius: 22px; background: var(--paper); color: var(--ink); border-color: var(--rule); }
.inbox.corner { position: fixed; inset-block-end: 20px; inset-inline-end: 20px; z-index: 2147483000; box-shadow: 0 2px 10px rgb(0 0 0 / 25%); }
.inbox svg { width: 22px; height: 22px; }
.count { position: absolute; inset-block-start: -5px; inset-inline-end: -5px; min-width: 20px; height: 20px; padding: 0 5px; border-radius: 10px;
  background: var(--mark); color: var(--mark-ink); font-size: 12px; line-height: 20px; text-align: center; font-weight: 600; }
dialog { width: min(560px, calc(100vw - 24px)); max-height: min(80vh, 760px); padding: 0; border: 1px solid var(--rule); border-radius: 10px;
  background: var(--paper); color: var(--ink); font-size: 15px; overflow: hidden; }
dialog[open] { display: flex; flex-direction: column; }
dialog::backdrop { background: rgb(0 0 0 / 45%); }
.head, .foot { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; padding: 12px 18px; }
.head { border-block-end: 1px solid var(--rule); }
.foot { border-block-start: 1px solid var(--rule); }
.head h2 { flex: 1; font-size: 17px; font-weight: 600; outline: 0; }
.list { overflow: auto; padding: 0 18px; list-style: none; min-height: 60px; flex: 1 1 auto; }
.list > li { padding: 14px 0; border-block-end: 1px solid var(--rule); overflow-wrap: anywhere; }
.list > li:last-child { border: 0; }
h3 { font-size: 15px; font-weight: 600; }
.quiet { color: var(--quiet); font-size: 13px; }
.new { display: inline-block; padding: 0 8px; margin-inline-end: 6px; border-radius: 9px; background: var(--mark); color: var(--mark-ink);
  font-size: 12px; font-weight: 600; }
.body { white-space: pre-line; margin-block: 6px; }
.todo { margin-block: 6px; padding: 8px 12px; background: var(--warn); color: var(--warn-ink); border-inline-start: 4px solid var(--warn-rule); }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (max-width: 520px) { .inbox.corner { inset-block-end: 12px; inset-inline-end: 12px; } }
`;
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css);

  // Makes an element with properties, attributes and children. A text is always a text.
  const make = (tag, given = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(given)) {
      if (name === "on") element.addEventListener("click", value);
      else if (value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
    return element;
  };
  const place = (parent, first) => {
    const host = document.createElement("div");
    host.hidden = true;
    if (first) parent.prepend(host);
    else parent.append(host);
    const root = host.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [sheet];
    return root;
  };
  const bell = () => {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    for (const [name, value] of [["viewBox", "0 0 24 24"], ["fill", "none"], ["stroke", "currentColor"], ["stroke-width", "2"], ["aria-hidden", "true"]])
      svg.setAttribute(name, value);
    const path = document.createElementNS(space, "path");
    path.setAttribute("d", "M6 9a6 6 0 0 1 12 0c0 6 2 7 2 7H4s2-1 2-7M10 20a2 2 0 0 0 4 0");
    svg.append(path);
    return svg;
  };

  let token = null, expires = 0, status = null, notices = [], cursor = null, older = false, failures = 0, timer = 0, stream = null, known = null;
  let bannerRoot, buttonRoot, banner, button, dialog, list, foot, heading, live, opener;

  const words = (key, values = {}) =>
    ((status && status.words[key]) || "").replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
  const when = (at) => {
    const options = { dateStyle: "medium", timeStyle: "short" };
    for (const zone of [status.time_zone, undefined])
      try { return new Intl.DateTimeFormat(status.language, { ...options, timeZone: zone || undefined }).format(new Date(at)); } catch { /* not known to this browser */ }
    return at;
  };
  const seconds = (jwt) => {
    try { return JSON.parse(atob(jwt.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))).exp; } catch { return 0; }
  };
  class SignedOut extends Error {}

  // Returns a token that is valid for at least another minute.
  const fresh = async () => {
    if (token && expires - Date.now() / 1000 > 60) return token;
    const answer = await fetch(tokenUrl, { credentials: "same-origin", cache: "no-store", headers: { accept: "application/json" } });
    if ([204, 401, 403, 404].includes(answer.status)) throw new SignedOut();
    if (!answer.ok) throw new Error("no token");
    const text = await answer.text();
    try { token = JSON.parse(text).token; } catch { token = text.trim(); }
    if (!token) throw new SignedOut();
    expires = seconds(token);
    return token;
  };
  const call = async (path, options = {}) => {
    for (let attempt = 0; ; attempt++) {
      const headers = { authorization: `Bearer ${await fresh()}`, ...options.headers };
      const answer = await fetch(`${base}/feed/v1/${path}`, { ...options, headers, credentials: "omit" });
      if (answer.status === 401 && attempt === 0) { token = null; continue; }
      if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
      return answer;
    }
  };
  const json = async (path, options) => (await call(path, options)).json();

  const entry = (notice) => {
    const names = notice.resources.items.slice(0, 5).map((one) => one.name);
    const rest = notice.resources.count - names.length;
    const action = notice.customer_action;
    const title = make("h3", {}, notice.read ? "" : make("span", { class: "new" }, words("unread")), make("bdi", {}, notice.title));
    return make("li", {},
      title,
      make("p", { class: "quiet" }, `${notice.incident === null ? "" : `${words("incident", { number: notice.incident })} · `}${words("phase_" + notice.phase)} · `,
        make("time", { datetime: notice.at }, when(notice.at))),
      notice.corrected ? make("p", { class: "todo" }, words("corrected")) : "",
      make("p", { class: "body", dir: "auto" }, notice.message),
      action && action.required ? make("p", { class: "todo" }, make("strong", {}, `${words("action_needed")}: `), make("bdi", {}, action.text || "")) : "",
      action && !action.required ? make("p", { class: "quiet" }, words("no_action")) : "",
      names.length ? make("p", { class: "quiet" }, words("affected", { names: names.join(", ") }), rest > 0 ? ` ${words("more", { count: rest })}` : "") : "",
      notice.next_update_at ? make("p", { class: "quiet" }, words("next_update", { time: when(notice.next_update_at) })) : "",
      notice.answer_url ? make("p", {}, make("a", { href: notice.answer_url, target: "_blank", rel: "noopener noreferrer" }, words("answer"))) : "");
  };

  const build = () => {
    bannerRoot = place(document.body, true);
    const target = script.dataset.candorButton && document.querySelector(script.dataset.candorButton);
    buttonRoot = place(target || document.body, false);
    banner = make("div");
    live = make("div", { class: "hidden", role: "status", "aria-live": "polite" });
    bannerRoot.append(banner, live);
    button = make("button", { type: "button", class: target ? "inbox" : "inbox corner", "aria-haspopup": "dialog", on: open });
    list = make("ul", { class: "list", tabindex: "0", role: "list" });
    foot = make("div", { class: "foot" });
    heading = make("h2", { id: "candor-title", tabindex: "-1" });
    const close = make("button", { type: "button", class: "close", on: () => dialog.close() });
    dialog = make("dialog", { "aria-labelledby": "candor-title" }, make("div", { class: "head" }, heading, close), list, foot);
    dialog.addEventListener("close", () => opener && opener.focus());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("keydown", (event) => {
      if (event.key !== "Tab") return;
      const stops = [...dialog.querySelectorAll("a[href], button, [tabindex='0']")];
      const at = stops.indexOf(buttonRoot.activeElement);
      const next = event.shiftKey ? (at <= 0 ? stops.length - 1 : -1) : at === stops.length - 1 ? 0 : -1;
      if (next >= 0) { event.preventDefault(); stops[next].focus(); }
    });
    buttonRoot.append(button, dialog);
  };
  const open = (event) => {
    opener = event.currentTarget.isConnected ? event.currentTarget : button;
    if (!dialog.open) dialog.showModal();
    heading.focus();
  };
  const markRead = async () => {
    const newest = notices.reduce((last, one) => (one.at > last ? one.at : last), "");
    if (!newest) return;
    await json("read", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ up_to: newest }) });
    if (opener && !opener.isConnected) opener = button;
    await refresh();
    (dialog.open ? heading : button).focus();
  };
  const mine = async () => {
    const page = window.open("", "_blank");
    if (page) page.opener = null;
    try {
      const { url } = await json("mine", { method: "POST" });
      if (page) page.location = url; else window.location = url;
    } catch (error) { if (page) page.close(); failed(error); }
  };
  const guarded = (work) => (event) => work(event).catch(failed);

  const render = () => {
    if (!button) build();
    for (const root of [bannerRoot, buttonRoot]) {
      root.host.hidden = false;
      root.host.lang = status.language;
      root.host.dir = status.direction;
    }
    const count = status.unread;
    button.replaceChildren(bell(), count ? make("span", { class: "count", "aria-hidden": "true" }, count > 99 ? "99+" : String(count)) : "");
    button.setAttribute("aria-label", count ? words("inbox_unread", { count }) : words("inbox"));
    heading.textContent = words("from", { company: status.company });
    dialog.querySelector(".close").textContent = words("close");
    list.setAttribute("aria-label", words("inbox"));
    list.replaceChildren(...(notices.length ? notices.map(entry) : [make("li", { class: "quiet" }, words("none"))]));
    foot.replaceChildren(...[
      count ? make("button", { type: "button", on: guarded(markRead) }, words("mark_read")) : "",
      cursor ? make("button", { type: "button", on: guarded(more) }, words("older")) : "",
      make("button", { type: "button", on: mine }, words("mine")),
    ].filter(Boolean));
    const first = notices.find((one) => !one.read && one.mandatory);
    banner.className = first ? "banner" : "";
    if (first) {
      banner.setAttribute("role", "region");
      banner.setAttribute("aria-label", words("from", { company: status.company }));
      const action = first.customer_action;
      const needed = (action && action.required ? action.text : first.message) || "";
      const before = action && action.required ? `${words("action_needed")}: ` : "";
      banner.replaceChildren(
        make("div", { class: "text" }, make("strong", {}, make("bdi", {}, first.title)), before,
          make("bdi", {}, needed.length > 240 ? `${needed.slice(0, 239)}…` : needed)),
        make("div", { class: "buttons" },
          make("button", { type: "button", on: open }, words("read")),
          make("button", { type: "button", on: guarded(markRead) }, words("mark_read"))));
    } else {
      banner.removeAttribute("role");
      banner.removeAttribute("aria-label");
      banner.replaceChildren();
    }
    const unread = notices.find((one) => !one.read);
    if (unread && known !== unread.id) {
      known = unread.id;
      live.textContent = words("new_notice", { title: unread.title });
    }
  };

  const refresh = async () => {
    const [now, page] = await Promise.all([json("status"), json("notices?limit=20")]);
    status = now;
    // Older pages stay in the list while the dialog is used.
    const rest = older ? notices.filter((one) => !page.items.some((other) => other.id === one.id)) : [];
    notices = [...page.items, ...rest];
    if (!older) cursor = page.next_cursor;
    render();
  };
  const more = async () => {
    const page = await json(`notices?limit=20&cursor=${encodeURIComponent(cursor)}`);
    older = true;
    notices = [...notices, ...page.items.filter((one) => !notices.some((other) => other.id === one.id))];
    cursor = page.next_cursor;
    render();
    heading.focus();
  };

  const failed = (error) => {
    failures += 1;
    if (error instanceof SignedOut) {
      token = status = null;
      notices = [];
      for (const root of [bannerRoot, buttonRoot]) if (root) root.host.hidden = true;
    } else if (live && status) live.textContent = words("offline");
    // Each failure waits longer, up to five minutes, and not all pages ask at the same moment.
    const wait = Math.min(300, 5 * 2 ** Math.min(failures - 1, 6)) * (0.75 + Math.random() / 2);
    later(error instanceof SignedOut ? 300 : wait);
  };
  const later = (wait) => {
    clearTimeout(timer);
    timer = setTimeout(run, wait * 1000);
  };
  // Listens for hints until the server ends the stream.
  const listen = async () => {
    stream = new AbortController();
    const answer = await call("stream", { signal: stream.signal });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const events = text.split("\n\n");
      text = events.pop();
      if (events.some((event) => event.startsWith("event: changed"))) await refresh();
      if (events.some((event) => event.startsWith("event: expired"))) { token = null; return; }
    }
  };
  let running = false;
  const run = async () => {
    if (running || document.hidden) return;
    running = true;
    clearTimeout(timer);
    try {
      await refresh();
      failures = 0;
      // Without a stream, the page asks once a minute.
      try { await listen(); later(1); } catch (error) { if (!stream || !stream.signal.aborted) later(60); }
    } catch (error) {
      failed(error);
    } finally {
      running = false;
      if (stream && stream.signal.aborted && !document.hidden) later(0);
    }
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { if (stream) stream.abort(); } else run();
  });
  window.addEventListener("online", run);
  window.candorNotices = { refresh: () => refresh().catch(failed) };
  if (document.body) run();
  else document.addEventListener("DOMContentLoaded", run);
})();
