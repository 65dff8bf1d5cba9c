// The dialog that asks for the reason of a command.

import { Failed } from "./api.js";
import { h } from "./dom.js";
import { askToken } from "./token.js";

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
