"use strict";
// The page is complete without this script: it filters, copies, and opens details for the printer.
for (const filter of document.querySelectorAll(".filter")) {
  const buttons = [...filter.querySelectorAll("button")];
  const text = filter.querySelector("input");
  const rows = [...document.querySelectorAll("[data-outcome]")].map(
    (row) => ({ row, words: row.textContent.toLowerCase() }));
  const shown = filter.querySelector("output");
  let outcome = "";
  const apply = () => {
    const wanted = text.value.trim().toLowerCase();
    let count = 0;
    for (const { row, words } of rows) {
      row.hidden = !((!outcome || row.dataset.outcome === outcome) && words.includes(wanted));
      count += !row.hidden;
    }
    for (const table of document.querySelectorAll("table.requirements")) {
      table.hidden = !table.querySelector("[data-outcome]:not([hidden])");
    }
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.value === outcome));
    }
    shown.textContent = `${count} of ${rows.length} shown`;
  };
  for (const button of buttons) {
    button.addEventListener("click", () => { outcome = button.value; apply(); });
  }
  text.addEventListener("input", apply);
  filter.hidden = false;
  apply();
}
for (const command of document.querySelectorAll(".command")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    const code = command.querySelector("pre");
    getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Selected"; // the browser does not let a page copy
    }
  });
  command.append(button);
}
for (const text of document.querySelectorAll(".end")) {
  text.scrollTop = text.scrollHeight; // the last lines are those before the failure
}
const closed = new Set();
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not([open])")) {
    closed.add(details);
    details.open = true;
  }
});
addEventListener("afterprint", () => {
  for (const details of closed) details.open = false;
  closed.clear();
});
