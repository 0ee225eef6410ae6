// Reload the page of a running search, unless the reader has switched that off, opened details or left the tab.
const SECONDS = 30;
const box = document.createElement("input");
box.type = "checkbox";
box.checked = true;
const label = document.createElement("label");
label.append(box, ` reload every ${SECONDS} seconds`);
document.getElementById("refresh").replaceChildren(label);
setInterval(() => {
  if (box.checked && !document.hidden && !document.querySelector("details[open]")) location.reload();
}, 1000 * SECONDS);
