// The dialogs that ask for a token, and for the reason of a command.

import { Failed, setToken } from "./api.js";
import { h } from "./dom.js";

const dialog = document.getElementById("token");
let isDeclined = false;

export function askToken(why) {
  if (dialog.open) return;
  if (why) document.getElementById("token-why").textContent = why;
  dialog.returnValue = "";
  dialog.showModal();
}

// Asks unless the dialog was closed without a token before.
export function askOnce(why) {
  if (!isDeclined) askToken(why);
}

export function onToken(changed) {
  dialog.addEventListener("close", () => {
    const field = document.getElementById("token-value");
    isDeclined = dialog.returnValue !== "use";
    if (dialog.returnValue === "use") setToken(field.value.trim());
    if (dialog.returnValue === "forget") setToken("");
    field.value = "";
    if (dialog.returnValue === "use" || dialog.returnValue === "forget") changed();
  });
}

// A dialog; its method `ask` shows what is to be done, and calls `send` with the reason.
export function reasonDialog() {
  const title = h("h2", { id: "command-title" });
  const reason = h("input", { id: "command-reason", maxlength: 1000, required: true, pattern: ".*\\S.*", autocomplete: "off" });
  const dialog = h("dialog", { id: "command", "aria-labelledby": "command-title" },
    h("form", { method: "dialog" }, title, h("p", {}, h("label", {}, "Reason ", reason)),
      h("p", { class: "actions" }, h("button", { value: "send", class: "main" }, "Send"), h("button", { value: "cancel", formnovalidate: true }, "Cancel"))));
  let send = null;
  dialog.ask = (text, sent) => {
    send = sent;
    title.textContent = text;
    reason.value = "";
    dialog.returnValue = "";
    dialog.showModal();
  };
  dialog.addEventListener("close", () => { if (dialog.returnValue === "send") send(reason.value); });
  return dialog;
}

// What is said of a command that was refused; the page asks for a token, if one is missing.
export function refused(error) {
  if (error instanceof Failed && error.status === 401) askToken(error.message);
  return error.message;
}
