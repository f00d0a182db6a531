"use strict";

// A click on a column's head sorts the rows by it, another turns the order; what is unknown stays last.
const valueOf = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;
const compare = (a, b) => (isNaN(a) || isNaN(b) ? String(a).localeCompare(b) : a - b);
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), column = head.cellIndex, body = head.closest("table").tBodies[0];
    const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...body.rows].sort((one, other) => {
      const a = valueOf(one, column), b = valueOf(other, column);
      return a === "" || b === "" ? (a === "") - (b === "") : sign * compare(a, b);
    });
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    body.append(...rows);
  });
}

// Pointing at a step, in the picture or in the table, marks it in both and reads out its numbers.
const readout = document.querySelector(".readout");
document.addEventListener("pointerover", (event) => {
  const step = event.target.closest?.("[data-step]")?.dataset.step;
  for (const marked of document.querySelectorAll(".marked")) marked.classList.remove("marked");
  if (step === undefined) return;
  for (const part of document.querySelectorAll(`[data-step="${step}"]`)) part.classList.add("marked");
  readout.textContent = document.querySelector(`rect[data-step="${step}"] title`)?.textContent ?? "";
});

// The same picture over linear and over logarithmic steps.
for (const button of document.querySelectorAll("figure > button")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    for (const picture of button.parentElement.querySelectorAll("svg")) picture.toggleAttribute("hidden");
  });
}

// Links open the fold they lead to; on paper all folds are open.
const open = () => document.getElementById(decodeURIComponent(location.hash.slice(1)))?.setAttribute("open", "");
addEventListener("hashchange", open);
open();
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const fold of closed) fold.open = true;
});
addEventListener("afterprint", () => {
  for (const fold of closed) fold.open = false;
});
