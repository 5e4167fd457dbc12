// The email beside the text of a notice follows what is typed.
"use strict";
(() => {
  const button = document.querySelector("button[data-preview]");
  if (!button) return;
  const form = button.form;
  let waiting;
  const show = () => {
    const old = document.querySelector(`iframe[name="${button.formTarget}"]`);
    if (!old || !form.elements.message.value.trim()) return;
    // A new frame, because each further page within a frame is a step of the browser's back button.
    old.replaceWith(old.cloneNode());
    form.requestSubmit(button);
  };
  const message = form.elements.message;
  if (!message.value && !document.querySelector("[role=alert]")) message.focus();
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    form.requestSubmit();
  });
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(show, 700);
  });
  show();
})();
