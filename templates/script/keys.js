// Control and Enter (or Command and Enter) in a form sends it with its first button.
"use strict";
document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
  const form = event.target.closest?.("form");
  if (!form || form.getAttribute("method") !== "post") return;
  event.preventDefault();
  form.requestSubmit(form.querySelector("button[type=submit]"));
});
